"""Simulations of SimPEG: axes, order, sign and unit, against gravity computed here."""

import sys

import numpy as np
import pytest
from bridged import bridged

from skgrav import CellValues, ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.bridges import from_simpeg, to_simpeg

simpeg = bridged("simpeg")
discretize = bridged("discretize")
gravity = bridged("simpeg.potential_fields.gravity")
maps = bridged("simpeg.maps")

COMPONENTS = ("x", "y", "z", "xx", "xy", "xz", "yy", "yz", "zz")
# No axis is like another one, neither in its number of cells nor in their widths.
EDGES = [[0, 40, 100, 200.0], [-150, -50, 0, 100.0, 180.0], [10, 60, 160, 200, 300.0, 310.0]]
ACTIVE = np.ones((3, 4, 5), dtype=bool)
ACTIVE[0, 1:, 2:] = ACTIVE[1, 2, 3] = False
STATIONS = np.random.default_rng(0).uniform([-50, -200, 0], [-5, 200, 300], size=(7, 3))
RHO = np.random.default_rng(1).normal(scale=300.0, size=(2, 60))


def simulation_of(mesh, receivers, **settings):
    """Give a simulation of all cells in double precision."""
    return gravity.Simulation3DIntegral(
        survey=gravity.Survey(gravity.sources.SourceField(receivers)),
        mesh=mesh,
        rhoMap=maps.IdentityMap(nP=mesh.n_cells),
        sensitivity_dtype=np.float64,
        **settings,
    )


@pytest.mark.parametrize("active", [None, ACTIVE], ids=["whole", "active"])
def test_there_and_back(active):
    mesh, survey = Mesh(EDGES, active), Survey(STATIONS, COMPONENTS)
    operator = ForwardOperator(mesh, survey).fit()
    simulation = to_simpeg(operator, sensitivity_dtype=np.float64)
    problem = from_simpeg(simulation)
    assert problem.mesh == mesh
    assert problem.survey == survey
    size = np.abs(operator.matrix_).reshape(9, -1).max(axis=1).repeat(7)[:, None]
    np.testing.assert_allclose(
        problem.operator.matrix_ / size, operator.matrix_ / size, rtol=0, atol=1e-12
    )
    rho = RHO[:, : mesh.n_cells]
    models, g = problem.to_model(rho), operator.transform(rho)
    data = np.array([simulation.dpred(model) for model in models])
    np.testing.assert_allclose(problem.from_model(models), rho, rtol=1e-14)
    np.testing.assert_allclose(problem.from_data(data), g, atol=1e-10 * np.abs(g).max())
    np.testing.assert_allclose(problem.to_data(g), data, atol=1e-10 * np.abs(g).max())


def test_noise_of_the_data_is_not_lost():
    sigma = np.random.default_rng(2).uniform(0.1, 1.0, 14)
    survey = Survey(STATIONS, ("x", "z"), sigma)
    simulation = to_simpeg(ForwardOperator(Mesh(EDGES), survey).fit())
    std = abs(from_simpeg(simulation).to_data(sigma)[0])
    data = simpeg.data.Data(simulation.survey, np.zeros(14), standard_deviation=std)
    np.testing.assert_array_equal(data.standard_deviation[::2], sigma[:7])
    np.testing.assert_array_equal(data.standard_deviation[1::2], sigma[7:])
    level = Survey(STATIONS, ("x", "z"), trend=0)
    with pytest.warns(UserWarning, match="has a trend, for which SimPEG has no counterpart"):
        to_simpeg(ForwardOperator(Mesh(EDGES), level).fit())


def test_a_dense_cell_to_the_upper_south_west_is_where_it_was():
    block = discretize.TensorMesh([[10.0] * 4, [10.0] * 3, [10.0] * 2], origin=[0, 0, -20])
    simulation = simulation_of(block, [gravity.receivers.Point([[5.0, 5.0, 1.0]], "gz")])
    problem = from_simpeg(simulation)
    model = np.zeros(24)
    model[block.point2index([5.0, 5.0, -5.0])] = 1.0
    rho = problem.mesh.unflatten(problem.from_model(model))[0]
    assert rho[0, 0, 0] == 1000.0
    assert rho.sum() == 1000.0
    assert simulation.dpred(model)[0] < 0 < problem.operator.transform(rho.reshape(1, -1))[0, 0]


def test_sensitivities_on_disk(tmp_path):
    operator = ForwardOperator(Mesh(EDGES), Survey(STATIONS, "z")).fit()
    simulation = to_simpeg(
        operator,
        store_sensitivities="disk",
        sensitivity_path=str(tmp_path / "sensitivities"),
        sensitivity_dtype=np.float64,
    )
    matrix = from_simpeg(simulation).operator.matrix_
    np.testing.assert_allclose(matrix, operator.matrix_, atol=1e-12 * operator.matrix_.max())


def test_receivers_of_equal_components_are_one_survey():
    block = discretize.TensorMesh([[80.0] * 3, [90.0] * 3, [50.0] * 2], origin="CCN")
    where = STATIONS[:6, ::-1] * [1, 1, 0] + [0, 0, 5.0]
    lists = [gravity.receivers.Point(part, ["gz", "gxx"]) for part in np.split(where, 2)]
    simulation = simulation_of(block, lists)
    problem = from_simpeg(simulation)
    assert problem.survey.n_stations == 6
    g = ForwardOperator(problem.mesh, problem.survey).fit().transform(RHO[:, :18])
    data = simulation.dpred(problem.to_model(RHO[:, :18])[0])
    np.testing.assert_allclose(problem.from_data(data)[0], g[0], atol=1e-10 * np.abs(g).max())


def test_inversion_by_its_sensitivity_is_that_by_ours():
    mesh = Mesh.regular((3, 5, 6), 100.0)
    operator = ForwardOperator(mesh).fit()
    problem = from_simpeg(to_simpeg(operator, sensitivity_dtype=np.float64))
    rho = np.zeros((1, mesh.n_cells))
    rho[0, 40:44] = 400.0
    X = operator.transform(rho) + np.random.default_rng(0).normal(scale=0.01, size=(1, 30))
    weighted = TikhonovInverter(
        operator=problem.operator, depth_weighting="sensitivity", noise_level=0.02
    )
    found = weighted.fit(X).predict(X)
    chi = np.mean((operator.transform(found) - X) ** 2) / (0.02**2 * np.mean(X**2))
    assert chi == pytest.approx(1.0, rel=0.05)
    assert found[0, 40:44].mean() > 2 * found.mean()
    plain = [TikhonovInverter(operator=o, noise_level=0.02) for o in (operator, problem.operator)]
    first, second = (inverter.fit(X).predict(X) for inverter in plain)
    np.testing.assert_allclose(second, first, atol=1e-6 * np.abs(first).max())


def test_octree_mesh_gives_its_sensitivity_alone():
    tree = discretize.TreeMesh([[10.0] * 8] * 3, origin="CCN", diagonal_balance=True)
    tree.refine_points([[0.0, 0.0, 0.0]], level=-1, padding_cells_by_level=[1])
    active = tree.cell_centers[:, 2] < -5.0
    simulation = gravity.Simulation3DIntegral(
        survey=gravity.Survey(
            gravity.sources.SourceField([gravity.receivers.Point([[0, 0, 5.0]], ["gz", "gx"])])
        ),
        mesh=tree,
        active_cells=active,
        rhoMap=maps.ExpMap(nP=active.sum()),
    )
    problem = from_simpeg(simulation)
    assert problem.mesh is None
    assert problem.operator.n_cells_ == active.sum() < tree.n_cells
    model = np.random.default_rng(0).normal(size=active.sum())
    rho = problem.from_model(model)
    np.testing.assert_allclose(rho[0], 1e3 * np.exp(model))
    np.testing.assert_allclose(
        problem.operator.transform(rho), problem.from_data(simulation.dpred(model)), rtol=1e-5
    )
    assert "cells in its order" in repr(problem)
    with pytest.raises(ValueError, match="'rhoMap' of the simulation is a ExpMap"):
        problem.to_model(rho)


def test_what_has_no_counterpart_is_refused_by_name():
    block = discretize.TensorMesh([2, 2, 2], origin="CCN")
    point = gravity.receivers.Point
    where = [[0.0, 0.0, 1.0]]
    for lists in ([point(where, ["gz", "guv"])], [point(where, "gz"), point(where, "gx")]):
        with pytest.raises(ValueError, match="'simulation' has receivers of"):
            from_simpeg(simulation_of(block, lists))
    lazy = simulation_of(block, [point(where)], store_sensitivities="forward_only")
    with pytest.raises(ValueError, match="store_sensitivities='forward_only'"):
        from_simpeg(lazy)
    block.orientation = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    with pytest.raises(ValueError, match="rotated; it must be 3D"):
        from_simpeg(simulation_of(block, [point(where)]))
    with pytest.raises(TypeError, match="'simulation' is of type TensorMesh"):
        from_simpeg(block)
    mesh = Mesh.regular((2, 2, 3), 10.0)
    with pytest.raises(TypeError, match="'operator' is of type CellValues"):
        to_simpeg(CellValues(mesh, [1]).fit())
    for settings, which in (
        ({"kernel": "point"}, "kernel='point'"),
        ({"units": "normalized"}, "units='normalized'"),
        ({"fraction": np.full(12, 0.5)}, "a 'fraction'"),
    ):
        with pytest.raises(ValueError, match=which):
            to_simpeg(ForwardOperator(mesh, **settings).fit())
    with pytest.raises(ValueError, match="a 2D mesh"):
        to_simpeg(ForwardOperator(Mesh.square(4)).fit())


def test_wrong_lengths_are_named():
    problem = from_simpeg(to_simpeg(ForwardOperator(Mesh.regular((2, 2, 3), 10.0)).fit()))
    for method, name in (
        (problem.from_model, "model"),
        (problem.to_model, "rho"),
        (problem.from_data, "dobs"),
        (problem.to_data, "X"),
    ):
        with pytest.raises(ValueError, match=rf"'{name}' has shape \(5,\)"):
            method(np.zeros(5))


def test_import_errors_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "simpeg.potential_fields.gravity", None)
    with pytest.raises(ImportError, match=r"from_simpeg needs simpeg; .*'skgrav\[bridges\]'"):
        from_simpeg(None)
    with pytest.raises(ImportError, match=r"to_simpeg needs simpeg; .*'skgrav\[bridges\]'"):
        to_simpeg(None)
