"""The lines that a user writes, as they stand in the plan and the README, at the paper's size."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgrav import CNNInverter, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning
from skgrav.pipeline import Pipeline
from skgrav.solvers import LGMRES

data = make_gravity_dataset(n_samples=12, random_state=0)
X, y = data.data, data.target
X_new = make_gravity_dataset(n_samples=3, random_state=1).data
op = data.operator

UNKNOWN_NOISE = pytest.mark.filterwarnings("ignore:'noise_level' is None:UserWarning")


@UNKNOWN_NOISE
def test_pipeline_of_bare_steps():
    rho = Pipeline([CNNInverter(), Refiner("lgmres")]).fit(X, y).predict(X_new)
    assert rho.shape == (3, 2500)
    assert relative_data_misfit(op, rho, X_new) < 1e-3


@pytest.mark.slow
@UNKNOWN_NOISE
@pytest.mark.filterwarnings("ignore:.* did not converge within")
def test_grid_search_in_processes():
    search = GridSearchCV(
        Pipeline([CNNInverter(), Refiner("lgmres")]),
        {
            "refiner__solver": ["gd", "gmres", "lgmres", "icg"],
            "cnninverter__learning_rate": [1e-3, 3e-4],
        },
        scoring=relative_l2_scorer,
        cv=2,
        n_jobs=2,
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 8
    assert search.predict(X_new).shape == (3, 2500)


@UNKNOWN_NOISE
def test_scikit_learns_own_pipeline():
    pipeline = make_pipeline(
        CNNInverter(), Refiner(LGMRES(inner_m=30, outer_k=50), operator=data.operator)
    )
    rho = pipeline.fit(X, y).predict(X_new)
    assert relative_data_misfit(op, rho, X_new) < 1e-3


@UNKNOWN_NOISE
def test_meta_estimator():
    refiner = Refiner("gmres", init=CNNInverter(), operator=op).fit(X, y)
    np.testing.assert_array_equal(refiner.init_.operator_.matrix_, op.matrix_)
    assert relative_data_misfit(op, refiner.predict(X_new), X_new) < 1e-3


def test_noisy_training_pairs_of_the_papers_sizes_need_no_operator():
    noisy = make_gravity_dataset(n_samples=12, noise_level=0.01, random_state=0)
    inverter = CNNInverter(max_epochs=2).fit(noisy.data, noisy.target)
    np.testing.assert_array_equal(inverter.operator_.matrix_, op.matrix_)


# Standardised densities are not the paper's any more.
@pytest.mark.filterwarnings("always::skgrav.operators.PhysicsWarning")
def test_transformed_target_clone_pickle_and_loky():
    regressor = TransformedTargetRegressor(CNNInverter(), transformer=StandardScaler())
    with pytest.warns(PhysicsWarning, match="identified from 10 of them"):
        fitted = clone(regressor).fit(X, y)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(X_new), fitted.predict(X_new))
    assert relative_l2_error(y, fitted.predict(X)) < 0.3
    crossed = cross_val_predict(regressor, X, y, cv=2, n_jobs=2)
    assert crossed.shape == y.shape
