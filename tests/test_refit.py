"""An estimator that is fitted again, with other parameters and data, equals a fresh one."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from test_estimators import public_estimators

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CellValues,
    CNNInverter,
    ConformalInverter,
    ForwardOperator,
    GANGenerator,
    JointOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    ReliefInverter,
    SparseInverter,
    Survey,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.operators import BaseOperator
from skgrav.solvers import SOLVERS

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skgrav.operators.PhysicsWarning"),
    pytest.mark.filterwarnings("ignore:'rcond' is:UserWarning"),
]

BEFORE = make_gravity_dataset(60, mesh=Mesh.square(6), noise_level=0.01, random_state=0)
AFTER = {
    "as many cells": make_gravity_dataset(
        50, mesh=Mesh.square(6), survey=Survey.line(Mesh.square(6), height=0.8), random_state=1
    ),
    "more cells": make_gravity_dataset(50, mesh=Mesh.square(8), noise_level=0.02, random_state=1),
}


def matrix(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


#: Each estimator with parameters of a first and of a second fit; "physics" takes the operator of
#: the data as well.
CASES = {
    "forward": (ForwardOperator(), {}, {"kernel": "point", "units": "normalized"}),
    "forward, fft": (
        ForwardOperator(),
        {"method": "fft"},
        {"method": "dense", "precision": "float32"},
    ),
    "forward, rows": (ForwardOperator(), {"method": "dense"}, {"method": "rows"}),
    "matrix, identified": (MatrixOperator(), {}, {"alpha": 0.1}),
    "matrix, given": (MatrixOperator(), "matrix 0", "matrix 1"),
    "cells": (
        CellValues(),
        {"cells": [0, 1, 5], "uncertainty": 1.0},
        {"cells": [2, 3, 7, 9], "uncertainty": None},
    ),
    "joint": (
        JointOperator(),
        {"operators": [CellValues(cells=[0, 1], uncertainty=1.0), CellValues(uncertainty=2.0)]},
        {"operators": None},
    ),
    "analogue": (
        AnalogueInverter(5, random_state=0),
        {"augment": "mirror", "precision": "float16"},
        {"augment": None, "precision": "float64", "n_neighbors": 7, "noise_level": 0.02},
    ),
    "conformal": (
        ConformalInverter(Ridge(), random_state=0),
        {},
        {"inverter": Ridge(10.0), "calibration_fraction": 0.4},
    ),
    "bayes": (BayesLinearInverter(), {"noise_level": 0.01}, {"noise_level": "auto"}),
    "tikhonov": (
        TikhonovInverter(),
        {"alpha": "gcv", "order": 1, "depth_weighting": "sensitivity"},
        {"alpha": "discrepancy", "order": 0, "depth_weighting": None, "noise_level": 0.02},
    ),
    "tikhonov, bounds": (
        TikhonovInverter(noise_level=0.05),
        {"bounds": (0.0, 12.0), "reference": "mean"},
        {"bounds": (-100.0, 100.0), "reference": None, "order": 2},
    ),
    "tikhonov, norm": (
        TikhonovInverter(noise_level=0.05, order=1),
        {"depth_weighting": "distance", "length_scales": 2.0},
        {"depth_weighting": None, "length_scales": None, "norm_weights": (1, 2, 0.5)},
    ),
    "sparse": (
        SparseInverter(max_iter=5),
        {"noise_level": 0.05, "depth_weighting": 1.0},
        {"noise_level": 0.02, "depth_weighting": None, "bounds": (0.0, 50.0)},
    ),
    "relief": (
        ReliefInverter(200.0, noise_level=0.1),
        {"decay": "exponential", "decay_length": 10.0, "bounds": (0.5, 4.0)},
        {"decay": "constant", "order": 2, "wells": [[2.0, 0.1]], "bounds": None},
    ),
    "cnn": (
        CNNInverter(max_epochs=1, batch_size=16, random_state=0),
        {"data_consistency": True, "augment": "mirror"},
        {"data_consistency": False, "augment": None, "learning_rate": 3e-3},
    ),
    "unet": (
        CNNInverter("unet", max_epochs=1, batch_size=16, random_state=0),
        {"augment": "mirror"},
        {"augment": None, "learning_rate": 3e-3, "architecture": "residual"},
    ),
    "vae": (
        VAEGenerator(4, max_epochs=1, random_state=0),
        {},
        {"n_components": 6, "learning_rate": 3e-3},
    ),
    "gan": (GANGenerator(4, max_epochs=1, random_state=0), {}, {"n_components": 6}),
    "latent": (
        LatentInverter(PCA(4), noise_level=0.01),
        {},
        {"generator": PCA(6), "noise_level": 0.02},
    ),
    "refiner, bayes": (
        Refiner("bayes", noise_level=0.01),
        {"init": Ridge()},
        {"init": BayesLinearInverter(), "noise_level": 0.02},
    ),
    "refiner, bayes before cgls": (
        Refiner(noise_level=0.01),
        {"solver": "bayes", "init": Ridge()},
        {"solver": "cgls", "init": "zero"},
    ),
    **{
        f"refiner, {solver}": (
            Refiner(noise_level=0.02),
            {"solver": "cgls", "init": Ridge()},
            {"solver": solver, "init": "zero"},
        )
        for solver in SOLVERS
    },
}


def parameters(given, data, estimator):
    """Give the parameters of a fit, with the operator of its data where it takes one."""
    if isinstance(given, str):
        return {"matrix": matrix(int(given[-1]), data.data.shape[1:] + data.target.shape[1:])}
    if isinstance(estimator, ForwardOperator):
        return {"mesh": data.operator.mesh_, "survey": data.operator.survey_} | given
    return ({"operator": data.operator} if "operator" in estimator.get_params() else {}) | given


def fit(estimator, data):
    if hasattr(estimator, "sample"):
        return estimator.fit(data.target)
    if isinstance(estimator, BaseOperator):
        return estimator.fit(data.target, data.data)
    return estimator.fit(data.data, data.target)


def outputs(estimator, data):
    """Give all that an estimator gives, by name."""
    g, rho = data.data[:4], data.target[:4]
    if isinstance(estimator, BaseOperator):
        g = np.resize(g, (4, estimator.n_data_))
        found = {f"svd_[{i}]": part for i, part in enumerate(estimator.svd_)}
        return found | {
            "matrix_": estimator.matrix_,
            "column_norms_": estimator.column_norms_,
            "transform": estimator.transform(rho),
            "adjoint": estimator.adjoint(g),
            "inverse_transform": estimator.inverse_transform(g),
            "truncated_svd": estimator.truncated_svd(3).s,
            "linear operator": estimator.aslinearoperator().matmat(rho.T),
            "names": estimator.get_feature_names_out(),
        }
    if hasattr(estimator, "sample"):
        return {
            "transform": estimator.transform(rho),
            "inverse_transform": estimator.inverse_transform(estimator.transform(rho)),
            "sample": estimator.sample(3, random_state=0),
        }
    found = {"predict": estimator.predict(g), "transform": estimator.transform(g)}
    if isinstance(estimator, BayesLinearInverter):
        found["std"] = estimator.predict(g, return_std=True)[1]
    if isinstance(estimator, TikhonovInverter):
        found["curve"] = estimator.alpha_curve(g, alphas=[0.1, 1.0]).misfit
    return found


def learned(estimator):
    """Give the names of what was learned, and of it what is an array or a number."""
    public = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    plain = {
        name: value
        for name, value in public.items()
        if isinstance(value, np.ndarray | int | float | str | tuple)
    }
    return set(public), plain


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("name", CASES)
def test_refit_with_other_parameters_equals_a_fresh_fit(name, after):
    estimator, first, second = CASES[name]
    data, estimator = AFTER[after], clone(estimator)
    fit(estimator.set_params(**parameters(first, BEFORE, estimator)), BEFORE)
    outputs(estimator, BEFORE)  # whatever is kept for another time is there
    second = parameters(second, data, estimator)
    fit(estimator.set_params(**second), data)
    fresh = fit(
        clone(CASES[name][0]).set_params(**parameters(first, BEFORE, estimator) | second), data
    )
    assert_equal(outputs(estimator, data), outputs(fresh, data))
    names, values = learned(estimator)
    expected_names, expected = learned(fresh)
    assert names == expected_names
    assert_equal(values, expected)


def test_every_public_estimator_is_fitted_again():
    names = {c.__name__ for c in public_estimators()} - {"Pipeline"}  # scikit-learn's own
    assert names == {type(estimator).__name__ for estimator, *_ in CASES.values()}


@pytest.mark.parametrize("held", ["matrix", "fft"])
def test_refit_replaces_the_leading_part_of_a_large_svd(held, monkeypatch):
    from skgrav.operators import _base

    monkeypatch.setattr(_base, "SVD_SIZE", 5)
    rho = BEFORE.target
    if held == "matrix":
        operator = MatrixOperator(matrix(0, (30, 36))).fit(rho)
        change = {"matrix": 10 * operator.matrix}
    else:
        operator = ForwardOperator(method="fft", units="normalized").fit(rho)
        change = {"units": "mGal"}
    before = operator.svd_.s
    operator.set_params(**change).fit(rho)
    fresh = clone(operator).fit(rho)
    np.testing.assert_array_equal(operator.svd_.s, fresh.svd_.s)
    assert not np.allclose(operator.svd_.s, before, rtol=1e-3, atol=0)
    g = operator.transform(rho[:2])
    np.testing.assert_array_equal(operator.inverse_transform(g), fresh.inverse_transform(g))


def test_parameters_that_are_set_count_from_the_next_fit_on():
    rho = BEFORE.target
    operator = ForwardOperator(method="fft").fit(rho)
    expected = clone(operator).fit(rho).matrix_
    operator.set_params(units="normalized", precision="float32")
    np.testing.assert_array_equal(operator.matrix_, expected)
    np.testing.assert_allclose(operator.transform(rho), rho @ expected.T)
    again = pickle.loads(pickle.dumps(operator))
    np.testing.assert_array_equal(again.matrix_, expected)
    np.testing.assert_array_equal(again.transform(rho), operator.transform(rho))


def test_failed_refit_leaves_the_operator_as_it_was():
    mesh = Mesh.square(6)
    operator = ForwardOperator(mesh).fit()
    expected = operator.matrix_
    with pytest.raises(ValueError, match="'survey' has 3 coordinates"):
        operator.set_params(survey=Survey([[-1.0, 0.0, 0.0]])).fit()
    assert operator.survey_ == Survey.line(mesh)
    assert operator.matrix_ is expected


def test_names_of_columns_are_forgotten_without_columns():
    frame = pytest.importorskip("pandas").DataFrame(BEFORE.target).add_prefix("cell")
    operator = ForwardOperator(Mesh.square(6)).fit(frame)
    assert hasattr(operator, "feature_names_in_")
    operator.fit()
    assert not hasattr(operator, "feature_names_in_")


def test_operator_whose_parameters_changed_is_not_saved(tmp_path):
    inverter = TikhonovInverter("gcv", operator=ForwardOperator(units="normalized"))
    inverter.fit(BEFORE.data, BEFORE.target)
    inverter.operator_.set_params(kernel="point")
    with pytest.raises(ValueError, match=r"'units', 'precision' or 'tol' of .* Fit it again"):
        inverter.save(tmp_path / "inverter.zip")
