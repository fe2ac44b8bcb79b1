"""Problems and helpers that the tests of solvers share."""

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.solvers import SOLVERS

ENGINES = pytest.mark.parametrize("engine", ["svd", "operator"])
NAMES = pytest.mark.parametrize("name", SOLVERS)
ENGINE_PAIR = ("svd", "operator")
OURS_SCIPY = ("auto", "scipy")


def random_problem(n_data, n_cells, n_samples=5, seed=0):
    """Give a random matrix, densities, and starts 30 % off."""
    rng = np.random.default_rng(seed)
    rho, other = rng.normal(size=(2, n_samples, n_cells))
    return rng.normal(size=(n_data, n_cells)), rho, rho + 0.3 * other


def solver_of(name, engine="svd", **params):
    """Give a solver by name; gradient descent with a step that gets somewhere."""
    if name == "gd":
        params = {"step_size": "auto", "max_iter": 5000} | params
    if name == "projection":
        engine = "svd"
    return SOLVERS[name](engine=engine, **params)


def norms(values):
    """Give the norm of each row."""
    return np.linalg.norm(values, axis=-1)


def relative(values, reference):
    """Give the largest relative difference of rows."""
    return np.max(norms(values - reference) / norms(reference))


def mean_error(rho, reference):
    return np.mean(norms(rho - reference) / norms(reference))


def operator_of(n):
    mesh = Mesh.square(n)
    return ForwardOperator(mesh, Survey.line(mesh), kernel="point", units="normalized").fit()


def with_noise(g, level, seed=0):
    """Give noisy data and their noise, `level` times the rms of each sample."""
    sigma = level * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + sigma * np.random.default_rng(seed).normal(size=g.shape), sigma


WIDE, WIDE_RHO, WIDE_START = random_problem(30, 50)
WIDE_G = WIDE_RHO @ WIDE.T
TALL, _, TALL_START = random_problem(50, 30)
TALL_G = np.random.default_rng(1).normal(size=(5, 50))  # no density explains these


def matrix_of(operator):
    return operator if isinstance(operator, np.ndarray) else operator.matrix_
