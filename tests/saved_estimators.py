"""Small estimators of every kind, for all contracts, and how tests write and read their files."""

import json
from functools import cache

import numpy as np
import safetensors.numpy
from sklearn import pipeline as sklearn_pipeline
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CNNInverter,
    ConformalInverter,
    ForwardOperator,
    GANGenerator,
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
from skgrav.generators import DensityGenerator
from skgrav.pipeline import Pipeline
from skgrav.solvers import LGMRES, Projection

DATA = make_gravity_dataset(50, mesh=Mesh.square(8), random_state=0)
X, Y, OPERATOR = DATA.data, DATA.target, DATA.operator
UNCERTAIN = ForwardOperator(
    Mesh.square(8),
    Survey(OPERATOR.survey_.stations, uncertainty=np.linspace(0.01, 0.02, 48)),
    units="normalized",
)
CLEAN = {"operator": OPERATOR, "noise_level": 0.0}


def cnn(architecture="residual", **parameters):
    settings = {"operator": OPERATOR, "max_epochs": 1, "n_analogues": 20, "random_state": 0}
    return CNNInverter(architecture, **settings | parameters)


def vae(**parameters):
    return VAEGenerator(**{"n_components": 6, "max_epochs": 1, "random_state": 0} | parameters)


def gan(**parameters):
    return GANGenerator(**{"n_components": 6, "max_epochs": 1, "random_state": 0} | parameters)


ESTIMATORS = {
    "residual": cnn(),
    "residual, mirror": cnn(augment="mirror"),
    "residual, null space": cnn(data_consistency=True),
    "residual, matrix": cnn(operator=MatrixOperator(OPERATOR.matrix_)),
    "residual, uncertainty": cnn(operator=UNCERTAIN),
    "residual, parameters": cnn(training_noise=(0.0, 0.02), n_components=7),
    "unet": cnn("unet"),
    "unet, mirror": cnn("unet", augment="mirror", operator=UNCERTAIN),
    "paper": cnn("paper"),
    "paper, mirror": cnn("paper", augment="mirror", training_noise=0.01, early_stopping=True),
    "paper, no operator": cnn("paper", operator=None),
    "vae": vae(),
    "vae, mesh": vae(mesh=Mesh.regular((4, 16), 1.0), density_range=(0.0, 20.0)),
    "vae, paper": vae(architecture="paper"),
    "gan": gan(),
    "gan, paper": gan(architecture="paper", early_stopping=True),
    "analogue": AnalogueInverter(8, noise_level=0.01, operator=OPERATOR),
    "analogue, mirror": AnalogueInverter(
        8, augment="mirror", precision="float16", operator=UNCERTAIN, random_state=0
    ),
    "bayes": BayesLinearInverter(0.01, operator=OPERATOR, store_covariance=True),
    "bayes, uncertainty": BayesLinearInverter(operator=UNCERTAIN),
    "conformal": ConformalInverter(
        BayesLinearInverter(0.01, operator=OPERATOR), noise_level=0.02, random_state=0
    ),
    "tikhonov": TikhonovInverter(
        noise_level=0.01, order=1, operator=OPERATOR, reference=Y.mean(axis=0)
    ),
    "tikhonov, bounds": TikhonovInverter(bounds=(0.0, 12.0), operator=UNCERTAIN),
    "tikhonov, cells": TikhonovInverter(
        order=2, depth_weighting="distance", norm_weights=(1, 2, 0.5), operator=UNCERTAIN
    ),
    "tikhonov, gcv": TikhonovInverter("gcv", operator=OPERATOR),
    "tikhonov, lcurve": TikhonovInverter("lcurve", order=1, noise_level=0.01, operator=OPERATOR),
    "sparse": SparseInverter(noise_level=0.01, operator=OPERATOR),
    "sparse, bounds": SparseInverter(
        1.0, bounds=(0.0, 12.0), depth_weighting=1.0, noise_level=0.01, operator=OPERATOR, tol=1e-7
    ),
    "relief": ReliefInverter(200.0, noise_level=0.1, operator=OPERATOR),
    "relief, told": ReliefInverter(
        np.linspace(20.0, 25.0, 8),
        alpha=1.0,
        decay="exponential",
        decay_length=10.0,
        bounds=(0.0, np.linspace(3.0, 6.0, 8)),
        wells=[[2.0, 0.1]],
        operator=UNCERTAIN,
    ),
    "latent, pca": LatentInverter(PCA(8), **CLEAN),
    "latent, svd": LatentInverter(TruncatedSVD(8, random_state=0), **CLEAN),
    "latent, scaled pca": LatentInverter(
        sklearn_pipeline.make_pipeline(StandardScaler(), PCA(8)), **CLEAN
    ),
    "latent, vae": LatentInverter(vae(), **CLEAN),
    "latent, gan": LatentInverter(
        gan(), init=BayesLinearInverter(operator=OPERATOR), random_state=0, **CLEAN
    ),
    "latent, starts": LatentInverter(vae(), projection=True, n_starts=2, random_state=0, **CLEAN),
    "refiner, zero": Refiner("cgls", init="zero", **CLEAN),
    "refiner, bayes after bayes": Refiner(
        "bayes", init=BayesLinearInverter(operator=OPERATOR), random_state=0, **CLEAN
    ),
    "refiner": Refiner(LGMRES(inner_m=10), init=cnn(), **CLEAN),
    "refiner, bounds": Refiner(Projection(bounds=(0.0, 12.0)), init=cnn("paper"), **CLEAN),
    "refiner, norm": Refiner(TikhonovInverter(order=1), init="zero", **CLEAN),
    "refiner, bayes": Refiner(
        "bayes",
        init=cnn(),
        cv=KFold(2, shuffle=True, random_state=0),
        random_state=0,
        **CLEAN,
    ),
    "pipeline, linear": Pipeline(
        [BayesLinearInverter(operator=OPERATOR), Refiner("lgmres", **CLEAN)]
    ),
    "pipeline": Pipeline([cnn(), Refiner("lgmres", **CLEAN)]),
    "pipeline, matrix": Pipeline(
        [cnn(operator=MatrixOperator(OPERATOR.matrix_)), "passthrough", Refiner("cgls", **CLEAN)]
    ),
}
#: From gravity to density: all but the generators.
INVERTERS = [name for name, e in ESTIMATORS.items() if not isinstance(e, DensityGenerator)]


def fit(estimator, x=X, y=Y):
    return estimator.fit(y) if isinstance(estimator, DensityGenerator) else estimator.fit(x, y)


@cache
def fitted(name):
    """Give a fitted estimator of `ESTIMATORS`, one for all tests, which must not change it."""
    return fit(clone(ESTIMATORS[name]))


def predict(estimator):
    """Give densities of a fitted estimator, for five sections or their data."""
    if isinstance(estimator, DensityGenerator):
        return estimator.inverse_transform(estimator.transform(Y[:5]))
    return estimator.predict(X[:5])


def again(estimator, folder, **options):
    """Give an estimator that was saved in a folder and loaded."""
    estimator.save(folder / "estimator", **options)
    return type(estimator).load(folder / "estimator")


def read(path):
    """Give the header and the arrays of a file."""
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["skgrav"])
    return header, safetensors.numpy.load_file(path)


def write(path, header, tensors):
    text = header if isinstance(header, str) else json.dumps(header)
    safetensors.numpy.save_file(tensors, path, metadata={"skgrav": text})
