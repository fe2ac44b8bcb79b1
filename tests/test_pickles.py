"""Pickles hold no training data, and skops keeps what has no network without a pickle."""

import pickle

import numpy as np
import pytest
import saved_estimators
import skops.io
from saved_estimators import ESTIMATORS, OPERATOR
from sklearn.base import clone

from skgrav import ForwardOperator, MatrixOperator, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.operators import BaseOperator

# Up to 200 samples leave what was recorded of them.
DATA = make_gravity_dataset(480, mesh=Mesh.square(8), random_state=0)
X, Y = DATA.data, DATA.target

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:'alpha' is"),  # that the data do not determine
    pytest.mark.filterwarnings("ignore:'noise_level' is None"),
]

ALL = ESTIMATORS | {"operator": OPERATOR, "matrix": MatrixOperator()}
WITHOUT_NETWORK = [
    name
    for name, estimator in ALL.items()
    if not any(key.endswith("max_epochs") for key in estimator.get_params())
]


def fit(estimator, n_samples):
    estimator = clone(estimator)
    if isinstance(estimator, BaseOperator):
        return estimator.fit(Y[:n_samples], X[:n_samples])
    return saved_estimators.fit(estimator, X[:n_samples], Y[:n_samples])


def predict(estimator):
    if isinstance(estimator, BaseOperator):
        return estimator.transform(Y[:5])
    return saved_estimators.predict(estimator)


def summaries(estimator):
    """Bytes of what is kept of each section: its code in a VAE, its errors for intervals."""
    parts = [estimator, getattr(estimator, "generator_", None)]
    kept = [getattr(part, name, None) for part in parts for name in ("codes_", "scores_")]
    return sum(array.nbytes for array in kept if array is not None)


# Those that take analogues from it need their library.
@pytest.mark.parametrize("name", [name for name in ALL if "analogue" not in name])
def test_pickle_holds_no_training_data(name):
    sizes = []
    for n_samples in (240, 480):
        estimator = fit(ALL[name], n_samples)
        pickled = pickle.dumps(estimator)
        sizes.append(len(pickled) - summaries(estimator))
        np.testing.assert_array_equal(predict(pickle.loads(pickled)), predict(estimator))
    # One row of X has 384 bytes; an integer more or less has a few, and a history of
    # residuals is as long as the slowest of 200 samples took.
    history = 200 * 8 * 8 if "refiner" in name or "pipeline" in name else 0
    assert abs(sizes[1] - sizes[0]) < 300 + history
    rows = [*X, *Y, *X.astype(np.float32), *Y.astype(np.float32)]
    # The matrix of a geometry is made again.
    rows += [] if "matrix" in name else [*OPERATOR.matrix_]
    assert not any(row.tobytes() in pickled for row in rows)


@pytest.mark.parametrize("name", WITHOUT_NETWORK)
def test_skops_keeps_what_has_no_network(name, tmp_path):
    estimator = fit(ALL[name], 240)
    skops.io.dump(estimator, tmp_path / "estimator.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "estimator.skops")
    assert types
    assert all(found.startswith("skgrav.") for found in types)
    with pytest.raises(TypeError, match="Untrusted types found"):
        skops.io.load(tmp_path / "estimator.skops")
    loaded = skops.io.load(tmp_path / "estimator.skops", trusted=types)
    np.testing.assert_array_equal(predict(loaded), predict(estimator))
    assert fit(loaded, 240) is not loaded


def test_skops_needs_few_names_for_an_operator():
    content = skops.io.dumps(ForwardOperator(Mesh.square(8)).fit())
    assert skops.io.get_untrusted_types(data=content) == [
        "skgrav.geometry._mesh.Mesh",
        "skgrav.geometry._survey.Survey",
        "skgrav.operators._forward.ForwardOperator",
        "skgrav.operators._plan.OperatorPlan",
    ]
