"""Stations count as a lattice up to rounding; what keeps them from it is said."""

import re

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey

H = 47.123
ORIGIN = np.array([0.0, 7.2e6, 5e5])


def utm(spacing=H, jitter=0.0, decimals=None, single=False):
    """Give a mesh at UTM coordinates with stations above its columns, less or more exact."""
    edges = [o + spacing * np.arange(n + 1) for o, n in zip(ORIGIN, (3, 20, 30), strict=True)]
    mesh = Mesh([e.astype(np.float32) if single else e for e in edges])
    y, x = ((e[1:] + e[:-1]) / 2 for e in edges[1:])
    yx = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    yx = yx + jitter * np.random.default_rng(0).uniform(-1, 1, yx.shape)
    if decimals is not None:
        yx = np.round(yx, decimals)
    return mesh, Survey(np.column_stack([np.full(len(yx), -10.0), yx]), "z")


@pytest.mark.parametrize("spacing", [0.8, 1.0, H])
def test_rounding_of_large_coordinates_leaves_a_lattice(spacing):
    mesh, survey = utm(spacing)
    operator = ForwardOperator(mesh, survey, method="fft").fit()
    assert len(operator.products_.blocks) == 1


def test_offsets_that_are_tolerated_do_not_change_gravity():
    mesh, survey = utm(jitter=4e-9 * H)
    rho = np.random.default_rng(0).normal(size=(2, mesh.n_cells))
    fft, dense = (
        ForwardOperator(mesh, survey, method=method).fit().transform(rho)
        for method in ("fft", "rows")
    )
    np.testing.assert_allclose(fft, dense, atol=1e-8 * np.abs(dense).max())


OBSTACLES = {
    "uneven columns": (
        (Mesh([[0, 1], [0, 1, 3, 4]]), Survey([[-1.0, 0.0], [-1.0, 1.0]])),
        "the columns along x are 1 to 2 m wide",
    ),
    "rounded stations": (
        utm(decimals=0),
        r"the stations are up to 0\.\d+ m off whole columns of 47\.123 m along y",
    ),
    "single precision": (
        utm(single=True),
        r"the edges along y are up to 0\.\d+ m off even spacing",
    ),
    "a height for each": (
        (
            utm()[0],
            Survey(utm()[1].stations - np.arange(600)[:, None] * np.array([1.0, 0, 0]), "z"),
        ),
        "the 600 stations have 600 heights",
    ),
    "far apart": (
        (Mesh.regular((3, 4, 4), 1.0), Survey([[-1, 0.5, 0.5 - 90], [-1, 0.5, 0.5]], "z")),
        "the stations are few and far apart",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_plan_and_error_say_why_there_is_no_fft(name):
    (mesh, survey), text = OBSTACLES[name]
    with pytest.raises(ValueError, match=rf"method='fft' needs .* but {text}; 'mesh' is"):
        ForwardOperator(mesh, survey, method="fft").plan()
    assert re.search(f"; no FFT, since {text}$", ForwardOperator(mesh, survey).plan().reason)
