"""What every inverter promises: samples apart, scikit-learn's ways, noise, physics, bad input.

Each instance of `saved_estimators.INVERTERS` keeps the same contract; what one alone does is
tested in its own file.
"""

import copy
import pickle
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import surveyed, with_noise, with_one
from saved_estimators import CLEAN, ESTIMATORS, INVERTERS, OPERATOR, X, Y, cnn, fitted
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from skgrav import (
    BayesLinearInverter,
    ForwardOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    SparseInverter,
    TikhonovInverter,
)
from skgrav.metrics import relative_l2_scorer
from skgrav.pipeline import Pipeline
from skgrav.solvers import SOLVERS

# Tiny training ends before it converges, and GANs before they are varied.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:'noise_level' is None"),
    pytest.mark.filterwarnings("ignore:'alpha' is"),  # that the data do not determine
]

EACH = pytest.mark.parametrize("name", INVERTERS)
#: They draw while they learn.
RANDOM = [
    name
    for name in INVERTERS
    if any(key.endswith("max_epochs") for key in ESTIMATORS[name].get_params())
    and name != "latent, gan"  # whose start is exact, and left alone
]
BY_OPERATOR = [name for name in INVERTERS if "operator" in ESTIMATORS[name].get_params()]
#: `predict` takes the noise of a sample: all but the paper's networks, which know one alone.
TAKES_NOISE = [name for name in BY_OPERATOR if not name.startswith("paper")]
#: The noise is a parameter as well: all but networks, which have that of their training.
KNOWS_NOISE = [name for name in TAKES_NOISE if "noise_level" in ESTIMATORS[name].get_params()]
#: What they learn of the errors of a start depends on the noise in training.
LEARN_NOISE = ["latent, gan", "refiner, bayes", "refiner, bayes after bayes"]
#: The start takes the noise that `predict` is given, but not that of the parameter.
STARTS_TAKE_NOISE = [*LEARN_NOISE, "refiner", *set(TAKES_NOISE) - set(KNOWS_NOISE)]
NAMES_OF_DATA = list(OPERATOR.get_feature_names_out())
NOISY = with_noise(X[:5], 0.01)
#: Searches end where their tolerance says, for which the batch decides the last digits.
TOLERANCE = {"latent, starts": 1e-2}


def difference(found, expected):
    """Give the largest difference of densities, relative to the largest density."""
    return np.abs(found - expected).max() / np.abs(Y).max()


def rounding(name):
    """Give how far rounding may take an estimate: farther by training, and by exact fits."""
    return 1e-9 if name == "bayes" else 1e-3 if name in RANDOM else 2e-5


def estimate(name, g, level, inverter=None):
    """Give densities, and where they can be had their standard deviations, at a level of noise."""
    inverter = fitted(name) if inverter is None else inverter
    options = {} if name.startswith("paper") else {"noise_level": level}
    rho = inverter.predict(g, **options)
    if name.startswith(("bayes", "refiner, bayes")):
        found, std = inverter.predict(g, return_std=True, **options)
        np.testing.assert_array_equal(found, rho)
        return np.hstack([rho, std])
    return rho


def state():
    """Give the states of all generators of random numbers."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        pickle.dumps(np.random.get_state()),  # noqa: NPY002
        random.getstate(),
    )


def learned(parameters):
    """Give the names of what estimators among the parameters have learned."""
    return [
        f"{key}.{name}"
        for key, part in parameters.items()
        if isinstance(part, BaseEstimator)
        for name in vars(part)
        if name.endswith("_")
    ]


# Fits


@EACH
def test_clone_fits_alike_and_leaves_parameters_data_and_global_seeds_alone(name):
    inverter, x, y = clone(fitted(name)), X.copy(), Y.copy()
    x.setflags(write=False)
    y.setflags(write=False)
    assert not [key for key in vars(inverter) if key.endswith("_")]
    params, before = inverter.get_params(), state()
    assert inverter.fit(x, y) is inverter
    rho = inverter.predict(x[:5])
    assert state() == before
    np.testing.assert_array_equal(rho, fitted(name).predict(X[:5]))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    if not isinstance(inverter, Pipeline):  # which fits its own steps
        after = inverter.get_params()
        assert all(after[key] is value for key, value in params.items())
        assert learned(after) == []


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_another_estimate(name):
    inverter = clone(fitted(name))
    seeds = [key for key in inverter.get_params() if key.endswith("random_state")]
    inverter.set_params(**dict.fromkeys(seeds, 1)).fit(X, Y)
    assert difference(inverter.predict(X[:5]), fitted(name).predict(X[:5])) > 0


@EACH
def test_float32_in_float64_out(name):
    x, y, g = (values.astype(np.float32) for values in (X, Y, NOISY))
    expected = estimate(name, NOISY, 0.01)
    rho = estimate(name, g, 0.01)
    assert rho.dtype == np.float64
    assert difference(rho, expected) < TOLERANCE.get(name, 3e-4 if name == "sparse" else 2e-5)
    rho = estimate(name, g, 0.01, clone(fitted(name)).fit(x, y))
    assert rho.dtype == np.float64
    # What exact data tell of the errors of a start, rounded ones do not.
    assert difference(rho, expected) < (0.15 if name.startswith("refiner, bayes") else 1e-3)


def least(name):
    """Give how few samples there may be: errors of one alone have no covariance."""
    return 2 if name.startswith(("analogue", "conformal", "latent", "refiner, bayes")) else 1


@EACH
def test_few_samples_are_enough(name):
    inverter = clone(ESTIMATORS[name])
    small = {"cv": 2, "n_components": 1, "n_neighbors": 2, "early_stopping": False}
    for key in inverter.get_params():
        if key.rpartition("__")[2] in small:
            inverter.set_params(**{key: small[key.rpartition("__")[2]]})
    with warnings.catch_warnings():
        if name == "conformal":  # what it holds is fitted to one sample
            warnings.filterwarnings("ignore", "'noise_level' is")
        rho = inverter.fit(X[: least(name)], Y[: least(name)]).predict(X[:1])
    assert rho.shape == (1, 64)
    assert np.isfinite(rho).all()
    if least(name) == 2 and "mirror" not in name:
        with pytest.raises(
            ValueError, match=r"1 sample\(s\) .* minimum of 2 is required|n_samples=1 sections"
        ):
            inverter.fit(X[:1], Y[:1])


LINE = {
    "bayes": BayesLinearInverter(0.0),
    "tikhonov": TikhonovInverter(1e-9),
    "tikhonov, discrepancy": TikhonovInverter(noise_level=0.0),
    "sparse": SparseInverter(1e-9),
    "residual": cnn(max_epochs=20, training_noise=0.0),
    "paper": cnn("paper", max_epochs=1),
    "latent": LatentInverter(PCA(1), noise_level=0.0),
    "refiner, bayes": Refiner("bayes", init="zero", noise_level=0.0, random_state=0),
    **{f"refiner, {s}": Refiner(s, init="zero", noise_level=0.0) for s in SOLVERS},
}


@pytest.mark.parametrize("name", LINE)
def test_one_station_and_a_density_vector_will_do(name):
    rho = np.linspace(1.0, 3.0, 20)
    inverter = clone(LINE[name]).set_params(operator=MatrixOperator([[2.0]]))
    found = inverter.fit(2 * rho[:, None], rho).predict([[4.4], [5.0]])
    assert found.shape == (2,)
    if name not in {"paper", "refiner, gd"}:  # the paper's step scarcely moves
        np.testing.assert_allclose(found, [2.2, 2.5], rtol=1e-5)
    if name in {"bayes", "refiner, bayes"}:
        _, std = inverter.predict([[4.4], [5.0]], return_std=True)
        np.testing.assert_allclose(std, 0, atol=1e-6)
    np.testing.assert_array_equal(inverter.transform([[4.4]]), [[found[0], 4.4]])


@pytest.mark.parametrize("name", [n for n in INVERTERS if n.startswith(("residual", "paper"))])
def test_copy_that_trains_on_leaves_the_original(name):
    expected = fitted(name).predict(X[:5])
    copied = copy.deepcopy(fitted(name)).partial_fit(X, Y)
    assert difference(copied.predict(X[:5]), expected) > 0
    np.testing.assert_array_equal(fitted(name).predict(X[:5]), expected)


# Predictions


@EACH
@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.filterwarnings("ignore::UserWarning")  # zeros are data of no training kind
def test_samples_do_not_know_one_another(name, level):
    g = with_noise(X[:8], level)
    if name.startswith(("bayes", "residual", "tikhonov", "sparse")):  # not exact fits of zeros
        g = np.vstack([g, np.zeros((1, 48))])
    together = estimate(name, g, level)
    alone = np.concatenate([estimate(name, row[None], level) for row in g])
    parts = [estimate(name, part, level) for part in np.array_split(g[::-1], 3)]
    tolerance = TOLERANCE.get(name, 2e-5)
    assert difference(alone, together) < tolerance
    assert difference(np.concatenate(parts)[::-1], together) < tolerance


@EACH
def test_more_samples_than_a_batch_are_estimated_alike(name):
    n = 30 if "latent" in name else 120 if {"residual", "paper"} & set(name.split(", ")) else 10
    n = 2 if name.startswith("relief") else n  # which are inverted one by one
    many = estimate(name, np.tile(NOISY, (n, 1)).repeat(2, axis=0)[1:], 0.01)
    expected = np.tile(estimate(name, NOISY, 0.01), (n, 1)).repeat(2, axis=0)[1:]
    assert difference(many, expected) < TOLERANCE.get(name, 1e-6)


@EACH
def test_dask_arrays_are_mapped_block_by_block(name):
    da = pytest.importorskip("dask.array", reason="needs dask, skgrav[dask]")
    # Uneven blocks, one of them empty, whose columns are in two chunks.
    g = da.from_array(NOISY, chunks=((2, 0, 3), 24))
    rho = fitted(name).predict(g, **({} if name.startswith("paper") else {"noise_level": 0.01}))
    assert isinstance(rho, da.Array)
    assert rho.shape == (5, 64)
    expected = estimate(name, NOISY, 0.01)[:, :64]
    assert difference(rho.compute(), expected) < TOLERANCE.get(name, 1e-6)


# Names and frames


@EACH
def test_frames_are_known_again_and_estimates_go_on_beside_the_data(name):
    frame = pd.DataFrame(X, columns=NAMES_OF_DATA)
    inverter = clone(ESTIMATORS[name]).set_output(transform="pandas")
    inverter.fit(frame, pd.DataFrame(Y))  # a warning about names would be an error
    rho = inverter.predict(frame[:5])
    assert difference(rho, fitted(name).predict(X[:5])) < rounding(name)
    both = inverter.transform(frame[:5])
    expected = [*(f"rho{i}" for i in range(64)), *NAMES_OF_DATA]
    assert list(both.columns) == list(inverter.get_feature_names_out()) == expected
    np.testing.assert_array_equal(both, np.hstack([rho, X[:5]]))


@EACH
def test_columns_without_names_are_numbered(name):
    names = fitted(name).get_feature_names_out()
    assert list(names) == [*(f"rho{i}" for i in range(64)), *(f"x{i}" for i in range(48))]
    both = fitted(name).transform(X[:5])
    np.testing.assert_array_equal(both, np.hstack([fitted(name).predict(X[:5]), X[:5]]))


@pytest.mark.parametrize("inverter", [Refiner("projection"), LatentInverter(PCA(8))], ids=str)
def test_start_beside_the_data_is_not_handed_on(inverter):
    started = np.hstack([Y, X])
    inverter = clone(inverter).set_params(**CLEAN).set_output(transform="pandas").fit(started, Y)
    both = inverter.transform(started)
    cells, data = (f"rho{i}" for i in range(64)), (f"x{i}" for i in range(64, 112))
    assert list(both.columns) == [*cells, *data]
    np.testing.assert_array_equal(both, np.hstack([inverter.predict(started), X]))


# Scikit-learn's company


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("residual", {"training_noise": [0.01, 0.1]}),
        ("refiner, zero", {"solver": ["cgls", "projection"]}),
    ],
)
def test_searches_in_processes_equal_those_in_one(name, grid):
    settings = {"cv": 2, "scoring": relative_l2_scorer, "error_score": "raise"}
    one, two = (
        GridSearchCV(ESTIMATORS[name], grid, n_jobs=n_jobs, **settings).fit(X, Y)
        for n_jobs in (1, 2)
    )
    scores = [search.cv_results_["mean_test_score"] for search in (one, two)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["residual", "paper", "bayes", "latent, pca", "latent, vae", "refiner, zero"]
)
def test_densities_may_be_transformed(name):
    plain = clone(ESTIMATORS[name]).set_params(operator=MatrixOperator(OPERATOR.matrix_))
    in_tonnes = TransformedTargetRegressor(
        clone(plain).set_params(operator=MatrixOperator(1000 * OPERATOR.matrix_)),
        func=lambda rho: rho / 1000,
        inverse_func=lambda rho: 1000 * rho,
    ).fit(X, Y)
    expected = plain.fit(X, Y).predict(X[:5])
    assert difference(in_tonnes.predict(X[:5]), expected) < rounding(name)


# Noise


def knowing(name, noise_level=None, operator=OPERATOR):
    """Give an inverter fitted with a parameter of noise and an operator."""
    inverter = clone(ESTIMATORS[name]).set_params(operator=operator)
    if name in KNOWS_NOISE:
        inverter.set_params(noise_level=noise_level)
    return inverter.fit(X, Y)


@pytest.mark.parametrize("name", TAKES_NOISE)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of noise that contradicts the data
def test_noise_of_predict_goes_before_the_parameter_and_that_before_the_survey(name):
    g, wrong = with_noise(X[:5], 0.1), surveyed(1e9, OPERATOR)
    right, unknown = knowing(name, 0.1), knowing(name, None, wrong)
    expected = right.predict(g, noise_level=0.1)
    if name not in {"tikhonov, gcv", "tikhonov, lcurve"}:  # whose alpha does without
        for other in (unknown.predict(g), right.predict(g, noise_level=0.5)):
            assert difference(other, expected) > 0.01
    inverters = [unknown]
    if name in KNOWS_NOISE:
        found = knowing(name, 0.1, wrong).predict(g)
        np.testing.assert_array_equal(found, right.predict(g))
        inverters.append(knowing(name, 0.05))
    for inverter in inverters if name not in LEARN_NOISE else ():
        np.testing.assert_array_equal(inverter.predict(g, noise_level=0.1), expected)
    if name not in STARTS_TAKE_NOISE:
        np.testing.assert_array_equal(right.predict(g), expected)


@pytest.mark.parametrize("name", TAKES_NOISE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_sample_may_have_its_own_noise(name):
    levels = np.array([0.0, 0.002, 0.03, 0.1])
    g = with_noise(X[:4], levels[:, None])
    together = estimate(name, g, pd.Series(levels))
    alone = [estimate(name, g[[k]], level) for k, level in enumerate(levels)]
    assert difference(np.concatenate(alone), together) < TOLERANCE.get(name, 2e-5)
    for method in {"invert", "refine"} & set(dir(fitted(name))):
        result = getattr(fitted(name), method)(g, noise_level=levels)
        np.testing.assert_array_equal(result.rho, together[:, :64])


@pytest.mark.parametrize("name", TAKES_NOISE)
def test_bad_noise_is_refused(name):
    text = r"'noise_level' (is|has) .*; it must be a number of at least 0 or one for each "
    for bad in (-0.1, np.nan, np.inf, [0.1, 0.2], [[0.1]], "none", ["a", "b"]):
        with pytest.raises(ValueError, match=text):
            fitted(name).predict(X[:3], noise_level=bad)
    if name in KNOWS_NOISE:
        kind = type(ESTIMATORS[name]).__name__
        for bad in (-0.1, np.nan, np.inf, "none"):
            text = f"'noise_level' parameter of {kind} must be .* Got {bad!r}"
            with pytest.raises(ValueError, match=text):
                clone(ESTIMATORS[name]).set_params(noise_level=bad).fit(X, Y)


# Physics


@pytest.mark.parametrize("name", TAKES_NOISE)
def test_default_geometry_is_found_silently(name):
    inverter = clone(ESTIMATORS[name]).set_params(operator=None).fit(X, Y)
    np.testing.assert_array_equal(inverter.operator_.matrix_, OPERATOR.matrix_)
    assert inverter.operator_.mesh_ == OPERATOR.mesh_


@pytest.mark.parametrize("name", BY_OPERATOR)
def test_wrong_operator_is_refused(name):
    data = (
        "'operator' has 48 data, but X has 47 columns. Give the operator of the survey that"
        if name.startswith("paper")
        else "'operator' maps 64 cells to 48 data, but .* 64 cells and 47 data. Give the operator"
    )
    cells = r"'X' has 64 columns, but 'mesh' of shape \(7, 7\) has 49 cells"
    wrong = [
        (OPERATOR, X[:, 1:], data),
        (ForwardOperator(Mesh.square(7)), X, cells),
        (OPERATOR.matrix_, X, "'operator' parameter of .* must be an instance of"),
    ]
    if name in TAKES_NOISE:
        wrong += [
            (OPERATOR, -X, "does not reproduce X from y: .* The sign of X is reversed"),
            (OPERATOR, 1e3 * X, "X is 1000 times the operator's gravity: check the 'units'"),
        ]
    for operator, g, text in wrong:
        with pytest.raises(ValueError, match=text):
            clone(ESTIMATORS[name]).set_params(operator=operator).fit(g, Y)


# What is refused


BAD_PAIRS = [
    (with_one(np.nan, X), Y, "Input X contains NaN"),
    (with_one(np.inf, X), Y, "Input X contains infinity"),
    (np.ma.masked_equal(X, X[3, 3]), Y, "'X' is masked in 1 of 2400 places"),
    (X, with_one(np.nan, Y), "Input y contains NaN"),
    (X.T, Y.T, r"inconsistent numbers of samples: \[48, 64\]"),
    (X[:7], Y, r"inconsistent numbers of samples: \[7, 50\]"),
    (X[:0], Y[:0], r"0 sample\(s\)"),
    (X[0], Y[:1], r"Expected 2D array, but 'X' has shape \(48,\)"),
]


@EACH
def test_bad_data_are_refused(name):
    for x, y, text in BAD_PAIRS:
        with pytest.raises(ValueError, match=text):
            clone(ESTIMATORS[name]).fit(x, y)


@EACH
def test_prediction_needs_a_fit_the_same_width_and_finite_data(name):
    for method in ("predict", "transform"):
        with pytest.raises(NotFittedError):
            getattr(clone(ESTIMATORS[name]), method)(X)
    for bad in (X[:, 1:], np.hstack([Y, X])):
        with pytest.raises(ValueError, match=f"X has {bad.shape[1]} features, but .* expecting 48"):
            fitted(name).predict(bad)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(name).predict(with_one(np.nan, X))
