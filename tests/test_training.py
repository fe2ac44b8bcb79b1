"""How training goes on, stops and fails: early stopping, warm starts, Ctrl-C, seeds, progress."""

import pickle
import random

import numpy as np
import pytest
import torch
from cnn_cases import Idle, X, Y, _seed, small  # noqa: F401
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback
from training_cases import Interrupt, Observer, Spoil, denormals_are_flushed, same_weights, weights

from skgrav import CNNInverter

# Early stopping


def test_early_stopping_holds_out_a_share_stops_in_time_and_keeps_the_best_weights():
    observer = Observer()
    inverter = small(
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=4,
        max_epochs=500,
        learning_rate=0.02,
        callbacks=[observer],
    ).fit(X, Y)
    assert sum(observer.batch_sizes_) == 48 * inverter.n_epochs_
    best = int(np.argmin(inverter.validation_loss_curve_))
    assert inverter.n_epochs_ == best + 5 < 500
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert not torch.equal(kept["dense.0.weight"], observer.states_[-1]["dense.0.weight"])


def test_without_early_stopping_all_samples_and_the_last_weights_count():
    observer = Observer()
    inverter = small(callbacks=[observer]).fit(X, Y)
    assert sum(observer.batch_sizes_) == 60 * 3
    assert inverter.validation_loss_curve_ == []
    last = observer.states_[-1].values()
    assert all(map(torch.equal, inverter.net_.module_.state_dict().values(), last))


# Going on


def test_partial_fit_goes_on_by_one_epoch():
    inverter = small()
    for _ in range(20):
        inverter.partial_fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 20
    assert inverter.loss_curve_[-1] < 0.8 * inverter.loss_curve_[0]


def test_partial_fit_takes_scales_from_the_first_chunk():
    inverter = small(density_range=(0, 12)).partial_fit(X[:30], Y[:30])
    mean = inverter._encoding.mean.copy()
    inverter.partial_fit(X[30:], Y[30:])
    np.testing.assert_array_equal(inverter._encoding.mean, mean)
    np.testing.assert_allclose(mean, X[:30].mean(axis=0))
    assert inverter.density_range_ == (0, 12)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_warm_start_and_partial_fit_are_reproducible(method):
    def run():
        inverter = small(warm_start=True, training_noise=0.01)
        for _ in range(2):
            getattr(inverter, method)(X, Y)
        return inverter

    assert same_weights(run(), run())


def test_warm_start_goes_on_and_a_cold_one_begins_again():
    warm, cold = small(warm_start=True), small()
    once = weights(warm.fit(X, Y))
    warm.fit(X, Y)
    assert warm.n_epochs_ == len(warm.loss_curve_) == 6
    assert warm.loss_curve_[3] < warm.loss_curve_[0]
    cold.fit(X, Y).fit(X, Y)
    assert cold.n_epochs_ == 3
    assert all(map(np.array_equal, weights(cold), once))


def test_warm_start_takes_the_training_parameters_of_now():
    inverter = small(warm_start=True).fit(X, Y)
    before = weights(inverter)
    inverter.set_params(max_epochs=1, learning_rate=1e-12, batch_size=7, training_noise=0.1)
    inverter.fit(X, Y)
    assert inverter.net_.optimizer_.param_groups[0]["lr"] < 1e-11
    assert (inverter.net_.batch_size, inverter.net_.augment.noise_level) == (7, (0.1, 0.1))
    assert inverter.n_epochs_ == 4
    for old, new in zip(before, weights(inverter), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    with pytest.raises(ValueError, match="'augment' is now 'mirror', but the network was"):
        inverter.set_params(augment="mirror").fit(X, Y)


def test_a_loss_that_is_no_number_costs_nothing_that_was_learned():
    inverter = small(warm_start=True)
    with pytest.raises(FloatingPointError):
        inverter.set_params(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X * 1.0, Y)
    inverter.set_params(learning_rate=1e-3, weight_decay=0.0, max_epochs=3).fit(X, Y)
    good, density = inverter.n_epochs_, inverter.predict(X)
    inverter.set_params(learning_rate=1e30, weight_decay=1e10, max_epochs=20)
    with pytest.raises(FloatingPointError):
        inverter.fit(X, Y)
    assert np.isfinite(inverter.predict(X)).all()
    if inverter.net_.history[-1]["epoch"] == good:  # the first epoch failed: all as before
        np.testing.assert_array_equal(inverter.predict(X), density)
    inverter.set_params(learning_rate=1e-3, weight_decay=0.0, max_epochs=1).fit(X, Y)
    assert np.isfinite(inverter.loss_curve_).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_with_other_sizes_is_refused(method):
    inverter = small(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="'y' has 143 cells, but the network was trained for 144"):
        getattr(inverter, method)(X, Y[:, 1:])
    with pytest.raises(ValueError, match="X has 71 features, but CNNInverter is expecting 72"):
        getattr(inverter, method)(X[:, 1:], Y)


def test_densities_beyond_the_range_are_told():
    text = r"'y' ranges from .* beyond density_range=\(3, 6\), .* Give a wider 'density_range'"
    with pytest.warns(UserWarning, match=text) as caught:
        small(density_range=(3, 6)).fit(X, Y)
    assert caught[0].filename == __file__
    inverter = small().partial_fit(X, Y)
    with pytest.warns(UserWarning, match="beyond which estimates are clipped"):
        inverter.partial_fit(X, Y + 1)


# Training that does not end well


@pytest.mark.parametrize("early_stopping", [False, True])
def test_keyboard_interrupt_keeps_the_best_weights_and_says_so(early_stopping):
    observer = Observer()
    inverter = small(
        max_epochs=40,
        early_stopping=early_stopping,
        n_iter_no_change=40,
        callbacks=[Spoil(30), observer, Interrupt(31)],
    )
    text = r"training was stopped by the user after 30 of 40 epochs; the weights of the best of"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        inverter.fit(X, Y)
    assert caught[0].filename == __file__
    curve = inverter.validation_loss_curve_ if early_stopping else inverter.loss_curve_
    best = int(np.argmin(curve))
    assert best < 29 == len(curve) - 1
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert np.isfinite(inverter.predict(X)).all()


def test_interrupted_inverter_can_go_on():
    interrupt = Interrupt(2)
    inverter = small(callbacks=[interrupt])
    with pytest.warns(ConvergenceWarning, match="after 1 of 3 epochs"):
        inverter.fit(X, Y)
    assert len(inverter.net_.history) == 1  # an epoch that was not finished does not count
    interrupt.epoch = None
    inverter.partial_fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    interrupt.epoch = 2
    with pytest.warns(ConvergenceWarning, match="after 1 of 3 epochs"):
        inverter.fit(X, Y)


def test_interrupt_in_the_first_epoch_leaves_an_estimator_that_predicts():
    inverter = small(callbacks=[Interrupt(1)])
    with pytest.warns(ConvergenceWarning, match="after 0 of 3 epochs"):
        inverter.fit(X, Y)
    assert inverter.predict(X).shape == Y.shape


def test_diverging_loss_is_an_error_that_names_the_learning_rate():
    text = r"train_loss became nan in epoch \d+: lower 'learning_rate' or check X and y"
    with pytest.raises(FloatingPointError, match=text):
        small(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X, Y)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_diverged_fit_tells_of_the_epochs_it_finished(early_stopping):
    inverter = small(max_epochs=5, early_stopping=early_stopping).fit(X, Y)
    inverter.set_params(callbacks=[Spoil(3, factor=np.nan)])
    with pytest.raises(FloatingPointError, match=r"_loss became nan in epoch 3"):
        inverter.fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    assert len(inverter.validation_loss_curve_) == (2 if early_stopping else 0)
    assert np.isfinite(inverter.predict(X)).all()


def test_fit_that_diverges_at_once_leaves_no_curves():
    inverter = small().fit(X, Y)
    inverter.set_params(callbacks=[Spoil(1, factor=np.nan)])
    with pytest.raises(FloatingPointError):
        inverter.fit(X, Y)
    assert (inverter.n_epochs_, inverter.loss_curve_) == (0, [])
    with pytest.raises(NotFittedError):
        inverter.predict(X)


# Seeds and states


def test_same_seed_same_result_other_seed_other_result():
    params = {"training_noise": 0.01, "augment": "mirror", "early_stopping": True}
    first = small(**params).fit(X, Y)
    torch.manual_seed(123)
    assert same_weights(first, small(**params).fit(X, Y))
    assert not same_weights(first, small(**params, random_state=1).fit(X, Y))


def test_no_seed_means_another_result_each_time():
    assert not same_weights(*(small(random_state=None).fit(X, Y) for _ in range(2)))


def test_global_generators_stay_untouched():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_before = random.getstate()
    inverter = small(training_noise=0.01, augment="mirror", early_stopping=True).fit(X, Y)
    inverter.partial_fit(X, Y).predict(X)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before[1])  # noqa: NPY002
    assert random.getstate() == python_before


@pytest.fixture(params=[False, True], ids=["kept", "flushed"])
def flush_before(request):
    """Set how the user treats denormal numbers."""
    torch.set_flush_denormal(request.param)
    yield request.param
    torch.set_flush_denormal(False)


def test_denormals_are_flushed_while_training_and_treated_as_before_afterwards(flush_before):
    observer = Observer()
    small(callbacks=[observer]).fit(X, Y)
    assert observer.flushed_ == [True, True, True]
    assert denormals_are_flushed() == flush_before


def test_denormals_are_treated_as_before_after_an_error_too():
    with pytest.raises(FloatingPointError):
        small(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X, Y)
    assert not denormals_are_flushed()


class Dying(Idle):
    """Network whose weight sees a tiny gradient once, and then none."""

    def forward(self, g):
        scale = 0.0 if hasattr(self, "dead") else 1e-34
        if self.training:
            self.dead = True
        return (scale * self.weight + 0 * g[:, :1]).expand(len(g), self.n_cells)


@pytest.mark.parametrize("flush", [True, False])
def test_moments_of_dead_units_do_not_become_denormal(flush, monkeypatch):
    if not flush:  # shows that they would
        monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: None)
    inverter = CNNInverter(Dying, max_epochs=150, batch_size=60).fit(X, Y)
    (state,) = inverter.net_.optimizer_.state.values()
    moment = float(state["exp_avg"].abs())
    assert (moment == 0) if flush else (0 < moment < np.finfo(np.float32).tiny)


# Other parameters


def test_callbacks_are_used():
    bare, named = Observer(), Observer()
    inverter = small(callbacks=[bare, ("mine", named)]).fit(X, Y)
    assert len(bare.states_) == len(named.states_) == 3
    assert dict(inverter.net_.callbacks_)["mine"] is named


@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_shows_a_bar_on_stderr_and_nothing_else(verbose, capsys):
    small(verbose=verbose, early_stopping=True, n_iter_no_change=1, max_epochs=9).fit(X, Y)
    printed = capsys.readouterr()
    assert printed.out == ""
    if verbose:
        assert "/9 [" in printed.err
        assert "epoch" in printed.err
        assert "train_loss=" in printed.err
        assert "valid_loss=" in printed.err
    else:
        assert printed.err == ""


def test_verbose_inverter_can_be_pickled():
    pickle.loads(pickle.dumps(small(verbose=True).fit(X, Y))).partial_fit(X, Y)


class Stop(Callback):
    """Stop training in some epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            net.stop("callback")


def test_a_callback_may_stop_training_after_an_epoch():
    observer = Observer()
    inverter = small(max_epochs=5, callbacks=[observer, Stop(2)]).fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[-1].items())
    inverter.partial_fit(X, Y)  # which it does not stop
    assert inverter.n_epochs_ == 3


@pytest.mark.filterwarnings("ignore:training was stopped")
@pytest.mark.parametrize("callbacks", [None, [Interrupt(2)], [Stop(2)]])
def test_nothing_of_a_training_is_left_on_its_net(callbacks):
    net = small(callbacks=callbacks).fit(X, Y).net_
    assert not hasattr(net, "run_")
    assert not {"tasks", "checkpoint"} & {name for name, _ in net.callbacks_}
    assert all(epoch["batches"] == [] for epoch in net.history)


def test_a_fit_that_fails_leaves_nothing_on_its_net():
    inverter = small().fit(X, Y)
    inverter.net_.callbacks_.append(("failing", Fail()))
    with pytest.raises(RuntimeError, match="no more"):
        inverter.partial_fit(X, Y)
    assert not hasattr(inverter.net_, "run_")
    assert len(inverter.net_.history) == inverter.n_epochs_ == 3


class Fail(Callback):
    def on_batch_end(self, net, **kwargs):
        raise RuntimeError("no more")
