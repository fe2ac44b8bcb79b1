"""Scikit-learn's own checks over every public estimator."""

import inspect
from functools import partial

import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

import skgrav
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
    Refiner,
    ReliefInverter,
    SparseInverter,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.networks import PaperCNN
from skgrav.solvers import SOLVERS, GradientDescent, Solver

SMALL_NETWORK = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,), dropout=0.0)

INSTANCES = [
    ForwardOperator(),
    CellValues(),
    CellValues(cells=[0, 0], uncertainty=20.0),
    JointOperator(),
    JointOperator([CellValues(uncertainty=1.0), CellValues(cells=[0], uncertainty=2.0)]),
    MatrixOperator(),
    AnalogueInverter(2),
    BayesLinearInverter(),
    ConformalInverter(BayesLinearInverter(), random_state=0),
    ConformalInverter(Ridge(), random_state=0),
    TikhonovInverter("gcv"),
    TikhonovInverter(),
    TikhonovInverter(noise_level=0.01),
    TikhonovInverter("lcurve", bounds=(-100.0, 100.0), depth_weighting="sensitivity"),
    SparseInverter(),
    SparseInverter(noise_level=0.01),
    SparseInverter(1.0, bounds=(-100.0, 100.0)),
    ReliefInverter(),
    CNNInverter(SMALL_NETWORK, max_epochs=40, batch_size=16, learning_rate=3e-3, random_state=0),
    CNNInverter(max_epochs=5, batch_size=16, random_state=0),
    VAEGenerator(max_epochs=2, random_state=0),
    GANGenerator(max_epochs=2, random_state=0),
    LatentInverter(PCA()),
    LatentInverter(VAEGenerator(max_epochs=2, random_state=0)),
    Refiner(init=Ridge()),
    Refiner("bayes", init=Ridge()),
    Refiner(GradientDescent(step_size="auto"), init="zero"),  # the paper's step scarcely moves
    *(Refiner(solver, init="zero") for solver in SOLVERS if solver != "gd"),
]


def public_estimators():
    rooms = [getattr(skgrav, name) for name in skgrav.__all__]
    modules = [room for room in rooms if inspect.ismodule(room)]
    members = [getattr(m, name) for m in modules for name in m.__all__]
    return {
        c
        for c in members
        if inspect.isclass(c) and issubclass(c, BaseEstimator) and hasattr(c, "fit")
        if not inspect.isabstract(c)
    }


def test_every_public_estimator_is_checked():
    names = {c.__name__ for c in public_estimators()} - {"Pipeline"}  # scikit-learn's own
    assert names == {type(i).__name__ for i in INSTANCES}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(INSTANCES)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_solvers_are_parameter_sets_without_fit():
    assert all(issubclass(s, Solver) and not hasattr(s, "fit") for s in SOLVERS.values())
