"""Dask arrays of samples: mapped block by block, and nothing gathered."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skgrav import (
    BayesLinearInverter,
    ForwardOperator,
    MatrixOperator,
    Mesh,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.operators import _shared, _ways

dask = pytest.importorskip("dask", reason="needs dask, skgrav[dask]")
da = pytest.importorskip("dask.array", reason="needs dask, skgrav[dask]")

data = make_gravity_dataset(n_samples=40, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
X, y, op = data.data, data.target, data.operator


def rows(array, chunks=((7, 20, 0, 13),)):
    """Give a dask array of uneven blocks, one of them empty, whose columns are in two chunks."""
    return da.from_array(array, chunks=(*chunks, array.shape[1] // 2))


@pytest.mark.parametrize("operator", [op, MatrixOperator(op.matrix_).fit(y)])
def test_operators_map_blocks_as_they_map_arrays(operator):
    g = operator.transform(rows(y))
    assert isinstance(g, da.Array)
    assert (g.shape, g.chunks[0], g.dtype) == ((40, 48), (7, 20, 0, 13), np.float64)
    np.testing.assert_allclose(g, operator.transform(y), rtol=1e-12, atol=1e-12)
    rho = operator.inverse_transform(rows(X), rcond=0.1)
    np.testing.assert_allclose(rho, operator.inverse_transform(X, rcond=0.1), atol=1e-10)


def test_density_of_one_cell_stays_a_vector():
    inverter = BayesLinearInverter(operator=MatrixOperator(op.matrix_[:, :1]), noise_level=0.01)
    g = y[:, :1] @ op.matrix_[:, :1].T
    rho = inverter.fit(g, y[:, 0]).predict(rows(g))
    assert rho.shape == (40,)
    np.testing.assert_allclose(rho, inverter.predict(g))


def test_options_of_each_sample_go_with_their_blocks_and_uncertainty_comes_beside():
    inverter = BayesLinearInverter(operator=op, noise_level=0.01).fit(X, y)
    level = np.geomspace(0.02, 0.1, 40)
    lazy = inverter.predict(rows(X), return_std=True, noise_level=level)
    for found, expected in zip(
        lazy, inverter.predict(X, return_std=True, noise_level=level), strict=True
    ):
        assert isinstance(found, da.Array)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_p_values_of_blocks_are_those_of_arrays():
    sections = make_gravity_dataset(2100, mesh=Mesh.square(8), random_state=0)
    inverter = BayesLinearInverter(operator=sections.operator, noise_level=0.01)
    inverter.fit(sections.data, sections.target)
    level = np.geomspace(0.02, 0.1, 40)
    lazy = inverter.applicability(rows(X), noise_level=level)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == (40,)
    np.testing.assert_allclose(lazy, inverter.applicability(X, noise_level=level), rtol=1e-9)
    with pytest.raises(ValueError, match="applicability of this BayesLinearInverter takes 48"):
        inverter.applicability(rows(y))


def test_unknown_numbers_of_samples_are_no_obstacle():
    some = rows(y)[rows(y)[:, 0] > 4]
    assert np.isnan(some.shape[0])
    np.testing.assert_allclose(op.transform(some), op.transform(y[y[:, 0] > 4]))


def test_nothing_is_computed_before_it_is_asked_for_or_held_together():
    seen = []

    def block(block_info=None):
        seen.append(block_info[None]["chunk-location"][0])
        return np.ones(block_info[None]["chunk-shape"])

    # A hundred gigabytes of densities, of which two blocks are computed.
    rho = da.map_blocks(block, chunks=((100_000,) * 2000, (64,)), dtype=float)
    g = op.transform(rho)
    rho_again = BayesLinearInverter(operator=op, noise_level=0.01).fit(X, y).predict(g)
    assert seen == []
    assert rho_again.shape == rho.shape
    mean = rho_again.blocks[[5, 7]].mean(axis=0).compute(scheduler="sync")
    assert sorted(seen) == [5, 7]
    assert mean.shape == (64,)


def test_threads_build_one_matrix(monkeypatch):
    built = []
    sensitivity = _ways.sensitivity
    monkeypatch.setattr(_shared, "_results", {})
    monkeypatch.setattr(_ways, "sensitivity", lambda *a: built.append(a) or sensitivity(*a))
    operator = ForwardOperator(Mesh.square(30)).fit()
    operator._held = None  # as it comes to a worker
    _shared._results.clear()
    built.clear()
    g = operator.transform(da.ones((64, 900), chunks=(1, 900)))
    g.compute(scheduler="threads", num_workers=8)
    assert len(built) == 1


def test_wrong_input_is_refused_at_once():
    inverter = BayesLinearInverter(operator=op, noise_level=0.01).fit(X, y)
    text = "'X' has 48 columns, but transform of this ForwardOperator takes 64"
    with pytest.raises(ValueError, match=text):
        op.transform(rows(X))
    with pytest.raises(ValueError, match="inverse_transform of this ForwardOperator takes 48"):
        op.inverse_transform(rows(y))
    with pytest.raises(ValueError, match="'X' has 64 columns, but predict of this BayesLin"):
        inverter.predict(rows(y))
    with pytest.raises(ValueError, match=r"'X' is a dask array of 1 axes, but transform .* 2"):
        op.transform(rows(y)[0])
    unknown = rows(y)[:, rows(y)[0] > 0]
    with pytest.raises(ValueError, match=r"nan columns.*Call X.compute_chunk_sizes\(\) first"):
        op.transform(unknown)
    with pytest.raises(ValueError, match="'noise_level' has 3 values, but 'X' has 40 rows"):
        inverter.predict(rows(X), noise_level=[0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="a data frame would gather"):
        clone(op).set_output(transform="pandas").fit(y).transform(rows(y))
    with pytest.raises(NotFittedError):
        clone(op).transform(rows(y))


def test_bad_numbers_are_refused_when_they_are_met():
    with pytest.raises(ValueError, match="Input X contains NaN"):
        op.transform(rows(np.full((40, 64), np.nan))).compute()


def test_sections_drawn_block_by_block_are_those_of_their_seeds():
    seeds = np.random.SeedSequence(0).generate_state(3)
    draw = dask.delayed(partial(make_density_models, 20, mesh=op.mesh_))
    blocks = [da.from_delayed(draw(random_state=s), (20, 64), float) for s in seeds]
    g = op.transform(da.concatenate(blocks))
    drawn = [make_density_models(20, mesh=op.mesh_, random_state=s) for s in seeds]
    np.testing.assert_allclose(g, op.transform(np.concatenate(drawn)), rtol=1e-12)


def test_who_has_no_dask_array_does_not_wait_for_dask():
    code = (
        "import sys; from skgrav import ForwardOperator, Mesh; import numpy as np;"
        "ForwardOperator(Mesh.square(4)).fit().transform(np.ones((2, 16)));"
        "sys.exit('dask' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
