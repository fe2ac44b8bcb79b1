"""A GPU against the CPU: whether both agree, and how much faster it is.

    python benchmarks/gpu.py                      # on a machine with a GPU, about a minute
    python benchmarks/gpu.py --device cpu         # a trial without one: the CPU against itself
    python benchmarks/gpu.py --page gpu.json      # put the figures of a run into doc/gpu.md

Figures go to gpu.json in the folder of the variable OUT, by default build/benchmarks, after each
check. A check that fails has its error in the table, and checks that the time does not suffice for
are missing.
"""

import argparse
import json
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

import joblib
import numpy as np
import torch
from _timing import OUTPUT, markdown, processor, put_into, versions
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skgrav import (
    CNNInverter,
    ForwardOperator,
    GANGenerator,
    LatentInverter,
    Mesh,
    Survey,
    VAEGenerator,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.networks import PaperCNN
from skgrav.training import TrainingNet

N_FEW, N_MANY, N_EPOCHS, LARGE = 384, 1024, 3, 512
VOLUME = Mesh.regular((8, 16, 16), 50.0)

#: Share of the time that one check may take, and seconds that are left for the last lines.
MOST, MARGIN = 1 / 5, 2

#: Seconds after which the steps of a training have been timed.
ENOUGH = 2.0


# What is measured with


@cache
def pairs(kind, n_samples=N_FEW):
    """Return training pairs of sections or volumes."""
    mesh = VOLUME if kind == "volumes" else None
    return make_gravity_dataset(n_samples, mesh=mesh, random_state=0)


#: Estimators, and what they are trained on.
CASES = {
    "residual": (CNNInverter("residual"), "sections"),
    "unet, sections": (CNNInverter("unet"), "sections"),
    "unet, volumes": (CNNInverter("unet"), "volumes"),
    "paper": (CNNInverter("paper"), "sections"),
    "VAE": (VAEGenerator(), "sections"),
    "GAN": (GANGenerator(), "sections"),
}

#: What leaves noise and dropout out, so that both devices take the same steps.
QUIET = {
    "residual": {"training_noise": 0.0},
    "unet, sections": {"training_noise": 0.0},
    "unet, volumes": {"training_noise": 0.0},
    "paper": {"architecture": partial(PaperCNN, dropout=0.0)},
}


def fit(case, device, *, n_samples=N_FEW, **params):
    """Return a fitted estimator of a case."""
    estimator, kind = CASES[case]
    data = pairs(kind, n_samples)
    estimator = clone(estimator).set_params(device=device, random_state=0, **params)
    if isinstance(estimator, CNNInverter):
        return estimator.set_params(operator=data.operator).fit(data.data, data.target)
    return estimator.fit(data.target)


@cache
def quiet(case, device):
    """Return what one epoch without noise has trained."""
    return fit(case, device, max_epochs=1, **QUIET[case])


def estimates(estimator, case, n=200):
    """Return densities of some samples."""
    data = pairs(CASES[case][1])
    if isinstance(estimator, CNNInverter):
        return estimator.predict(data.data[:n])
    return estimator.sample(n, random_state=1)


def weights(estimator):
    """Return all weights of a network as one vector."""
    state = estimator.net_.module_.state_dict()
    return np.concatenate([v.double().cpu().numpy().ravel() for v in state.values()])


def difference(a, b):
    """Return the largest difference, relative to the rms of the second."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(np.abs(a - b).max() / np.sqrt(np.mean(b**2)))


def relative(a, b):
    """Return the relative difference of two numbers."""
    return abs(a - b) / abs(b)


def wait(device):
    """Wait for what a GPU still computes."""
    if device != "cpu":
        torch.cuda.synchronize()


def milliseconds(run, device, at_most=0.3):
    """Return the median time of a call, after a warm-up, of as many as fit into that time."""
    run()
    taken = []
    while not taken or (len(taken) < 21 and sum(taken) < at_most):
        wait(device)
        begin = time.perf_counter()
        run()
        wait(device)
        taken.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(taken)


@contextmanager
def hooked(name, hook):
    """Call a function at a notification of each net in training, before its callbacks."""
    own = getattr(TrainingNet, name)

    def both(net, *args, **kwargs):
        own(net, *args, **kwargs)
        hook(net, **kwargs)

    setattr(TrainingNet, name, both)
    try:
        yield
    finally:
        delattr(TrainingNet, name)


@contextmanager
def full_precision():
    """Let convolutions on a GPU compute with all digits of float32, instead of those of TF32."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def step_milliseconds(case, device, **params):
    """Return an estimator, and the median time between the ends of its first training steps."""
    ends = []

    def at_end(net, training=False, **kwargs):
        if training:
            wait(device)
            ends.append(time.perf_counter())
            if len(ends) > 4 and ends[-1] - ends[0] > ENOUGH:
                raise KeyboardInterrupt

    with hooked("on_batch_end", at_end):
        estimator = fit(case, device, n_samples=N_MANY, max_epochs=N_EPOCHS, **params)
    return estimator, 1e3 * statistics.median(np.diff(ends)[1:])


# The checks: each returns the columns of a row


def operator_check(name, make, batch, dtype, device):
    """Compare gravity and gradient of a torch operator with those of NumPy in float64."""
    operator = make()
    rng = np.random.default_rng(0)
    rho = rng.uniform(0.0, 10.0, (batch, operator.n_cells_))
    expected = operator.products_.forward(rho)
    g = expected + 0.1 * np.abs(expected).mean() * rng.normal(size=expected.shape)
    gradient = operator.products_.adjoint(expected - g)
    found, taken = {}, {}
    for where in ("cpu", device):
        module = operator.to_torch(device=where, dtype=dtype)
        x = torch.tensor(rho, dtype=dtype, device=where, requires_grad=True)
        data = torch.tensor(g, dtype=dtype, device=where)

        def step(module=module, x=x, data=data):
            x.grad = None
            predicted = module(x)
            (predicted - data).square().sum().div(2).backward()
            return predicted

        predicted = step()
        found[where] = predicted.detach().cpu().numpy(), x.grad.cpu().numpy()
        taken[where] = milliseconds(step, where)
    errors = [difference(*both) for both in zip(found[device], (expected, gradient), strict=True)]
    return {
        "operator": f"{name}, {str(dtype).removeprefix('torch.')}",
        "error of g": errors[0],
        "error of the gradient": errors[1],
        "batch": batch,
        "CPU, ms": taken["cpu"],
        "GPU, ms": taken[device],
        "ratio": taken["cpu"] / taken[device],
    }


def training_check(case, device):
    """Compare one epoch without noise."""
    here, there = quiet(case, "cpu"), quiet(case, device)
    with full_precision():
        exact = fit(case, device, max_epochs=1, **QUIET[case])
    again = fit(case, device, max_epochs=1, **QUIET[case])
    expected = estimates(here, case)
    return {
        "trained": case,
        "loss": relative(there.loss_curve_[-1], here.loss_curve_[-1]),
        "densities": difference(estimates(there, case), expected),
        "loss without TF32": relative(exact.loss_curve_[-1], here.loss_curve_[-1]),
        "densities without TF32": difference(estimates(exact, case), expected),
        "same seed twice, weights": difference(weights(again), weights(there)),
    }


def noise_check(case, device):
    """Compare the losses of two epochs in which each device draws its own noise."""
    here, there = (fit(case, where, max_epochs=2) for where in ("cpu", device))
    loss = relative(there.loss_curve_[-1], here.loss_curve_[-1])
    return {"trained": f"{case}, with its noise", "loss": loss}


def file_check(case, device):
    """Train on either device, save, load on the other, and predict there."""
    data = pairs(CASES[case][1]).data
    row, taken = {"network": case}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, here, there in (("GPU to CPU", device, "cpu"), ("CPU to GPU", "cpu", device)):
            path, fitted = Path(folder) / f"{name}.safetensors", quiet(case, here)
            fitted.save(path)
            loaded = CNNInverter.load(path, device=there)
            row[name] = difference(loaded.predict(data), fitted.predict(data))
            if there == device:
                with full_precision():
                    row["without TF32"] = difference(loaded.predict(data), fitted.predict(data))
            taken[name] = milliseconds(partial(loaded.predict, data), there) / len(data)
    cpu, gpu = taken.values()
    return row | {"CPU, s / 1000": cpu, "GPU, s / 1000": gpu, "ratio": cpu / gpu}


def pretrained_check(name, device):
    """Predict with a pretrained network on both devices."""
    found, taken = {}, {}
    for where in ("cpu", device):
        network = CNNInverter.from_pretrained(name, device=where)
        if name == "paper":
            data = pairs("sections").data
        else:
            network = network.with_operator(_volumes(network.operator_))
            rho = make_density_models(100, mesh=network.operator_.mesh_, random_state=0)
            data = network.operator_.transform(rho)
        predict = partial(network.predict, data, noise_level=0.05)
        found[where], taken[where] = predict(), milliseconds(predict, where) / len(data)
    with full_precision():
        exact = predict()
    return {
        "network": f"pretrained, {name}",
        "CPU to GPU": difference(found[device], found["cpu"]),
        "without TF32": difference(exact, found["cpu"]),
        "CPU, s / 1000": taken["cpu"],
        "GPU, s / 1000": taken[device],
        "ratio": taken["cpu"] / taken[device],
    }


@cache
def _volumes(operator):
    """Return an operator of the layers of another one under 16 x 16 columns."""
    edges = operator.mesh_.edges
    mesh = Mesh([edges[0], *(e[:17] for e in edges[1:])])
    y, x = ((e[1:] + e[:-1]) / 2 for e in mesh.edges[1:])
    height = operator.survey_.stations[0, 0]
    stations = [[height, b, a] for b in y for a in x]
    return ForwardOperator(mesh, Survey(stations, "z"), units=operator.units).fit()


def checkpoint_check(case, device):
    """Interrupt a training, resume it there and on the CPU."""

    def interrupt(net, **kwargs):
        if len(net.history) == 4:
            raise KeyboardInterrupt

    params = {"max_epochs": 5}
    whole = fit(case, device, **params)
    with tempfile.TemporaryDirectory() as folder:
        params["checkpoint"] = folder
        with hooked("on_epoch_begin", interrupt), suppress(KeyboardInterrupt):
            fit(case, device, **params)
        left = (Path(folder) / "training.pt").exists()
        refusal = "none"
        if device != "cpu":
            try:
                fit(case, "cpu", **params)
            except ValueError as error:
                refusal = str(error).partition("training: ")[2].partition(". ")[0]
        resumed = fit(case, device, **params)
    return {
        "training": case,
        "weights after the interruption": difference(weights(resumed), weights(whole)),
        "checkpoint was used": left,
        "resumed on the CPU": refusal,
    }


def random_check(device):
    """See whether training leaves the random states of torch as they were."""

    def states():
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return [torch.get_rng_state(), *cuda]

    changed = []
    for case in ("residual", "VAE"):
        for where in ("cpu", device):
            before = states()
            fit(case, where, max_epochs=1)
            if not all(map(torch.equal, before, states())):
                changed.append(f"{case} on {where}")
    return {"what": "random states of torch", "result": f"changed by: {changed or 'nothing'}"}


def latent_check(device):
    """Search the latent space of one VAE on both devices."""
    data, found = pairs("sections"), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vae.safetensors"
        fit("VAE", device, max_epochs=3).save(path)
        for where in ("cpu", device):
            inverter = LatentInverter(
                FrozenEstimator(VAEGenerator.load(path, device=where)),
                operator=data.operator,
                noise_level=0.01,
                random_state=0,
            ).fit(data.data, data.target)
            inverter.invert(data.data[:200])  # a warm-up
            begin = time.perf_counter()
            result = inverter.invert(data.data[:200])
            found[where] = result, time.perf_counter() - begin
    (here, cpu), (there, gpu) = found["cpu"], found[device]
    error = np.linalg.norm(there.rho - here.rho) / np.linalg.norm(here.rho)
    return {
        "what": "LatentInverter of a VAE, 200 sections",
        "result": f"densities differ by {error:.0e} of their norm, objectives by "
        f"{np.median(np.abs(there.objective / here.objective - 1.0)):.0e} in the median; "
        f"{cpu:.2f} s on the CPU, {gpu:.2f} s on the GPU",
    }


def continued_check(device):
    """Compare chunks of `partial_fit`, and a warm start, with the same on the CPU."""
    data, parts = pairs("sections"), []
    for how in ("partial_fit", "warm_start"):
        losses = []
        for where in ("cpu", device):
            inverter = CNNInverter(
                operator=data.operator, max_epochs=2, random_state=0, device=where, warm_start=True
            )
            for _ in range(2):
                train = inverter.partial_fit if how == "partial_fit" else inverter.fit
                train(data.data, data.target)
            losses.append(inverter.loss_curve_[-1])
        parts.append(f"{how}: {relative(losses[1], losses[0]):.1%}")
    return {"what": "loss after two calls, against the CPU", "result": "; ".join(parts)}


def half_check(device):
    """Compare bfloat16 with float32 on the device."""
    parts = []
    for case in ("residual", "unet, volumes"):
        found = [
            step_milliseconds(case, device, precision=precision)
            for precision in ("float32", "bfloat16")
        ]
        (single, slow), (half, fast) = found
        change = relative(half.loss_curve_[-1], single.loss_curve_[-1])
        parts.append(f"{case}: loss differs by {change:.1%}, {slow:.2f} ms a step, {fast:.2f}")
    return {"what": "bfloat16 against float32 on the GPU", "result": "; ".join(parts)}


LOADER = """
import sys, warnings, joblib, numpy, pickle, torch
warnings.simplefilter("ignore")
assert not torch.cuda.is_available()
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        estimator, X, expected = joblib.load(file) if "joblib" in path else pickle.load(file)
    found = estimator.predict(X)
    error = abs(found - expected).max() / numpy.sqrt(numpy.mean(expected**2))
    print(f"{error:.0e}", end=" ")
"""


def pickle_check(device):
    """Read pickles of networks trained on the GPU in a process that has none."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, case in enumerate(["residual", "paper", "unet, volumes"]):
            X = pairs(CASES[case][1]).data[:100]
            trained = quiet(case, device)
            expected = trained.predict(X)
            both = pickle.loads(pickle.dumps(trained)).predict(X)
            assert np.array_equal(both, expected), "another estimate on the same device"
            for kind, dump in (("joblib", joblib.dump), ("pickle", pickle.dump)):
                paths.append(Path(folder) / f"{i}.{kind}")
                with paths[-1].open("wb") as file:
                    dump((trained, X, expected), file)
        done = subprocess.run(
            [sys.executable, "-c", LOADER, *map(str, paths)],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return {
        "what": "joblib and pickle of residual, paper and unet, read without a GPU",
        "result": f"densities differ by {done.stdout.strip()} of their rms",
    }


def speed_check(case, batch, device):
    """Time training steps."""
    (_, cpu), (trained, gpu) = (
        step_milliseconds(case, where, batch_size=batch) for where in ("cpu", device)
    )
    size = trained.net_.batch_size
    return {
        "trained": case,
        "batch": size,
        "CPU, ms / step": cpu,
        "GPU, ms / step": gpu,
        "CPU, s / 1000": cpu / size,
        "GPU, s / 1000": gpu / size,
        "ratio": cpu / gpu,
    }


def _fitted(mesh, method, stations=None):
    survey = None if stations is None else Survey(stations, "z")
    return ForwardOperator(mesh, survey, method=method).fit()


def _scattered(mesh, n_stations):
    rng = np.random.default_rng(0)
    axes = [rng.uniform(-60.0, -20.0, n_stations)]
    axes += [rng.uniform(e[0], e[-1], n_stations) for e in mesh.edges[1:]]
    return _fitted(mesh, "anywhere", np.column_stack(axes))


SECTION, BLOCK = Mesh.regular((60, 120), 25.0), Mesh.regular((20, 40, 40), 25.0)
OPERATORS = {
    "matrix, 50 x 50": (partial(_fitted, Mesh.square(50), "dense"), 256),
    "FFT, 60 x 120": (partial(_fitted, SECTION, "fft"), 256),
    "anywhere, 60 x 120": (partial(_scattered, SECTION, 240), 256),
    "matrix, 8 x 16 x 16": (partial(_fitted, VOLUME, "dense"), 256),
    "FFT, 20 x 40 x 40": (partial(_fitted, BLOCK, "fft"), 16),
    "anywhere, 20 x 40 x 40": (partial(_scattered, BLOCK, 1600), 16),
}


def parts(device):
    """Return the checks of each table, in the order in which they matter."""
    return {
        "operators": [
            partial(operator_check, name, cache(make), batch, dtype, device)
            for name, (make, batch) in OPERATORS.items()
            for dtype in (torch.float32, torch.float64)
        ],
        "training": [
            *(partial(training_check, case, device) for case in QUIET),
            *(partial(noise_check, case, device) for case in ("residual", "VAE", "GAN", "paper")),
        ],
        "prediction": [
            *(partial(file_check, case, device) for case in QUIET if case != "paper"),
            *(partial(pretrained_check, name, device) for name in ("paper", "huang2021")),
        ],
        "checkpoints": [
            partial(checkpoint_check, case, device)
            for case in ("residual", "unet, volumes", "VAE", "GAN")
        ],
        "others": [
            partial(check, device)
            for check in (random_check, latent_check, continued_check, half_check)
        ],
        "speed": [
            partial(speed_check, case, batch, device)
            for batch in (None, LARGE)
            for case in ("residual", "unet, volumes", "VAE", "GAN", "paper", "unet, sections")
        ],
        "pickles": [partial(pickle_check, device)],
    }


# Running and writing


def run(device, seconds):
    """Run all checks in the time given, and write what they find."""
    began = time.monotonic()
    warnings.simplefilter("ignore")
    folder = Path(os.environ.get("OUT", OUTPUT))
    folder.mkdir(parents=True, exist_ok=True)
    name = "none, the CPU again" if device == "cpu" else torch.cuda.get_device_name(device)
    found = {
        "GPU": name,
        "CPU": f"{processor()}, {torch.get_num_threads()} threads",
        "versions": versions("skgrav", "torch", "numpy", "scipy", "scikit-learn", "skorch"),
        "tables": {},
    }
    print(found, flush=True)

    def too_long(*args):
        raise TimeoutError("not done in time")

    signal.signal(signal.SIGALRM, too_long)
    for part, checks in parts(device).items():
        rows = found["tables"][part] = []
        for check in checks:
            left = seconds - MARGIN - (time.monotonic() - began)
            if left < 1:
                rows.append({"check": _name(check), "error": "no time left"})
                continue
            signal.setitimer(signal.ITIMER_REAL, min(left, MOST * seconds))
            begin = time.monotonic()
            try:
                row = check()
            except (Exception, KeyboardInterrupt) as error:
                lines = str(error).splitlines() or [""]
                row = {"check": _name(check), "error": f"{type(error).__name__}: {lines[0]}"}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            rows.append(row)
            values = ", ".join(f"{key} {_text(value)}" for key, value in row.items())
            print(f"[{time.monotonic() - begin:4.1f} s] {part}: {values}", flush=True)
            (folder / "gpu.json").write_text(json.dumps(found, indent=1))
    print(f"{time.monotonic() - began:.0f} s in all; {folder / 'gpu.json'}")


def _name(check):
    given = [str(a) for a in check.args if isinstance(a, (str, int, torch.dtype)) or a is None]
    return " ".join([check.func.__name__, *given])


def _text(value):
    if not isinstance(value, float):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.0e}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:,.0f}"


def fill(path):
    """Put the figures of a run into the page."""
    found = json.loads(Path(path).read_text())
    about = "; ".join(found[name] for name in ("GPU", "CPU", "versions"))
    for part, rows in found["tables"].items():
        good = [row for row in rows if "error" not in row]
        failed = [f"`{row['check']}`: {row['error']}" for row in rows if "error" in row]
        header = list(dict.fromkeys(name for row in good for name in row))
        cells = [[_text(row.get(name, "-")) for name in header] for row in good]
        content = [markdown(header, cells)] * bool(good)
        content += ["Not measured: " + "; ".join(failed) + "."] * bool(failed)
        put_into("gpu.md", f"gpu {part}", "\n\n".join([*content, f"{about}."]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="torch device to compare with the CPU")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for it, beside imports")
    parser.add_argument("--page", help="only put the figures of this file into doc/gpu.md")
    options = parser.parse_args()
    if options.page:
        fill(options.page)
    else:
        run(options.device, options.seconds)
