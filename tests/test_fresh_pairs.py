"""Training of the residual network on pairs of each epoch, its learning rates and its end."""

import copy

import numpy as np
import pytest
import torch
from conftest import with_noise
from residual_cases import (  # noqa: F401
    FEW,
    FEW_RHO,
    OPERATOR,
    RHO,
    UNSEEN,
    G,
    Source,
    X,
    fitted,
    trained,
    unfitted,
)
from sklearn.exceptions import ConvergenceWarning
from training_cases import Interrupt, Observer, Spoil, same_weights, weights

from skgrav.metrics import relative_l2_error
from skgrav.training import LEAST_NOISE, HoldOut

# Fresh pairs


def test_callable_draws_other_sections_for_each_epoch():
    source = Source()
    inverter = unfitted(density_range=(0, 12)).fit(source)
    assert inverter.n_epochs_ == len(source.seeds) == len(set(source.seeds)) == 3
    assert all(isinstance(seed, int) for seed in source.seeds)
    assert not np.array_equal(source.drawn[0], source.drawn[1])
    assert not np.array_equal(source.drawn[1], source.drawn[2])
    assert np.isfinite(inverter.predict(G)).all()


def test_fresh_pairs_are_those_trained_on():
    # A rate of nearly zero leaves the linear estimate, whose loss is that of the sections.
    source = Source(400)
    inverter = unfitted(training_noise=0.0, learning_rate=1e-35, density_range=(0, 12)).fit(source)
    losses = []
    for rho in source.drawn:
        g = with_noise(OPERATOR.transform(rho), LEAST_NOISE)
        _, linear = inverter._encoding.inputs(g, LEAST_NOISE * inverter._encoding.rms(g))
        losses.append(relative_l2_error(rho, linear))
    assert np.ptp(losses) > 1e-3 * losses[0]
    np.testing.assert_allclose(inverter.loss_curve_, losses, rtol=5e-3)


def test_fresh_pairs_follow_the_seed():
    first, second, third = Source(), Source(pair=True), Source()
    one = unfitted(density_range=(0, 12)).fit(first)
    assert same_weights(one, unfitted(density_range=(0, 12)).fit(second))
    assert first.seeds == second.seeds
    other = unfitted(density_range=(0, 12), random_state=1).fit(third)
    assert not set(first.seeds) & set(third.seeds)
    assert not same_weights(one, other)


def test_warm_start_draws_new_pairs():
    source = Source()
    inverter = unfitted(warm_start=True, density_range=(0, 12)).fit(source)
    inverter.fit(source)
    assert inverter.n_epochs_ == len(set(source.seeds)) == 6


def chunks(*sizes):
    for k, size in enumerate(sizes):
        yield X[200 * k : 200 * k + size], RHO[200 * k : 200 * k + size]


def test_iterator_yields_a_chunk_for_each_epoch():
    params = {"density_range": (0, 12)}
    one = unfitted(**params).fit(chunks(200, 200, 200))
    assert one.n_epochs_ == 3
    assert not same_weights(one, fitted(X[:200], RHO[:200], **params))


def test_iterator_that_ends_early_leaves_a_model_and_says_so():
    text = "'X' had pairs for 2 of 3 epochs, .* the weights of the last epoch are kept. Set 'max_ep"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        inverter = unfitted(density_range=(0, 12)).fit(chunks(200, 200))
    assert caught[0].filename == __file__
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    assert relative_l2_error(UNSEEN, inverter.predict(G)) < 0.3
    inverter.partial_fit(X[:200], RHO[:200])
    assert inverter.n_epochs_ == 3


@pytest.mark.filterwarnings("ignore:'X' had pairs")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_weights_of_the_last_epoch_are_kept_if_pairs_run_out_or_the_best_ones(early_stopping):
    observer, n_epochs = Observer(), 4
    inverter = unfitted(
        early_stopping=early_stopping,
        density_range=(0, 12),
        max_epochs=6,
        callbacks=[Spoil(n_epochs), observer],
    ).fit(chunks(*[200] * n_epochs))
    losses = inverter.validation_loss_curve_ if early_stopping else inverter.loss_curve_
    assert np.argmin(losses) < n_epochs - 1 == inverter.n_epochs_ - 1
    epoch = int(np.argmin(losses)) if early_stopping else -1
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[epoch].items())


def test_bad_chunks_are_refused():
    with pytest.raises(ValueError, match="X drew 100 pairs after 200; each epoch must have"):
        unfitted(density_range=(0, 12)).fit(chunks(200, 100, 200))
    with pytest.raises(ValueError, match="'X' is an iterator without a pair left"):
        unfitted().fit(iter([]))
    wider = iter([(FEW, FEW_RHO), (FEW[:, :-1], FEW_RHO), (FEW, FEW_RHO)])
    with pytest.raises(ValueError, match="X has 71 features, but CNNInverter is expecting 72"):
        unfitted().fit(wider)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        unfitted().fit(FEW)


def test_fresh_pairs_and_early_stopping_go_together():
    source = Source(200)
    inverter = unfitted(early_stopping=True, density_range=(0, 12), max_epochs=4).fit(source)
    assert len(inverter.validation_loss_curve_) == inverter.n_epochs_ == len(source.seeds) == 4


# The cycle of learning rates


def test_rate_rises_and_falls_in_one_cycle():
    observer = Observer()
    fitted(X[:640], RHO[:640], max_epochs=10, learning_rate=1e-3, callbacks=[observer])
    rates = np.array(observer.rates_)
    assert len(rates) == 50
    top = int(np.argmax(rates))
    assert 1 <= top <= 4
    assert 0.9e-3 < rates[top] <= 1e-3
    assert np.all(np.diff(rates[:top]) > 0)
    assert np.all(np.diff(rates[top:]) < 0)
    assert rates[0] < 0.3 * rates[top] > 30 * rates[-1]


def test_chunks_of_partial_fit_go_through_one_cycle():
    whole, parts = Observer(), Observer()
    fitted(max_epochs=6, batch_size=50, callbacks=[whole])
    inverter = unfitted(max_epochs=6, batch_size=50, callbacks=[parts])
    for _ in range(6):
        inverter.partial_fit(FEW, FEW_RHO)
    np.testing.assert_allclose(parts.rates_, whole.rates_)
    inverter.partial_fit(FEW, FEW_RHO)
    assert inverter.n_epochs_ == 7


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_warm_start_begins_another_cycle(max_epochs):
    observer = Observer()
    inverter = unfitted(max_epochs=max_epochs, batch_size=15, warm_start=True, callbacks=[observer])
    inverter.fit(FEW, FEW_RHO).fit(FEW, FEW_RHO)
    first, second = np.array_split(observer.rates_, 2)
    np.testing.assert_allclose(second, first)
    assert inverter.n_epochs_ == 2 * max_epochs


def test_warm_start_goes_on_from_the_weights(trained):
    inverter = copy.deepcopy(trained).set_params(warm_start=True, max_epochs=1)
    inverter.set_params(learning_rate=1e-35).fit(X, RHO)
    for old, new in zip(weights(trained), weights(inverter), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-7)
    assert inverter.n_epochs_ == 16
    with pytest.raises(ValueError, match="'augment' is now 'mirror', but the network was"):
        inverter.set_params(augment="mirror").fit(X, RHO)


# Training that ends otherwise


def test_early_stopping_stops_in_time_and_keeps_the_best_weights():
    observer = Observer()
    inverter = fitted(
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=3,
        max_epochs=60,
        learning_rate=0.02,
        callbacks=[observer],
    )
    best = int(np.argmin(inverter.validation_loss_curve_))
    assert inverter.n_epochs_ == best + 4 < 60
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())


def test_interrupt_keeps_the_best_weights_and_says_so():
    observer = Observer()
    with pytest.warns(ConvergenceWarning, match="stopped by the user after 3 of 9 epochs") as told:
        inverter = unfitted(max_epochs=9, callbacks=[observer, Interrupt(4)]).fit(FEW, FEW_RHO)
    assert told[0].filename == __file__
    best = int(np.argmin(inverter.loss_curve_))
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert relative_l2_error(UNSEEN, inverter.predict(G)) < 0.3


def test_diverging_loss_is_an_error_that_names_the_learning_rate():
    with pytest.raises(FloatingPointError, match=r"became nan in epoch .*: lower 'learning_rate'"):
        fitted(learning_rate=1e30, weight_decay=1e10, max_epochs=20)


# Oddments


def test_mirror_images_are_held_out_with_their_sections():
    split = HoldOut(0.2, 2, seed=0)
    train, valid = split(np.arange(200))
    sections = [{i % 100 for i in part.indices} for part in (train, valid)]
    assert not sections[0] & sections[1]
    assert [len(part) for part in (train, valid)] == [160, 40]
    with pytest.raises(ValueError, match="splits 1 sections into nothing and all"):
        split(np.arange(2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("architecture", "paper"), ("n_components", 3), ("data_consistency", True)],
)
def test_warm_start_refuses_what_the_network_was_not_made_with(name, value):
    inverter = unfitted(max_epochs=1, warm_start=True).fit(FEW, FEW_RHO)
    with pytest.raises(ValueError, match=f"'{name}' is now {value!r}, but the network was made"):
        inverter.set_params(**{name: value}).fit(FEW, FEW_RHO)


def test_partial_fit_after_fit_begins_a_new_cycle():
    inverter = unfitted(max_epochs=3).fit(FEW, FEW_RHO)
    before = inverter.predict(FEW)
    inverter.partial_fit(FEW, FEW_RHO)
    assert np.abs(inverter.predict(FEW) - before).max() > 1e-3


def test_failed_fit_leaves_what_was_fitted():
    inverter = unfitted(max_epochs=1).fit(FEW, FEW_RHO)
    before = inverter.predict(FEW)
    with pytest.raises(ValueError, match="'operator' does not reproduce X from y"):
        inverter.fit(FEW, -FEW_RHO)
    np.testing.assert_array_equal(inverter.predict(FEW), before)
