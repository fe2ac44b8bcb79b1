"""What VAEGenerator and GANGenerator share: training, codes, and scikit-learn's ways."""

import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from generator_cases import (  # noqa: F401
    MESH,
    PAPER_GAN_COLLAPSES,
    TINY,
    UNSEEN,
    X,
    gan,
    noting_weights,
    objective,
    reconstructed,
    slopes,
    small,
    weights,
)
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from training_cases import same_weights

from skgrav import GANGenerator, Mesh, VAEGenerator
from skgrav.generators import _base
from skgrav.generators._gan import AdversarialNet
from skgrav.metrics import relative_l2_error
from skgrav.solvers import Solution
from skgrav.training import OneCycle
from skgrav.training._callbacks import KeepBest

CODES = np.random.default_rng(0).normal(size=(30, 6))
BOTH = pytest.mark.parametrize("kind", [VAEGenerator, GANGenerator])


def stop_by_user(monkeypatch, epoch):
    """Press Ctrl-C at the end of some epoch."""
    on_epoch_end = KeepBest.on_epoch_end

    def interrupt(self, net, **kwargs):
        on_epoch_end(self, net, **kwargs)
        if len(net.history) == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeepBest, "on_epoch_end", interrupt)


@pytest.fixture(scope="module", params=[VAEGenerator, GANGenerator])
def fitted(request):
    return small(request.param).fit(X)


# Settings


@pytest.mark.parametrize(
    ("kind", "architecture", "expected"),
    [
        (VAEGenerator, "default", (160, 20, 64, 2e-3)),
        (VAEGenerator, "paper", (15, 25, 25, 1e-4)),
        (GANGenerator, "default", (64, 40, 64, 1e-3)),
        (GANGenerator, "paper", (50, 45, 25, 5e-4)),
    ],
)
def test_none_takes_the_settings_of_the_architecture(kind, architecture, expected):
    generator = kind(architecture=architecture)
    assert generator._resolved(1000, 144 * 2) == expected
    assert generator.set_params(max_epochs=7)._resolved(1000, 288).max_epochs == 7


@pytest.mark.parametrize(("n_samples", "n_cells", "expected"), [(30, 144, 30), (50, 36, 36)])
@BOTH
def test_default_code_is_as_long_as_samples_and_cells_allow(kind, n_samples, n_cells, expected):
    generator = small(kind, n_components=None, max_epochs=1).fit(X[:n_samples, :n_cells])
    assert generator.n_components_ == expected
    assert generator.transform(X[:2, :n_cells]).shape == (2, expected)


@PAPER_GAN_COLLAPSES
@BOTH
def test_papers_code_may_be_longer_than_there_are_samples(kind):
    generator = small(kind, n_components=20, architecture="paper", max_epochs=1).fit(X[:10])
    assert generator.transform(X[:2]).shape == (2, 20)


@PAPER_GAN_COLLAPSES
@pytest.mark.parametrize(
    ("kind", "rate", "n_epochs"), [(VAEGenerator, 1e-4, 2), (GANGenerator, 5e-4, 5)]
)
def test_papers_rate_is_halved_every_few_epochs(kind, rate, n_epochs):
    generator = small(kind, architecture="paper", max_epochs=7, batch_size=10).fit(TINY[:10])
    expected = rate * 0.5 ** (np.arange(7) / n_epochs)
    np.testing.assert_allclose(generator.net_.history[:, "lr"], expected)


@BOTH
def test_rate_rises_in_the_first_twentieth_and_falls_as_a_cosine(kind, monkeypatch):
    on_batch_begin, rates = OneCycle.on_batch_begin, []

    def note(self, net, training, **kwargs):
        on_batch_begin(self, net, training, **kwargs)
        if training:
            rates.append(net.optimizer_.param_groups[0]["lr"])

    monkeypatch.setattr(OneCycle, "on_batch_begin", note)
    small(
        kind,
        learning_rate=0.01,
        max_epochs=40,
        batch_size=5,
        early_stopping=True,
        validation_fraction=0.5,
        n_iter_no_change=40,
    ).fit(TINY[:20])
    done = np.arange(80) / 80
    assert len(rates) == 80
    assert np.all(np.diff(rates[:5]) > 0)
    np.testing.assert_allclose(rates[4:-2], 0.005 * (1 + np.cos(np.pi * done[4:-2])), rtol=1e-6)
    assert 1e-5 <= rates[-1] < 3e-5


# Early stopping


@BOTH
def test_early_stopping_stops_in_time_and_keeps_the_best_weights(kind, monkeypatch):
    states = noting_weights(monkeypatch)
    generator = small(
        kind, early_stopping=True, n_iter_no_change=3, max_epochs=100, learning_rate=0.02
    ).fit(X)
    curve = generator.validation_loss_curve_
    best = int(np.argmin(curve))
    assert generator.n_epochs_ == len(curve) == len(generator.loss_curve_) == best + 4 < 100
    kept = weights(generator)
    assert kept
    assert all(torch.equal(states[best][name], value) for name, value in kept.items())
    assert not all(torch.equal(states[-1][name], value) for name, value in kept.items())


@BOTH
def test_without_early_stopping_the_last_weights_count(kind, monkeypatch):
    states = noting_weights(monkeypatch)
    generator = small(kind).fit(X)
    assert len(states) == generator.n_epochs_ == 3
    assert generator.validation_loss_curve_ == []
    kept = weights(generator)
    assert all(torch.equal(states[-1][name], value) for name, value in kept.items())


def test_validation_share_is_left_out_of_training(monkeypatch):
    step, seen = AdversarialNet.train_step, []

    def note(self, batch, **kwargs):
        seen.append(batch[0].numpy())
        return step(self, batch, **kwargs)

    monkeypatch.setattr(AdversarialNet, "train_step", note)
    params = {"early_stopping": True, "validation_fraction": 0.4, "max_epochs": 2}
    small(GANGenerator, **params).fit(X)
    assert len(np.unique(np.concatenate(seen), axis=0)) == 60


# Training that does not end well


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_keyboard_interrupt_leaves_a_generator_of_the_epochs_done(
    kind, early_stopping, monkeypatch
):
    stop_by_user(monkeypatch, 2)
    kept = "best" if early_stopping else "last"
    text = f"training was stopped by the user after 2 of 9 epochs; the weights of the {kept} of"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        generator = small(kind, max_epochs=9, early_stopping=early_stopping).fit(X)
    assert caught[0].filename == __file__
    assert generator.n_epochs_ == len(generator.loss_curve_) == 2
    assert len(generator.validation_loss_curve_) == (2 if early_stopping else 0)
    mean = np.tile(X.mean(axis=0), (100, 1))
    assert -generator.score(X) < 0.7 * relative_l2_error(X, mean)
    pickle.dumps(generator)


@BOTH
def test_interrupt_in_the_first_epoch_leaves_the_start(kind, monkeypatch):
    def interrupt(self, net, training, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(OneCycle, "on_batch_begin", interrupt)
    with pytest.warns(ConvergenceWarning, match="after 0 of 3 epochs"):
        generator = small(kind).fit(X)
    assert generator.loss_curve_ == []
    assert np.isfinite(generator.sample(5, random_state=0)).all()


@BOTH
def test_loss_that_is_no_number_is_an_error_and_leaves_nothing_fitted(kind):
    generator = small(kind).fit(X)
    text = r"train_loss became nan in epoch \d+: lower 'learning_rate' or check X and y"
    with pytest.raises(FloatingPointError, match=text):
        generator.set_params(learning_rate=1e30, max_epochs=9).fit(X)
    for use in [generator.sample, lambda: generator.transform(X), lambda: generator.score(X)]:
        with pytest.raises(NotFittedError):
            use()
    assert generator.set_params(learning_rate=1e-3).fit(X).sample().shape == (1, 144)


# Densities and codes


@BOTH
def test_densities_stay_within_their_range(kind):
    generator = small(kind, density_range=(0, 16), learning_rate=0.01).fit(X)
    assert generator.density_range_ == (0, 16)
    far = generator.inverse_transform(1e3 * CODES)
    for rho in [generator.sample(100, random_state=0), far]:
        assert rho.min() >= 0
        assert rho.max() <= 16
    assert (far.min(), far.max()) == (0, 16)


def test_range_is_that_of_the_training_densities(fitted):
    assert fitted.density_range_ == (X.min(), X.max())


def test_densities_of_other_units_are_scaled_back(fitted):
    generator = clone(fitted).fit(1800 + 125 * X)
    expected = 1800 + 125 * fitted.sample(10, random_state=0)
    np.testing.assert_allclose(generator.sample(10, random_state=0), expected, rtol=1e-3)


@BOTH
def test_densities_beyond_the_range_are_told(kind):
    text = r"'X' ranges from .* beyond density_range=\(1, 11\), .* Give a wider 'density_range'"
    with pytest.warns(UserWarning, match=text) as caught:
        small(kind, max_epochs=1, density_range=(1, 11)).fit(X)
    assert caught[0].filename == __file__


@BOTH
def test_constant_densities_are_no_trouble_to_the_papers_architectures(kind):
    rho = np.full_like(X[:20], 3.0)
    generator = small(kind, architecture="paper", max_epochs=1).fit(rho)
    np.testing.assert_array_equal(generator.sample(5, random_state=0), rho[:5])
    assert np.isfinite(generator.transform(rho)).all()
    assert generator.score(rho) == 0


def test_codes_are_spread_about_like_the_prior(fitted):
    z = fitted.transform(X)
    assert np.all(np.abs(z.mean(axis=0)) < 0.3)
    assert 0.6 < z.std(axis=0).min() < z.std(axis=0).max() < 1.7


def test_score_is_minus_the_mean_relative_error_of_what_comes_back(fitted):
    expected = -relative_l2_error(UNSEEN, reconstructed(fitted, UNSEEN))
    assert fitted.score(UNSEEN) == pytest.approx(expected)
    assert -1 < expected < 0


def test_decoding_in_torch_equals_that_in_numpy(fitted):
    rho = fitted.decode(torch.tensor(CODES, dtype=torch.float32))
    np.testing.assert_allclose(rho.detach(), fitted.inverse_transform(CODES), rtol=1e-5, atol=1e-5)


def test_decoding_has_derivatives_by_the_codes(fitted):
    z = torch.tensor(CODES, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(fitted.decode(z).mean(), z)
    step = 1e-2 * np.random.default_rng(1).normal(size=CODES.shape)
    ahead, behind = (fitted.inverse_transform(CODES + s * step).mean() for s in (1, -1))
    change = np.sum(gradient.numpy() * step)
    assert (ahead - behind) / 2 == pytest.approx(change, rel=0.02, abs=1e-6)
    assert abs(change) > 1e-5


def test_codes_of_parts_are_those_of_the_whole(fitted):
    rho = np.concatenate([X, UNSEEN, X, UNSEEN])  # more than a chunk
    together = fitted.transform(rho)
    for i in [0, 120, 249, 250, 299]:
        np.testing.assert_allclose(fitted.transform(rho[i : i + 1])[0], together[i], atol=1e-5)


def test_sections_of_many_codes_are_those_of_each(fitted):
    many = np.tile(CODES, (10, 1))
    expected = np.tile(fitted.inverse_transform(CODES), (10, 1))
    np.testing.assert_allclose(fitted.inverse_transform(many), expected, atol=1e-5)


def test_nearest_code_is_at_least_as_near_as_the_encoded_one(fitted):
    encoded, nearest = fitted.transform(UNSEEN), fitted.nearest_code(UNSEEN)
    lowest = objective(fitted, nearest, UNSEEN)
    assert np.all(lowest <= 1.001 * objective(fitted, encoded, UNSEEN))
    assert lowest.mean() < 0.7 * objective(fitted, np.zeros((50, 6)), UNSEEN).mean()
    if isinstance(fitted, GANGenerator):
        np.testing.assert_allclose(encoded, nearest, atol=1e-5)


def test_nearest_code_starts_at_zero_or_where_it_is_told(fitted, monkeypatch):
    nearest = fitted.nearest_code(UNSEEN[:30])
    found = fitted.nearest_code(UNSEEN[:30], z0=nearest + 0.1 * CODES)
    lowest = objective(fitted, nearest, UNSEEN[:30])
    np.testing.assert_allclose(objective(fitted, found, UNSEEN[:30]), lowest, rtol=0.05)

    def stay(problem, u, *_):
        return Solution.start(problem, u)

    for solver in ["gauss_newton", "lbfgs"]:  # whichever it is
        monkeypatch.setattr(_base, solver, stay, raising=False)
    np.testing.assert_allclose(fitted.nearest_code(X[:30], z0=CODES), CODES, atol=1e-6)
    np.testing.assert_array_equal(fitted.nearest_code(X[:3]), np.zeros((3, 6)))


# Seeds and states


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_same_seed_same_weights_and_samples_other_seed_others(kind, early_stopping):
    first = small(kind, early_stopping=early_stopping).fit(X)
    torch.manual_seed(123)
    again = small(kind, early_stopping=early_stopping).fit(X)
    other = small(kind, early_stopping=early_stopping, random_state=1).fit(X)
    assert same_weights(first, again)
    assert first.loss_curve_ == again.loss_curve_
    assert not same_weights(first, other)
    samples = [generator.sample(5, random_state=0) for generator in (first, again, other)]
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.allclose(samples[0], samples[2])


def test_samples_follow_their_seed(fitted):
    rho = fitted.sample(7, random_state=3)
    assert rho.shape == (7, 144)
    np.testing.assert_array_equal(fitted.sample(7, random_state=3), rho)
    assert not np.allclose(fitted.sample(7, random_state=4), rho)
    assert not np.allclose(*fitted.sample(2, random_state=3))
    rng = np.random.RandomState(3)
    np.testing.assert_array_equal(fitted.sample(7, random_state=rng), rho)
    assert not np.allclose(fitted.sample(7, random_state=rng), rho)
    assert fitted.sample().shape == (1, 144)


def test_samples_are_decoded_codes(fitted):
    z = fitted._drawn_codes(7, np.random.RandomState(3))
    assert z.shape == (7, 6)
    np.testing.assert_array_equal(fitted.sample(7, random_state=3), fitted.inverse_transform(z))
    if isinstance(fitted, GANGenerator):
        np.testing.assert_array_equal(z, np.random.RandomState(3).normal(size=(7, 6)))


@BOTH
def test_global_generators_stay_untouched(kind):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_before = random.getstate()
    generator = small(kind, early_stopping=True).fit(X)
    generator.sample(3, random_state=0)
    generator.nearest_code(X[:3])
    generator.score(X[:3])
    assert torch.equal(torch.get_rng_state(), torch_before)
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(numpy_after[1], numpy_before[1])
    assert numpy_after[2:] == numpy_before[2:]
    assert random.getstate() == python_before


# Pickles and scikit-learn's ways


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_pickle_decodes_alike_and_holds_no_training_data(kind, early_stopping):
    params = {"early_stopping": early_stopping, "batch_size": 20, "n_iter_no_change": 3}
    few, many = small(kind, **params).fit(X[:25]), small(kind, **params).fit(X)
    dumps = [pickle.dumps(few), pickle.dumps(many)]
    # A section takes 576 bytes in float32, its code fewer.
    sizes = [
        len(dump) - getattr(generator, "codes_", np.empty(0)).nbytes
        for dump, generator in zip(dumps, (few, many), strict=True)
    ]
    assert abs(sizes[0] - sizes[1]) < 300
    assert len(dumps[1]) < 1.3 * sum(w.nbytes for w in weights(many).values())
    rows = [*X, *many._scaled(X)]
    assert not any(row.tobytes() in dumps[1] for row in rows)
    restored = pickle.loads(dumps[1])
    np.testing.assert_array_equal(restored.inverse_transform(CODES), many.inverse_transform(CODES))
    np.testing.assert_allclose(restored.transform(UNSEEN), many.transform(UNSEEN), atol=1e-5)
    assert restored.loss_curve_ == many.loss_curve_


@BOTH
def test_verbose_generator_shows_a_bar_and_can_be_pickled(kind, capsys):
    pickle.dumps(small(kind, verbose=True).fit(X))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "3/3 [" in printed.err
    assert "train_loss=" in printed.err
    small(kind).fit(X)
    assert capsys.readouterr().err == ""


@BOTH
def test_fit_leaves_the_parameters_alone(kind):
    generator = small(kind, mesh=MESH, density_range=(0, 16))
    before = generator.get_params()
    after = generator.fit(X).get_params()
    assert all(after[name] is value for name, value in before.items())
    copied = clone(generator)
    assert not hasattr(copied, "net_")
    assert same_weights(copied.fit(X), generator)


@BOTH
def test_grid_search_goes_by_the_generators_own_score(kind):
    grid = {"n_components": [1, 8], "learning_rate": [1e-4, 1e-3]}
    search = GridSearchCV(small(kind, max_epochs=2), grid, cv=2).fit(X[:60])
    assert search.best_params_["n_components"] == 8
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() < 0
    assert search.transform(UNSEEN).shape == (50, 8)
    assert search.score(UNSEEN) == pytest.approx(search.best_estimator_.score(UNSEEN))


def test_grid_search_in_processes_equals_that_in_one():
    def scores(n_jobs):
        search = GridSearchCV(small(max_epochs=2), {"n_components": [2, 8]}, cv=2, n_jobs=n_jobs)
        return search.fit(X[:60]).cv_results_["mean_test_score"]

    np.testing.assert_allclose(scores(2), scores(1), rtol=1e-4)


def test_frozen_generator_is_not_fitted_again(fitted):
    before = fitted.transform(UNSEEN)
    chain = make_pipeline(FunctionTransformer(), FrozenEstimator(fitted)).fit(slopes(30, 0))
    for frozen in [chain, clone(FrozenEstimator(fitted))]:
        np.testing.assert_allclose(frozen.transform(UNSEEN), before, atol=1e-5)


def test_generator_works_alone_or_last_in_a_pipeline(fitted):
    alone = make_pipeline(clone(fitted)).fit(X)
    np.testing.assert_allclose(alone.transform(UNSEEN), fitted.transform(UNSEEN), atol=1e-5)
    chain = make_pipeline(FunctionTransformer(np.log1p, np.expm1), clone(fitted)).fit(X)
    back = chain.inverse_transform(chain.transform(X))
    mean = np.tile(X.mean(axis=0), (100, 1))
    assert relative_l2_error(X, back) < 0.8 * relative_l2_error(X, mean)
    assert chain.score(X) == pytest.approx(chain[-1].score(np.log1p(X)))


def test_frames_are_known_again_and_codes_have_names(fitted):
    cells = [f"rho{i}" for i in range(144)]
    frame, unseen = pd.DataFrame(X, columns=cells), pd.DataFrame(UNSEEN, columns=cells)
    generator = clone(fitted).set_output(transform="pandas")
    # A frame lies otherwise in memory, so sums differ in their last digits.
    np.testing.assert_allclose(generator.fit_transform(frame), fitted.transform(X), atol=1e-2)
    assert list(generator.feature_names_in_) == cells
    codes = generator.transform(unseen)  # a warning about names would be an error
    names = [f"{type(fitted).__name__.lower()}{i}" for i in range(6)]
    assert list(codes.columns) == list(generator.get_feature_names_out()) == names
    np.testing.assert_allclose(codes, fitted.transform(UNSEEN), atol=1e-2)
    nearest = generator.nearest_code(unseen)
    np.testing.assert_allclose(nearest, fitted.nearest_code(UNSEEN), atol=1e-2)
    assert generator.inverse_transform(codes).shape == UNSEEN.shape
    assert generator.score(unseen) == pytest.approx(fitted.score(UNSEEN), rel=1e-3)


def test_fit_transform_gives_codes_of_the_training_sections(fitted):
    codes = clone(fitted).fit_transform(X)
    np.testing.assert_allclose(codes, fitted.transform(X), atol=1e-5)


# Meshes and what is refused


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh.regular((5, 9), 1.0),
        Mesh.regular((9, 4), (2.0, 1.0)),
        Mesh([[0, 1, 3, 7], np.linspace(-4, 4, 8)]),
        Mesh.regular((1, 12), 1.0),
        Mesh.regular((12, 1), 1.0),
    ],
    ids=["wide", "deep", "uneven", "one layer", "one column"],
)
@BOTH
def test_any_2d_mesh_will_do(kind, mesh):
    rho = np.random.default_rng(0).uniform(0, 12, (40, mesh.n_cells))
    generator = small(kind, mesh=mesh).fit(rho)
    assert generator.sample(3, random_state=0).shape == (3, mesh.n_cells)
    assert generator.transform(rho).shape == (40, 6)


@PAPER_GAN_COLLAPSES
@pytest.mark.parametrize("architecture", ["default", "paper"])
def test_layers_and_columns_are_not_confused(architecture):
    def coarse(shape):
        params = {"architecture": architecture, "max_epochs": 1}
        gan = small(GANGenerator, mesh=Mesh.regular(shape, 1.0), **params).fit(X)
        return gan.net_.module_.average.coarse[1:]

    assert coarse((8, 18)) == (1, 3)
    assert coarse((18, 8)) == (3, 1)
    wide = small(mesh=Mesh.regular((8, 18), 1.0)).fit(X).net_.module_
    assert wide.encoder.shape == wide.decoder.shape == (8, 18)


def test_mesh_of_a_square_is_not_needed():
    assert same_weights(small(mesh=MESH).fit(X), small().fit(X))


@BOTH
def test_cells_that_are_no_square_need_a_mesh(kind):
    text = "'mesh' is None and 132 cells are not a square section: they are taken as one layer"
    with pytest.warns(UserWarning, match=text) as caught:
        generator = small(kind, max_epochs=1).fit(X[:, :132])
    assert caught[0].filename == __file__
    assert generator.sample(2, random_state=0).shape == (2, 132)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"mesh": Mesh.regular((4, 6, 7), 1.0)},
            r"'mesh' has shape \(4, 6, 7\), but X has 144 cells",
        ),
        (
            {"mesh": Mesh.square(11)},
            r"'mesh' has shape \(11, 11\), but X has 144 cells; give the mesh",
        ),
        (
            {"n_components": 101},
            "'n_components' is 101; it must be at most 100, the smaller of 100",
        ),
        (
            {"n_components": 0},
            "'n_components' parameter of .*Generator must be an int in the range",
        ),
        *(
            ({"density_range": given}, r"'density_range' is \(.*; it must be two finite numbers, t")
            for given in ((6, 3), (6, 6), (0, 6, 12), (0, np.inf))
        ),
        ({"architecture": "unet"}, "'architecture' parameter of .*Generator must be a str among"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter of .*Generator must be a float in the"),
        ({"max_epochs": 0}, "'max_epochs' parameter of .*Generator must be an int in the range"),
    ],
)
@BOTH
def test_bad_parameters_are_refused(kind, params, text):
    with pytest.raises(ValueError, match=text):
        small(kind, **params).fit(X)


@pytest.mark.parametrize(
    ("rho", "text"),
    [
        (np.where(X[3, 3] == X, np.nan, X), "Input X contains NaN"),
        (np.where(X[3, 3] == X, np.inf, X), "Input X contains infinity"),
        (X[:1], r"Found array with 1 sample\(s\)"),
        (X[0], r"Expected 2D array, but 'X' has shape \(144,\)"),
    ],
    ids=["NaN", "infinity", "one section", "vector"],
)
@BOTH
def test_bad_densities_are_refused(kind, rho, text):
    with pytest.raises(ValueError, match=text):
        small(kind).fit(rho)


def test_other_widths_and_bad_values_are_refused_once_fitted(fitted):
    name = type(fitted).__name__
    for use in [fitted.transform, fitted.nearest_code, fitted.score]:
        with pytest.raises(ValueError, match=f"X has 143 features, but {name} is expecting 144"):
            use(X[:, 1:])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            use(np.where(X[3, 3] == X, np.nan, X))
    text = f"'X' has 7 columns, but codes of this {name} have 6 components"
    with pytest.raises(ValueError, match=text):
        fitted.inverse_transform(np.zeros((2, 7)))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted.inverse_transform(np.full((2, 6), np.nan))
    with pytest.raises(ValueError, match=r"'z0' has shape \(3, 1\); it must be one code for each"):
        fitted.nearest_code(X[:3], z0=np.zeros((3, 1)))


@BOTH
def test_generators_need_a_fit(kind):
    generator = small(kind)
    uses = [generator.transform, generator.nearest_code, generator.score]
    for use in [*uses, generator.inverse_transform]:
        with pytest.raises(NotFittedError):
            use(X)
    with pytest.raises(NotFittedError):
        generator.sample()


@BOTH
def test_constant_densities_are_learned(kind):
    rho = np.full((20, 144), 3.0)
    generator = small(kind, max_epochs=2, density_range=(0, 6)).fit(rho)
    assert_allclose(generator.sample(3, random_state=0), 3.0, atol=0.1)
