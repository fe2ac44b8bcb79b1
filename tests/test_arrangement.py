"""Meshes and surveys that cannot be meant together are refused or warned of, others are not."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.operators import PhysicsWarning

LINE = np.linspace(-2000, 2000, 41)
SECTION = Mesh([np.linspace(0, 1500, 16), np.linspace(-3000, 3000, 31)])
UPSIDE_DOWN = Mesh([np.linspace(-1500, 0, 16), np.linspace(-3000, 3000, 31)])
VOLUME = Mesh([np.linspace(0, 1500, 6), np.linspace(-3000, 3000, 13), np.linspace(-4000, 4000, 9)])
HILLS = 50 * np.sin(LINE / 300) - 60
UTM = np.array([0.0, 4.93e6, 5e5])


def line(z, x=LINE):
    return np.column_stack(np.broadcast_arrays(np.asarray(z, float), x))


def grid(z, y=LINE[::8], x=LINE[::8]):
    y, x = (c.ravel() for c in np.meshgrid(y, x, indexing="ij"))
    return np.column_stack(np.broadcast_arrays(np.asarray(z, float), y, x))


def moved(mesh, by):
    return Mesh([e + d for e, d in zip(mesh.edges, by, strict=True)])


def fit(mesh, stations):
    return ForwardOperator(mesh, Survey(stations, ("z",), 0.05), method="rows").fit()


SWAPPED_2D = r"seem to be \(x, z\). Give them as \(z, x\)"
SWAPPED_3D = r"seem to be \(x, y, z\). Give them as \(z, y, x\)"
ABOVE = r"'mesh' lies at z = .*, wholly above the stations of 'survey', .*z is positive down"
IMPOSSIBLE = {
    "heights as depths": (SECTION, line(1600.0), ABOVE),
    "depths as heights": (UPSIDE_DOWN, line(1.0), ABOVE),
    "depths as heights, hills": (UPSIDE_DOWN, line(-HILLS), ABOVE),
    "depths as heights, 3D": (moved(VOLUME, (-1500, 0, 0)), grid(0.0), ABOVE),
    "(x, z)": (SECTION, line(-1.0)[:, ::-1], SWAPPED_2D),
    "(x, z), hills": (SECTION, line(HILLS)[:, ::-1], SWAPPED_2D),
    "(x, z), of positive x": (
        moved(SECTION, (0, 3e4)),
        line(-1.0, LINE + 3e4)[:, ::-1],
        SWAPPED_2D,
    ),
    "(x, z), mesh upside down": (UPSIDE_DOWN, line(-1.0)[:, ::-1], SWAPPED_2D),
    "(x, y, z)": (VOLUME, grid(-1.0)[:, ::-1], SWAPPED_3D),
    "(x, y, z), UTM": (moved(VOLUME, UTM), (grid(-1.0) + UTM)[:, ::-1], SWAPPED_3D),
    "(y, z, x)": (VOLUME, grid(-1.0)[:, [1, 0, 2]], r"seem to be \(y, z, x\)"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_geometry_that_cannot_be_meant_is_refused(name):
    mesh, stations, text = IMPOSSIBLE[name]
    with pytest.raises(ValueError, match=text):
        fit(mesh, stations)


KILOMETRES = "one of them seems to be in kilometres. Give both in metres"
DUBIOUS = {
    "stations in km": (SECTION, line(-1.0, LINE / 1000), KILOMETRES),
    "stations in km, 3D": (VOLUME, grid(-1.0, LINE[::8] / 1000, LINE[::8] / 1000), KILOMETRES),
    "mesh in km": (Mesh([e / 1000 for e in SECTION.edges]), line(-1.0), KILOMETRES),
    "stations in degrees": (
        VOLUME,
        grid(-1.0, LINE[::8] / 1e5 - 36.0, LINE[::8] / 1e5 - 70.5),
        "one of them seems to be in kilometres.*pyproj.Transformer.from_crs",
    ),
    "stations and mesh in degrees": (
        Mesh([VOLUME.edges[0], *(e / 1e5 for e in VOLUME.edges[1:])]),
        grid(-1.0, LINE[::8] / 1e5, LINE[::8] / 1e5),
        "these seem to be degrees, or kilometres; give metres.*'EPSG:32631'",
    ),
    "far off": (
        SECTION,
        line(-1.0, LINE + 1e5),
        r"at least 9.5e\+04 m away from 'mesh', which is 6e\+03 m wide",
    ),
    "another zone": (
        moved(VOLUME, UTM),
        grid(-1.0) + [0, 0, 5e5],
        "away from 'mesh'.* same origin",
    ),
    "stations 200 m deep": (
        SECTION,
        line(200.0),
        (
            "41 of 41 stations of 'survey' lie inside 'mesh', up to 200 m below its top .*"
            "a mesh whose top is at or below z = 200 m, unless the stations are underground"
        ),
    ),
    "hills in the mesh": (SECTION, line(HILLS + 60), "20 of 41 stations .* up to 49.95 m below"),
    "mesh given as heights, stations above them": (UPSIDE_DOWN, line(-1.0), "41 of 41 stations"),
    "a borehole": (SECTION, line(np.linspace(10, 1400, 9), 300.0), "9 of 9 stations"),
    "a borehole below the mesh": (SECTION, line(np.linspace(0, 2500, 9), 300.0), "8 of 9 stations"),
    "a tunnel": (VOLUME, grid(400.0, [0.0]), "6 of 6 stations"),
}


@pytest.mark.parametrize("name", DUBIOUS)
def test_geometry_that_is_hardly_meant_is_said_once(name):
    mesh, stations, text = DUBIOUS[name]
    with pytest.warns(PhysicsWarning, match=text) as caught:
        operator = fit(mesh, stations)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    # Clones and pickles do not say it again.
    again = clone(operator).fit()
    assert pickle.loads(pickle.dumps(again)).transform(np.ones((1, mesh.n_cells))).size


FINE = {
    "on the surface": (SECTION, line(0.0)),
    "hills above the mesh": (SECTION, line(HILLS)),
    "one width beyond either side": (SECTION, line(-1.0, np.linspace(-9000, 9000, 90))),
    "in a valley beside the mesh": (SECTION, line([-1.0, 300.0], [0.0, 5000.0])),
    "a part of the mesh": (SECTION, line(-1.0, LINE / 20)),
    "one station": (SECTION, line(-1.0, [0.0])),
    "from the air": (SECTION, line(-3000.0)),
    "a mesh below the sea": (moved(SECTION, (4000, 0)), line(0.0)),
    "a mesh in a mountain": (moved(SECTION, (-2000, 0)), line(-2001.0)),
    "wide padding": (
        Mesh([SECTION.edges[0], np.r_[-2e6, -1e5, SECTION.edges[1], 1e5, 2e6]]),
        line(-1.0),
    ),
    "UTM": (moved(VOLUME, UTM), grid(-1.0) + UTM),
    "a grid a little higher at each station": (VOLUME, grid(-np.arange(36.0))),
}


@pytest.mark.parametrize("name", FINE)
def test_geometry_that_may_be_meant_is_taken_without_a_word(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(*FINE[name])


def test_inverter_says_it_before_anything_is_inverted():
    g = np.ones((1, 41))
    swapped = ForwardOperator(UPSIDE_DOWN, Survey(line(-1.0)[:, ::-1], ("z",), 0.05))
    with pytest.raises(ValueError, match=SWAPPED_2D):
        TikhonovInverter(operator=swapped).fit(g)
    inside = ForwardOperator(SECTION, Survey(line(100.0), ("z",), 0.05))
    with pytest.warns(PhysicsWarning, match="41 of 41 stations") as caught:
        TikhonovInverter(operator=inside).fit(g).predict(g)
    assert len(caught) == 1
