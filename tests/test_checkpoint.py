"""Training that was killed goes on from its checkpoint, and ends as if nothing had happened."""

import errno
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

import skgrav
from skgrav import CNNInverter, GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _image, _whitened
from skgrav.networks import PaperCNN, ResidualMLP, UNet
from skgrav.pipeline import make_pipeline
from skgrav.training import BatchIterator, _checkpoint, _trainer
from skgrav.training._fingerprint import alike, described, sketch

MESH = Mesh.square(8)
DATA = make_gravity_dataset(60, mesh=MESH, random_state=0)
OPERATOR, X, RHO = DATA.operator, DATA.data, DATA.target
BLOCK = make_gravity_dataset(60, mesh=Mesh.regular((3, 4, 4), 10.0), random_state=0)
VOLUMES, RHO_3D = {"operator": BLOCK.operator}, BLOCK.target
N_EPOCHS, KILLED_IN = 5, 4

SMALL_PAPER = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
draw = partial(make_gravity_dataset, 60, mesh=MESH)


def small_networks():
    _whitened.ResidualMLP = partial(ResidualMLP, width=32)
    _image.UNet = partial(UNet, widths=(8, 8))


@pytest.fixture(autouse=True, scope="module")
def _small_networks():
    small_networks()
    yield
    _whitened.ResidualMLP, _image.UNet = ResidualMLP, UNet


class Spoil(Callback):
    """Spoil the weights before an epoch, so that the best of all comes before it."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                for weights in net.module_.parameters():
                    weights.mul_(10.0)


class LimitFiles(Callback):
    """Let no file grow beyond some bytes from an epoch on, as if the disk were full."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch and os.environ.get("SMALL_DISK"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def inverter(**params):
    small = {"operator": OPERATOR, "max_epochs": N_EPOCHS, "batch_size": 16, "n_components": 8}
    return CNNInverter(**small | {"random_state": 0} | params)


def generator(kind, **params):
    return kind(4, max_epochs=N_EPOCHS, batch_size=16, random_state=0, **params)


def drawn(n=N_EPOCHS):
    """Give an iterator of chunks of ever larger densities."""
    sections = (draw(random_state=seed) for seed in range(n))
    return (((1 + k) * d.data, (1 + k) * d.target) for k, d in enumerate(sections))


stopping = {"early_stopping": True, "n_iter_no_change": N_EPOCHS}
CASES = {
    "residual": lambda **p: inverter(**p).fit(X, RHO),
    "null space": lambda **p: inverter(data_consistency=True, augment="mirror", **p).fit(X, RHO),
    "best": lambda **p: inverter(**stopping, callbacks=[Spoil(3)], **p).fit(X, RHO),
    "unet": lambda **p: inverter(architecture="unet", augment="mirror", **p).fit(X, RHO),
    "volumes": lambda **p: inverter(architecture="unet", **p | VOLUMES).fit(BLOCK.data, RHO_3D),
    "best unet": lambda **p: inverter(architecture="unet", **stopping, **p).fit(X, RHO),
    "paper": lambda **p: inverter(architecture=SMALL_PAPER, training_noise=0.01, **p).fit(X, RHO),
    "fresh": lambda **p: inverter(**p).fit(draw),
    "iterator": lambda **p: inverter(**p).fit(drawn()),
    "small disk": lambda **p: inverter(callbacks=[LimitFiles(3)], **p).fit(X, RHO),
    "vae": lambda **p: generator(VAEGenerator, **p).fit(RHO),
    "paper vae": lambda **p: generator(VAEGenerator, architecture="paper", **p).fit(RHO),
    "gan": lambda **p: generator(GANGenerator, **stopping, **p).fit(RHO),
}


@contextmanager
def passes(act, at=None):
    """Call `act` in the middle of one pass over the training set; give the number of passes."""
    original, seen = BatchIterator.__iter__, []

    def watched(self):
        seen.extend([len(self)] if self.shuffle else [])
        for i, batch in enumerate(original(self)):
            if self.shuffle and len(seen) == at and i == 1:
                act()
            yield batch

    BatchIterator.__iter__ = watched
    try:
        yield seen
    finally:
        BatchIterator.__iter__ = original


def press_ctrl_c():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def writing_always():
    share, _checkpoint._SHARE = _checkpoint._SHARE, 1
    try:
        yield
    finally:
        _checkpoint._SHARE = share


def kill_each(folder):
    """Begin each case in a process of its own that kills itself; for a fresh interpreter."""
    small_networks()
    for name, fit in CASES.items():
        if os.fork():
            assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL, name
            continue
        with warnings.catch_warnings(record=True) as caught, writing_always():
            warnings.simplefilter("always", RuntimeWarning)

            def last_words(caught=caught, name=name):
                texts = [str(w.message) for w in caught if w.category is RuntimeWarning]
                Path(folder, f"{name}.json").write_text(json.dumps(texts), encoding="utf-8")
                kill()

            with passes(last_words, KILLED_IN):
                fit(checkpoint=Path(folder, name))
        os._exit(0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    code += f"import test_checkpoint as t; t.kill_each({str(folder)!r})"
    # Other numbers of threads round otherwise.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "SMALL_DISK": "1"}
    env = os.environ | threads | {"PYTHONPATH": str(Path(skgrav.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=300)
    return folder


@cache
def whole(name):
    """Give a case that was never interrupted."""
    return CASES[name]()


def assert_same(a, b):
    """Compare all that training left, bit by bit."""
    states = a.net_.module_.state_dict(), b.net_.module_.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_loss_curve_ == b.validation_loss_curve_
    assert (a.n_epochs_, a.density_range_) == (b.n_epochs_, b.density_range_)
    rows = [
        [{k: v for k, v in row.items() if k != "dur"} for row in e.net_.history] for e in (a, b)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", CASES)
def test_killed_training_ends_with_the_weights_of_one_that_was_not(killed, name):
    folder = killed / name
    assert [path.name for path in folder.iterdir()] == ["training.pt"]
    with passes(None) as seen:
        resumed = CASES[name](checkpoint=folder)
    n_before = 2 if name == "small disk" else KILLED_IN - 1
    assert len(seen) == N_EPOCHS - n_before
    assert_same(resumed, whole(name))
    assert list(folder.iterdir()) == []  # it has ended


def test_full_disk_is_told_and_leaves_the_last_good_checkpoint(killed):
    [text] = json.loads((killed / "small disk.json").read_text(encoding="utf-8"))
    path = killed / "small disk" / "training.pt"
    reason = os.strerror(errno.EFBIG)
    assert text == (
        f"the checkpoint of epoch 3 cannot be written to {path}: {reason}; epoch 2 is "
        "kept. Training continues and tries again."
    )


def test_best_weights_of_before_are_kept(tmp_path):
    with writing_always(), passes(press_ctrl_c, KILLED_IN), pytest.raises(KeyboardInterrupt):
        CASES["best"](checkpoint=tmp_path)
    resumed = CASES["best"](checkpoint=tmp_path)
    assert np.argmin(resumed.validation_loss_curve_) < KILLED_IN - 1
    assert_same(resumed, whole("best"))


def interrupted(folder, fit, epoch=3):
    """Leave a checkpoint of the epoch before in a directory."""
    with writing_always(), passes(press_ctrl_c, epoch), pytest.raises(KeyboardInterrupt) as stop:
        fit(checkpoint=folder)
    return stop


@pytest.mark.parametrize("name", ["residual", "vae", "gan"])
def test_keyboard_interrupt_keeps_the_checkpoint_and_goes_on_up(tmp_path, name):
    stop = interrupted(tmp_path / "deep" / "down", CASES[name])
    stop.match(r"the same fit resumes from .*training.pt")
    assert_same(CASES[name](checkpoint=str(tmp_path / "deep" / "down")), whole(name))


def test_interrupted_inverter_predicts_and_goes_on_itself(tmp_path):
    model = inverter(checkpoint=tmp_path)
    with writing_always(), passes(press_ctrl_c, 3), pytest.raises(KeyboardInterrupt):
        model.fit(X, RHO)
    assert model.predict(X).shape == RHO.shape
    assert model.n_epochs_ == 2
    with passes(None) as seen:
        model.fit(X, RHO)
    assert len(seen) == N_EPOCHS - 2
    assert_same(model, whole("residual"))


def test_interrupted_generator_is_not_fitted(tmp_path):
    model = generator(VAEGenerator, checkpoint=tmp_path)
    with passes(press_ctrl_c, 2), pytest.raises(KeyboardInterrupt):
        model.fit(RHO)
    assert not model.__sklearn_is_fitted__()


def test_interrupt_before_the_first_checkpoint_starts_anew(tmp_path):
    interrupted(tmp_path, CASES["residual"], epoch=1)
    assert list(tmp_path.iterdir()) == []
    assert_same(CASES["residual"](checkpoint=tmp_path), whole("residual"))


def test_without_random_state_the_seed_is_that_of_before(tmp_path, monkeypatch):
    model = inverter(checkpoint=tmp_path, random_state=None)
    interrupted(tmp_path, lambda checkpoint: model.fit(X, RHO))
    resumed = inverter(checkpoint=tmp_path, random_state=None).fit(X, RHO)
    with monkeypatch.context() as patch:
        patch.setattr(_trainer, "draw_seed", lambda random_state: model._seed)
        assert_same(resumed, inverter(random_state=None).fit(X, RHO))
    again = inverter(checkpoint=tmp_path, random_state=None).fit(X, RHO)
    assert again._seed != model._seed  # which has ended


def test_warm_start_goes_on_from_its_own_start(tmp_path):
    start = inverter(warm_start=True).fit(X, RHO)
    unbroken, first, second = (pickle.loads(pickle.dumps(start)) for _ in range(3))
    unbroken.fit(X, RHO)
    interrupted(tmp_path, lambda checkpoint: first.set_params(checkpoint=checkpoint).fit(X, RHO))
    other = pickle.loads(pickle.dumps(start)).partial_fit(X, RHO).set_params(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="the weights to start from was"):
        other.fit(X, RHO)
    with pytest.raises(ValueError, match="the weights to start from was"):
        inverter(warm_start=True, checkpoint=tmp_path).fit(X, RHO)
    assert_same(second.set_params(checkpoint=tmp_path).fit(X, RHO), unbroken)


def test_a_training_killed_at_its_very_end_only_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint.Checkpoint, "remove", lambda self: None)
    with writing_always():
        done = inverter(checkpoint=tmp_path).fit(X, RHO)
    with passes(None) as seen:
        assert_same(inverter(checkpoint=tmp_path).fit(X, RHO), done)
    assert seen == []


def test_checkpoint_changes_nothing(tmp_path):
    assert_same(CASES["gan"](checkpoint=tmp_path), whole("gan"))
    model = inverter(checkpoint=tmp_path).fit(X, RHO)
    assert len(pickle.dumps(model)) < 1.1 * len(pickle.dumps(whole("residual")))
    names = [name for name, _ in model.net_.callbacks_]
    assert not {"checkpoint", "tasks"} & set(names)


def test_partial_fit_leaves_checkpoints_alone(tmp_path):
    interrupted(tmp_path, CASES["residual"])
    inverter(checkpoint=tmp_path).partial_fit(X, RHO)
    assert (tmp_path / "training.pt").exists()


def test_diverged_training_leaves_nothing_to_go_on_with(tmp_path):
    def fit(**params):
        return inverter(learning_rate=1e30, weight_decay=1e10, max_epochs=20, **params).fit(X, RHO)

    with writing_always(), pytest.raises(FloatingPointError):
        fit(checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


# Another training is refused.


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left")
    interrupted(folder, CASES["residual"])
    return folder


@pytest.mark.parametrize(
    ("fit", "difference"),
    [
        (
            lambda **p: inverter(learning_rate=2e-3, **p).fit(X, RHO),
            "'learning_rate' was None and is 0.002",
        ),
        (lambda **p: inverter(random_state=1, **p).fit(X, RHO), "the seed of 'random_state' was "),
        (lambda **p: inverter(callbacks=[Spoil(99)], **p).fit(X, RHO), "'callbacks' was None and"),
        (lambda **p: inverter(early_stopping=True, **p).fit(X, RHO), "'early_stopping' was False"),
        (lambda **p: inverter(**p).fit(X[:50], RHO[:50]), r"the shape of X was \[60, 48\] and is"),
        (lambda **p: inverter(**p).fit(X[::-1], RHO[::-1]), "the values of X differ"),
        (lambda **p: inverter(**p).fit(X, RHO + 1e-2 * (RHO > 2)), "the values of y differ"),
        (CASES["null space"], "'data_consistency' was False and is True"),
        (CASES["vae"], "the estimator was 'CNNInverter' and is 'VAEGenerator'.*; and [0-9]+ more"),
        (
            lambda **p: inverter(operator=clone(OPERATOR).set_params(kernel="point"), **p).fit(
                X, RHO
            ),
            "'operator'.kernel was 'cell' and is 'point'",
        ),
    ],
)
def test_another_training_is_refused(left, fit, difference):
    before = (left / "training.pt").read_bytes()
    with pytest.raises(ValueError, match=difference) as caught:
        fit(checkpoint=left)
    text = str(caught.value)
    assert text.startswith(f"'checkpoint' is {str(left)!r}, but training.pt there belongs to ")
    remedy = f"Give another directory, or remove {left / 'training.pt'} to start again."
    assert text.endswith(remedy)
    assert (left / "training.pt").read_bytes() == before


def test_another_version_is_refused(left, monkeypatch):
    monkeypatch.setattr(skgrav, "__version__", "0.0.7")
    with pytest.raises(ValueError, match=r"the version of skgrav was '.*' and is '0.0.7'"):
        CASES["residual"](checkpoint=left)
    monkeypatch.setattr(_checkpoint, "_LAYOUT", 2)
    with pytest.raises(ValueError, match="has layout 1, but this version of skgrav reads 2"):
        CASES["residual"](checkpoint=left)


def test_another_frame_is_refused(left, monkeypatch):
    monkeypatch.setattr("skgrav.inverters._whitened.WhitenedEncoding._coordinates", _flipped)
    with pytest.raises(ValueError, match="the values of the encoded inputs differ"):
        CASES["residual"](checkpoint=left)


def _flipped(self, data):
    return -data @ self.rotation[:, : len(self.regression)] / self.std


@pytest.mark.parametrize("cut", [0, 10, 5000, -10])
def test_damaged_file_is_refused(left, tmp_path, cut):
    content = (left / "training.pt").read_bytes()
    (tmp_path / "training.pt").write_bytes(content[:cut])
    with pytest.raises(ValueError, match=r"training.pt there is damaged or not written by skg"):
        CASES["residual"](checkpoint=tmp_path)


def test_file_with_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"layout": 1, "kind": "{}", "x": Evil()}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="is damaged or not written by skgrav"):
        CASES["residual"](checkpoint=tmp_path)
    assert not (tmp_path / "evil").exists()


def test_iterator_that_is_shorter_now_is_refused(tmp_path):
    interrupted(tmp_path, CASES["iterator"], epoch=4)
    with pytest.raises(ValueError, match=r"ended after 2 pairs, but .* seen 3"):
        inverter(checkpoint=tmp_path).fit(drawn(2))


def test_skipped_chunks_are_not_drawn_again(tmp_path):
    interrupted(tmp_path, CASES["fresh"], epoch=4)
    seen = []

    def counted(random_state):
        seen.append(random_state)
        return draw(random_state=random_state)

    with pytest.raises(ValueError, match="'checkpoint' is"):
        inverter(checkpoint=tmp_path, max_epochs=7).fit(counted)
    inverter(checkpoint=tmp_path).fit(counted)
    assert len(seen) == 1 + 2  # the first tells the frame


# What cannot be written


@pytest.mark.parametrize("fit", [CASES["residual"], CASES["vae"]])
def test_directory_that_cannot_be_written_is_an_error_at_once(tmp_path, fit, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OSError, match=r"'checkpoint' is .*, which is not writable: "):
            fit(checkpoint=path)

    def refuse(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    text = "which is not writable: Permission denied. Give a writable directory, or None"
    with pytest.raises(PermissionError, match=text), passes(None) as seen:
        fit(checkpoint=tmp_path)
    assert seen == []


def test_full_disk_warns_once_until_it_is_well_again(tmp_path, monkeypatch):
    fsync, n_calls = os.fsync, []

    def full(file):
        n_calls.append(file)
        if len(n_calls) in {1, 2, 4}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with writing_always(), pytest.warns(RuntimeWarning) as caught:
        model = inverter(checkpoint=tmp_path).fit(X, RHO)
    texts = [str(w.message) for w in caught]
    assert len(texts) == 2
    start, space = "the checkpoint of epoch", "No space left on device"
    path = tmp_path / "training.pt"
    assert texts[0].startswith(f"{start} 1 cannot be written to {path}: {space}; none exists yet.")
    assert texts[1].startswith(f"{start} 4 cannot be written to {path}: {space}; epoch 3 ")
    assert_same(model, whole("residual"))
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_that_cannot_be_removed_is_told(tmp_path, monkeypatch):
    unlink = Path.unlink

    def refuse(self, **kwargs):
        if self.name == "training.pt":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        unlink(self, **kwargs)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(RuntimeWarning, match="has ended, but its checkpoint .*: Permission denied"):
        inverter(checkpoint=tmp_path).fit(X, RHO)


def test_state_that_needs_pickle_is_an_error(tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"object": Path("somewhere")}

    with pytest.raises(TypeError, match="'checkpoint' keeps numbers, text and tensors"):
        inverter(callbacks=[Odd()], checkpoint=tmp_path).fit(X, RHO)


def test_numpy_numbers_are_no_hindrance(tmp_path):
    params = {"learning_rate": np.float64(1e-3), "batch_size": np.int64(16)}
    interrupted(tmp_path, lambda checkpoint: inverter(checkpoint=checkpoint, **params).fit(X, RHO))
    assert_same(inverter(checkpoint=tmp_path, **params).fit(X, RHO), inverter(**params).fit(X, RHO))


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    clock, written = [100.0], []
    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: clock[0])

    def write(self, content):
        written.append(self.n_done_)
        clock[0] += 1.0

    class Hour(Callback):
        def on_epoch_begin(self, net, **kwargs):
            clock[0] += 8.0

    monkeypatch.setattr(_checkpoint.Checkpoint, "_write", write)
    inverter(max_epochs=9, callbacks=[Hour()], checkpoint=tmp_path).fit(X, RHO)
    assert written == [1, 4, 7]


# Fingerprints


def test_sketch_forgives_rounding_alone():
    rows = np.random.default_rng(0).normal(size=(1300, 7)).astype(np.float32)
    assert len(sketch(rows)) == 3
    assert len(sketch(rows, 1)) == 1
    assert alike(sketch(rows), sketch(rows.astype(np.float64) * (1 + 1e-7)))
    for change in [{(1299, 3): 0.2}, {(0, 0): -0.2}]:
        other = rows.copy()
        for place, step in change.items():
            other[place] += step
        assert not alike(sketch(rows), sketch(other))
    assert not alike(sketch(rows), sketch(rows[::-1]))
    assert not alike(sketch(rows), sketch(rows[:, ::-1]))
    assert not alike(sketch(rows), sketch(rows[:600]))
    assert alike(sketch(0 * rows), sketch(0 * rows))


def test_parameters_are_told_in_words():
    text = json.dumps(described(OPERATOR))
    assert "skgrav.operators._forward.ForwardOperator" in text
    assert text == json.dumps(described(clone(OPERATOR)))
    assert described(SMALL_PAPER)[1] == "skgrav.networks._paper.PaperCNN"
    assert described(np.arange(3)) != described(np.arange(1, 4))
    assert described((np.float64(1.5), np.int64(2))) == [1.5, 2]
    assert described({"a": draw})["a"][2:] == [[60], {"mesh": described(MESH)}]


# Scikit-learn's callbacks


class Recorder:
    """Note what the estimator tells, and stop at an epoch."""

    def __init__(self, stop_after=None):
        self.stop_after, self.seen = stop_after, []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.seen.append((context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context):
        self.seen.append(f"end of {context.task_name}")
        return self.seen.count("end of epoch") == self.stop_after


@pytest.mark.parametrize("name", ["residual", "vae", "gan"])
def test_each_epoch_is_a_task_of_the_fit(name):
    kinds = {
        "residual": inverter(max_epochs=2),
        "vae": generator(VAEGenerator).set_params(max_epochs=2),
        "gan": generator(GANGenerator).set_params(max_epochs=2),
    }
    recorder = Recorder()
    model = kinds[name].set_callbacks(recorder)
    _ = model.fit(X, RHO) if name == "residual" else model.fit(RHO)
    epoch = [("epoch", 0), "end of epoch"]
    assert recorder.seen == ["setup", ("fit", 2), *epoch, *epoch, "end of fit", "teardown"]


def test_scikit_learn_callback_may_stop_training():
    model = inverter().set_callbacks(Recorder(stop_after=3)).fit(draw)
    assert model.n_epochs_ == 3


def test_resumed_training_tells_what_is_left(tmp_path):
    interrupted(tmp_path, CASES["residual"])
    recorder = Recorder()
    inverter(checkpoint=tmp_path).set_callbacks(recorder).fit(X, RHO)
    assert recorder.seen[1] == ("fit", N_EPOCHS - 2)


def test_failed_training_tears_callbacks_down():
    recorder = Recorder()
    with pytest.raises(FloatingPointError):
        inverter(learning_rate=1e30, weight_decay=1e10, max_epochs=20).set_callbacks(recorder).fit(
            X, RHO
        )
    assert recorder.seen[-1] == "teardown"


def test_progress_bar_of_scikit_learn(capsys):
    pytest.importorskip("rich")
    inverter().set_callbacks(ProgressBar()).fit(X, RHO)
    assert "CNNInverter - fit" in capsys.readouterr().out
    make_pipeline(inverter(max_epochs=2)).set_callbacks(ProgressBar()).fit(X, RHO)
    assert "CNNInverter" in capsys.readouterr().out


def test_bar_begins_where_training_goes_on(tmp_path, capsys):
    pytest.importorskip("tqdm")
    interrupted(tmp_path, CASES["residual"])
    inverter(checkpoint=tmp_path, verbose=True).fit(X, RHO)
    err = capsys.readouterr().err
    assert f"2/{N_EPOCHS}" in err
    assert f"{N_EPOCHS}/{N_EPOCHS}" in err
    assert f"1/{N_EPOCHS}" not in err


def test_without_checkpoint_an_interrupt_is_a_warning():
    with passes(press_ctrl_c, 3), pytest.warns(ConvergenceWarning, match="after 2 of 5 epochs"):
        inverter().fit(X, RHO)
