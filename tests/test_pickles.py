"""Pickles hold no training data, and skops keeps what has no network without a pickle."""

import pickle

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.decomposition import PCA

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    GANGenerator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    SparseInverter,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.generators import DensityGenerator
from skgrav.operators._base import BaseOperator
from skgrav.pipeline import Pipeline

# Up to 200 samples leave what was recorded of them.
DATA = make_gravity_dataset(480, mesh=Mesh.square(8), random_state=0)
X, Y, OPERATOR = DATA.data, DATA.target, DATA.operator
CLEAN = {"operator": OPERATOR, "noise_level": 0.0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WITHOUT_NETWORK = {
    "operator": OPERATOR,
    "matrix": MatrixOperator(),
    "bayes": BayesLinearInverter(operator=OPERATOR),
    "tikhonov": TikhonovInverter(noise_level=0.01, operator=OPERATOR),
    "sparse": SparseInverter(noise_level=0.05, operator=OPERATOR),
    "refiner": Refiner("cgls", init="zero", **CLEAN),
    "refiner, bayes": Refiner("bayes", init=BayesLinearInverter(operator=OPERATOR), **CLEAN),
    "latent, pca": LatentInverter(PCA(8), **CLEAN),
    "pipeline": Pipeline([BayesLinearInverter(operator=OPERATOR), Refiner("lgmres", **CLEAN)]),
}
NETWORKS = {
    "residual": CNNInverter(operator=OPERATOR, max_epochs=1, random_state=0),
    "residual, null space": CNNInverter(
        operator=OPERATOR, max_epochs=1, data_consistency=True, augment="mirror", random_state=0
    ),
    "paper": CNNInverter(
        "paper", operator=OPERATOR, max_epochs=1, early_stopping=True, random_state=0
    ),
    "vae": VAEGenerator(6, max_epochs=1, early_stopping=True, random_state=0),
    "gan": GANGenerator(6, max_epochs=1, random_state=0),
    "latent, vae": LatentInverter(VAEGenerator(6, max_epochs=1, random_state=0), **CLEAN),
    "refiner, network": Refiner(
        "cgls", init=CNNInverter(operator=OPERATOR, max_epochs=1, random_state=0), **CLEAN
    ),
}


def fit(estimator, n_samples):
    g, rho = X[:n_samples], Y[:n_samples]
    if isinstance(estimator, DensityGenerator):
        return estimator.fit(rho)
    if isinstance(estimator, BaseOperator):
        return estimator.fit(rho, g)
    return estimator.fit(g, rho)


def predict(estimator):
    if isinstance(estimator, DensityGenerator):
        return estimator.inverse_transform(estimator.transform(Y[:5]))
    if isinstance(estimator, BaseOperator):
        return estimator.transform(Y[:5])
    return estimator.predict(X[:5])


@pytest.mark.parametrize("name", [*WITHOUT_NETWORK, *NETWORKS])
def test_pickle_holds_no_training_data(name):
    sizes = []
    for n_samples in (240, 480):
        estimator = fit(clone((WITHOUT_NETWORK | NETWORKS)[name]), n_samples)
        pickled = pickle.dumps(estimator)
        sizes.append(len(pickled))
        np.testing.assert_array_equal(predict(pickle.loads(pickled)), predict(estimator))
    # One row of X has 384 bytes; an integer more or less has a few, and a history of
    # residuals is as long as the slowest of 200 samples took.
    history = 200 * 8 * 8 if "refiner" in name or name == "pipeline" else 0
    assert abs(sizes[1] - sizes[0]) < 300 + history


@pytest.mark.parametrize("name", WITHOUT_NETWORK)
def test_skops_keeps_what_has_no_network(name, tmp_path):
    estimator = fit(clone(WITHOUT_NETWORK[name]), 240)
    skops.io.dump(estimator, tmp_path / "estimator.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "estimator.skops")
    assert types
    assert all(found.startswith("skgrav.") for found in types)
    with pytest.raises(TypeError, match="Untrusted types found"):
        skops.io.load(tmp_path / "estimator.skops")
    loaded = skops.io.load(tmp_path / "estimator.skops", trusted=types)
    np.testing.assert_array_equal(predict(loaded), predict(estimator))
    assert fit(clone(loaded), 240) is not loaded


def test_skops_needs_few_names_for_an_operator():
    content = skops.io.dumps(ForwardOperator(Mesh.square(8)).fit())
    assert skops.io.get_untrusted_types(data=content) == [
        "skgrav.geometry._mesh.Mesh",
        "skgrav.geometry._survey.Survey",
        "skgrav.operators._forward.ForwardOperator",
        "skgrav.operators._plan.OperatorPlan",
    ]
