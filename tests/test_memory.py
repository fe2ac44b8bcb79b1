"""Plans say what an inversion takes, and what does not fit is refused before it is begun."""

import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone

from skgrav import ForwardOperator, MatrixOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.operators import OperatorPlan, _memory
from skgrav.solvers import CGLS

WIDE = Mesh([np.linspace(0, 1000, 41), np.linspace(-2000, 2000, 101)])
# No two of these stations differ by whole columns.
STATIONS = np.column_stack([np.full(200, -5.0), np.linspace(-1900, 1900, 200)])
SURVEY = Survey(STATIONS, "z", uncertainty=0.02)
VOLUME = Mesh.regular((20, 70, 65), 50.0)


def inverted_by(invert):
    """Give what an inversion by `invert` takes at its peak, and the plan."""

    def peak(operator):
        fitted = clone(operator).fit()
        rho = np.zeros((1, fitted.n_cells_))
        rho[:, fitted.n_cells_ // 3 : fitted.n_cells_ // 2] = 300.0
        g = fitted.transform(rho)
        g += 0.02 * np.random.default_rng(0).normal(size=g.shape)
        plan = fitted.plan_
        del fitted, rho
        tracemalloc.start()
        try:
            invert(operator, g)
            return tracemalloc.get_traced_memory()[1], plan.inversion_bytes
        finally:
            tracemalloc.stop()

    return peak


def by_tikhonov(*args, **params):
    return lambda operator, g: (
        TikhonovInverter(*args, operator=operator, **params).fit(g).predict(g)
    )


DECOMPOSED = {
    "tikhonov": by_tikhonov(),
    "gcv": by_tikhonov("gcv"),
    "derivatives": by_tikhonov(order=1, depth_weighting="sensitivity"),
    "bounds": by_tikhonov("gcv", bounds=(-1e4, 1e4)),
    "sparse": lambda operator, g: SparseInverter(norms=1, operator=operator).fit(g).predict(g),
    "solver": lambda operator, g: CGLS().solve(operator.fit(), g, sigma=0.02),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", DECOMPOSED)
def test_plan_says_what_an_inversion_takes_with_its_decomposition(name):
    operator = ForwardOperator(WIDE, SURVEY, method="dense")
    taken, said = inverted_by(DECOMPOSED[name])(operator)
    assert said / 1.5 < taken < 1.5 * said


def test_plan_of_ffts_counts_the_matrix_that_is_built_to_be_decomposed():
    mesh = Mesh.regular((10, 20, 20), 50.0)
    survey = Survey(Survey.grid(mesh, height=25.0).stations, "z", uncertainty=0.02)
    operator = ForwardOperator(mesh, survey, method="fft")
    taken, said = inverted_by(by_tikhonov("gcv"))(operator)
    assert said / 1.5 < taken < 1.5 * said


@pytest.mark.parametrize("order", [0, 1])
def test_plan_says_what_an_inversion_takes_by_products_alone(order):
    survey = Survey(Survey.grid(VOLUME, height=25.0).stations, "z", uncertainty=0.02)
    operator = ForwardOperator(VOLUME, survey)
    assert operator.plan().method == "fft"
    assert operator.plan().inversion_bytes < 0.01 * 8 * survey.n_data * VOLUME.n_cells
    taken, said = inverted_by(by_tikhonov(order=order))(operator)
    # Zeros that no iteration has reached take no memory, but tracemalloc counts them.
    taken -= 8 * min(2000, survey.n_data) * survey.n_data
    assert said / 2 < taken < 1.5 * said


def test_plan_is_printed_with_what_an_inversion_takes():
    plan = OperatorPlan("dense", 500_000_000, 2_100_000_000, "a matrix")
    assert str(plan) == "dense, 0.5 GB, in an inversion up to 2.1 GB: a matrix"


def test_decomposition_that_does_not_fit_is_refused_before_it_is_begun(monkeypatch):
    operator = ForwardOperator(WIDE, SURVEY, method="dense").fit()
    given = MatrixOperator(operator.matrix_).fit(np.ones((1, WIDE.n_cells)))
    monkeypatch.setattr(_memory, "available_bytes", lambda: 1e7)
    text = r"the decomposition of 200 data x 4000 cells needs 22.6 MB, but 10.0 MB are free. Take a"
    for action in (
        lambda: given.svd_,
        lambda: TikhonovInverter(operator=operator).fit(np.ones((1, 200))),
    ):
        with pytest.raises(MemoryError, match=text):
            action()


def test_memory_error_says_what_an_inversion_would_take():
    text = r"method='dense' needs 6.4 MB .* are free or allowed; an inversion takes up to 29.0 MB"
    with pytest.raises(MemoryError, match=text):
        ForwardOperator(WIDE, SURVEY, method="dense", memory_limit=1e6).fit()
