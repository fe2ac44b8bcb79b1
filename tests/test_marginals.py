"""Mixtures of two Gaussians of each cell: moments, distribution function and quantiles."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from skgrav.inverters._marginals import Marginals

P = np.array([1e-6, 0.005, 0.05, 0.3, 0.5, 0.7, 0.95, 0.995, 1 - 1e-6])


def of_cells(*cells):
    """Give marginals of one sample, from weight, means and standard deviations of each cell."""
    return Marginals(*np.array(cells, dtype=float).T[:, None])


def random_cells(n=100, seed=0):
    rng = np.random.default_rng(seed)
    spread = 10.0 ** rng.uniform(-4, 1, (n, 2))
    return np.column_stack([rng.beta(0.3, 0.3, n), rng.normal(0, 3, (n, 2)), spread])


def expected(cell, p):
    w, a, b, s, t = cell
    cdf = lambda x: w * norm.cdf(x, a, s) + (1 - w) * norm.cdf(x, b, t) - p  # noqa: E731
    ends = [m + k * norm.ppf(p) + e for m, k in ((a, s), (b, t)) for e in (-1e-6 * k, 1e-6 * k)]
    return brentq(cdf, min(ends), max(ends), xtol=1e-14)


CASES = {
    "random": random_cells(),
    "equal components": [(0.3, 1.0, 1.0, 2.0, 2.0), (0.5, -5e3, -5e3, 1e-3, 1e-3)],
    "one component": [(0.0, 50.0, 1.0, 1e-3, 2.0), (1.0, 2.0, -50.0, 0.5, 30.0)],
    "extreme weights": [(1e-9, 9.0, 0.0, 1.0, 1.0), (1 - 1e-9, 9.0, 0.0, 0.1, 1.0)],
    "spike in a plateau": [(0.1, 0.0, 0.0, 1e-5, 1.0), (0.9, 0.3, 0.0, 1e-5, 1.0)],
    "distant components": [(0.51, 0.0, 12.0, 1e-3, 1e-3), (0.01, 0.0, 12.0, 1e-2, 0.5)],
}


@pytest.mark.parametrize("cells", CASES.values(), ids=CASES)
def test_quantiles_are_roots_of_the_distribution(cells):
    marginals = of_cells(*cells)
    found = marginals.quantiles(P)
    assert found.shape == (1, len(cells), len(P))
    roots = np.array([[expected(cell, p) for p in P] for cell in cells])
    error = np.abs(found[0] - roots) / marginals.std.T
    assert error.max() < 1e-3
    assert (np.diff(found) >= 0).all()


def test_a_weight_that_is_the_probability_gives_a_density_between_the_components():
    # The distribution is flat there, to the last digit.
    found = of_cells((0.5, 0.0, 12.0, 1e-3, 1e-3)).quantiles(np.array([0.1, 0.5, 0.9]))[0, 0]
    assert found[0] == pytest.approx(norm.ppf(0.2, 0, 1e-3), abs=1e-3)
    assert 0 < found[1] < 12 < found[2] + 0.01


@pytest.mark.parametrize("std", [0.0, 1e-300, 1e-12])
def test_certain_cells_have_their_density_as_all_quantiles(std):
    marginals = of_cells((0.4, 7.0, 7.0, std, std), (0.25, 0.0, 3.0, std, std))
    found = marginals.quantiles(np.array([0.1, 0.5, 0.9]))[0]
    np.testing.assert_allclose(found, [[7, 7, 7], [0, 3, 3]], atol=1e-8)
    assert np.isfinite(marginals.cdf(np.array([[7.0, 1.0]]))).all()


def test_quantiles_of_many_samples_are_those_of_each():
    cells = random_cells(240).T.reshape(5, 4, 60)
    found = Marginals(*cells).quantiles(P)
    assert found.shape == (4, 60, len(P))
    each = [Marginals(*cells[:, i : i + 1]).quantiles(P)[0] for i in range(4)]
    np.testing.assert_array_equal(found, each)


@pytest.mark.parametrize("cell", [(0.3, -1.0, 2.0, 0.5, 1.5), (0.8, 4.0, 4.5, 1.0, 0.2)])
def test_moments_and_distribution_are_those_of_the_mixture(cell):
    w, a, b, s, t = cell
    pdf = lambda x: w * norm.pdf(x, a, s) + (1 - w) * norm.pdf(x, b, t)  # noqa: E731
    marginals = of_cells(cell)
    mean = quad(lambda x: x * pdf(x), -12, 14)[0]
    assert marginals.mean[0, 0] == pytest.approx(mean)
    variance = quad(lambda x: (x - mean) ** 2 * pdf(x), -12, 14)[0]
    assert marginals.std[0, 0] == pytest.approx(np.sqrt(variance))
    assert marginals.cdf(1.7)[0, 0] == pytest.approx(quad(pdf, -12, 1.7)[0])
