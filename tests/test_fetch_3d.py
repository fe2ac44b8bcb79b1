"""Measured gravity in 3D: Laguna del Maule, the Bushveld Complex, and the geodesy of the latter."""

import sys

import numpy as np
import pytest
import requests
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.spatial.distance import cdist

from skgrav import ForwardOperator, Mesh
from skgrav.datasets import (
    fetch_block_halfspace,
    fetch_bushveld,
    fetch_laguna_del_maule,
    fetch_two_bodies,
)
from skgrav.datasets._geodesy import normal_gravity, transverse_mercator

# GRS80: radius in m, flattening, GM in m3/s2 and rotation in 1/s.
A, F, GM, OMEGA = 6378137.0, 1 / 298.257222101, 3986005e8, 7292115e-11


@pytest.fixture(scope="module")
def maule(shared_data):
    return fetch_laguna_del_maule(data_home=shared_data)


@pytest.fixture(scope="module")
def bushveld(shared_data):
    return fetch_bushveld(data_home=shared_data)


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (fetch_laguna_del_maule, "simpeg/simpeg/eed7f138"),
        (fetch_bushveld, "fatiando/harmonica/4e282a03"),
        (fetch_block_halfspace, "simpeg/validations/e8a28648"),
        (fetch_two_bodies, "simpeg/user-tutorials/a24c4d77"),
    ],
)
class TestEach:
    def test_needs_no_download(self, shared_data, monkeypatch, load, file):
        monkeypatch.setitem(sys.modules, "pooch", None)
        monkeypatch.setenv("SKGRAV_DATA", str(shared_data))
        data = load()
        assert data.survey == load(data_home=shared_data).survey
        assert data.survey.ndim == 3
        assert data.survey.components == ("z",)
        assert data.data.shape == (data.survey.n_data,)
        assert data.data.dtype == np.float64

    def test_missing_file_without_network(self, tmp_path, monkeypatch, load, file):
        def get(url, **kwargs):
            raise requests.exceptions.ConnectionError("network is unreachable")

        monkeypatch.setattr(requests, "get", get)
        match = f"Cannot download https://raw.githubusercontent.com/{file}.*unreachable"
        with pytest.raises(OSError, match=match):
            load(data_home=tmp_path)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

    def test_changed_file(self, shared_data, tmp_path, load, file):
        for original in (shared_data / "upstream" / file.rsplit("/", 1)[0]).rglob("*.*"):
            copy = tmp_path / original.relative_to(shared_data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(b"191\n")
        with pytest.raises(ValueError, match="is not the one expected: its sha256 is"):
            load(data_home=tmp_path)


class TestBlockHalfspace:
    def test_data_are_the_gravity_of_the_truth(self, shared_data):
        block = fetch_block_halfspace(data_home=shared_data)
        assert block.mesh.shape == (34, 68, 68)
        assert block.survey.n_stations == 441
        assert_array_equal(block.survey.uncertainty, 0.002)
        assert_array_equal(np.unique(block.density), [0.0, 100.0])
        held = [c[block.mesh.unflatten(block.density).any(axis=a)] for c, a in zip(
            block.mesh.centers, [(1, 2), (0, 2), (0, 1)], strict=True
        )]  # fmt: skip
        assert_allclose(
            [c[[0, -1]] for c in held], [[212.5, 387.5], *[[-87.5, 87.5]] * 2], atol=1e-3
        )
        body = Mesh([[200, 400], [-100, 100], [-100, 100]])
        g = ForwardOperator(body, block.survey).fit().transform([[100.0]])[0]
        assert 0.9 < np.mean(((block.data - g) / 0.002) ** 2) < 1.1
        assert "MIT" in block.DESCR


class TestTwoBodies:
    def test_data_are_the_gravity_of_the_truth_below_the_ground(self, shared_data):
        bodies = fetch_two_bodies(data_home=shared_data)
        edges = np.arange(-102.5, 102.5, 2.5)
        whole = Mesh([edges[:40], edges[10:-10], edges[10:-10]])
        mesh = whole.below(bodies.topography, survey=bodies.survey)
        truth = bodies.true_model(mesh)
        # Volumes of the block and, by cells of 2.5 m, of the sphere.
        assert_allclose(truth[truth < 0].sum() * 2.5**3, -200.0 * 30 * 30 * 20, rtol=1e-6)
        assert_allclose(truth[truth > 0].sum() * 2.5**3, 200.0 * 4 / 3 * np.pi * 14**3, rtol=0.03)
        g = ForwardOperator(mesh, bodies.survey, method="rows").fit().transform(truth[None])[0]
        chi = np.mean(((g - bodies.data) / bodies.survey.uncertainty) ** 2)
        assert 0.7 < chi < 1.3
        # Stations are above the ground, about 3 m.
        height = bodies.survey.stations[:, 0] - (-100.0)
        assert height.min() > -4
        assert bodies.topography.shape == (1681, 3)


class TestLagunaDelMaule:
    def test_stations(self, maule):
        low, high = maule.survey.stations.min(axis=0), maule.survey.stations.max(axis=0)
        assert maule.survey.n_stations == 191
        assert_allclose(low, [-2865.274, 5999890.6, 356534.1])
        assert_allclose(high, [-2154.978, 6014957.4, 370233.1], rtol=1e-6)
        assert_array_equal(maule.survey.uncertainty, 0.05)
        assert_allclose([maule.data.min(), maule.data.max()], [-18.6309, 9.917])

    def test_mesh_holds_the_stations(self, maule):
        assert maule.mesh.shape == (40, 69, 69)
        for edges, column in zip(maule.mesh.edges, maule.survey.stations.T, strict=True):
            assert edges[0] < column.min()
            assert column.max() < edges[-1]
        assert [maule.mesh.edges[0][0], maule.mesh.edges[0][-1]] == [-3000, 5250]

    def test_a_light_body_at_2_km_explains_the_low(self, maule):
        block = Mesh([[-1000, 1500], [6004e3, 6009e3], [360.5e3, 365.5e3]])
        g = ForwardOperator(block, maule.survey).fit().transform([[-300.0]])[0]
        assert np.corrcoef(g, maule.data)[0, 1] > 0.6

    def test_description(self, maule):
        for part in ("MIT", "10.1016/j.epsl.2016.11.007", "mGal", "air", "-600 to 300"):
            assert part in maule.DESCR
        assert maule.density_range == (-600, 300)


class TestBushveld:
    def test_region(self, bushveld):
        assert bushveld.survey.n_stations == 3877
        assert bushveld.survey.uncertainty is None
        for name, low, high in (
            ("latitude", -27, -23),
            ("longitude", 25, 32),
            ("height", 94, 2144),
        ):
            assert bushveld[name].shape == (3877,)
            assert low <= bushveld[name].min() < low + 1
            assert high - 1 < bushveld[name].max() <= high

    def test_stations(self, bushveld):
        z, y, x = bushveld.survey.stations.T
        assert_array_equal(z, -bushveld.height)
        sphere = 6371e3 * np.radians(1.0)
        assert_allclose(y, sphere * (bushveld.latitude + 25), rtol=0.01, atol=5000)
        east = np.cos(np.radians(bushveld.latitude)) * (bushveld.longitude - 28.5)
        assert_allclose(x, sphere * east, rtol=0.01)

    def test_reduction(self, bushveld):
        """Against the formulas and digits of Hinze et al. (2005), doi:10.1190/1.1988183."""
        sin2, h = np.sin(np.radians(bushveld.latitude)) ** 2, bushveld.height
        gamma = 978032.67715 * (1 + 0.001931851353 * sin2) / np.sqrt(1 - 0.0066943800229 * sin2)
        free_air = bushveld.gravity - gamma + (0.3087691 - 0.0004398 * sin2) * h - 7.2125e-8 * h**2
        assert_allclose(bushveld.free_air, free_air, atol=0.01)
        assert_allclose(bushveld.data, free_air - 4.193e-5 * 2670 * h, atol=0.05)

    def test_limbs_stand_out(self, bushveld):
        def median(latitude, longitude, near, far):
            place = transverse_mercator(np.array(latitude), np.array(longitude), (-25.0, 28.5))
            distance = cdist(bushveld.survey.stations[:, :0:-1], [place])[:, 0]
            return np.median(bushveld.data[(near <= distance) & (distance < far)])

        for limb in ((-25.3, 27.35), (-24.8, 29.9)):
            assert median(*limb, 0, 20e3) > median(*limb, 60e3, 120e3) + 40
        # No high between them.
        assert median(-24.9, 28.6, 0, 20e3) < -130

    def test_description(self, bushveld):
        for part in ("sea level", "not ellipsoidal", "GRS80", "2670", "No terrain", "public dom"):
            assert part in bushveld.DESCR


def potential(r, z):
    """Give the normal potential at a distance from the axis and above the equator."""
    e = A * np.sqrt(F * (2 - F))
    s = r**2 + z**2 - e**2
    u = np.sqrt(s / 2 * (1 + np.sqrt(1 + (2 * e * z / s) ** 2)))

    def q(u):
        # The series of its closed form, which cancels.
        k = np.arange(1, 12)
        return 2 * np.sum((-1) ** (k + 1) * k * (e / u) ** (2 * k + 1) / (2 * k + 1) / (2 * k + 3))

    flattened = q(u) / q(A * (1 - F)) * ((z / u) ** 2 - 1 / 3)
    return GM / e * np.arctan(e / u) + (OMEGA * A) ** 2 / 2 * flattened + (OMEGA * r) ** 2 / 2


class TestNormalGravity:
    def test_equator_and_pole(self):
        assert_allclose(
            normal_gravity(np.array([0.0, 90.0, -90.0])), [978032.67715, 983218.63685, 983218.63685]
        )

    @pytest.mark.parametrize("height", [0.0, 1000.0, 2000.0])
    @pytest.mark.parametrize("latitude", [0.0, -25.0, 45.0, 80.0])
    def test_is_the_gradient_of_the_potential(self, latitude, height):
        sin, cos = np.sin(np.radians(latitude)), np.cos(np.radians(latitude))
        n = A / np.sqrt(1 - F * (2 - F) * sin**2)
        r, z, d = (n + height) * cos, (n * (1 - F) ** 2 + height) * sin, 50.0
        gradient = np.array(
            [
                potential(r + d, z) - potential(r - d, z),
                potential(r, z + d) - potential(r, z - d),
            ]
        ) / (2 * d)
        expected = 1e5 * np.linalg.norm(gradient)
        assert normal_gravity(np.array(latitude), height) == pytest.approx(expected, abs=0.02)


class TestTransverseMercator:
    origin = (-25.0, 28.5)

    @pytest.mark.parametrize("latitude", [-27.0, -25.0, -23.0, 60.0])
    def test_true_on_the_meridian(self, latitude):
        def radius(phi):
            return A * (1 - F * (2 - F)) / (1 - F * (2 - F) * np.sin(phi) ** 2) ** 1.5

        x, y = transverse_mercator(np.array(latitude), np.array(28.5), self.origin)
        arc = quad(radius, *np.radians([self.origin[0], latitude]), epsabs=1e-6)[0]
        assert_allclose([x, y], [0, arc], atol=1e-3)

    def test_conformal_and_no_longer_than_said(self):
        latitude, longitude = (g.ravel() for g in np.meshgrid([-27, -25, -23], [25, 27, 30, 32.0]))
        phi, d = np.radians(latitude), 1e-4
        w = 1 - F * (2 - F) * np.sin(phi) ** 2
        north, east = A * (1 - F * (2 - F)) / w**1.5, A / np.sqrt(w) * np.cos(phi)

        def step(dlat, dlon):
            ahead, behind = (
                np.array(
                    transverse_mercator(latitude + s * dlat, longitude + s * dlon, self.origin)
                )
                for s in (1, -1)
            )
            return (ahead - behind) / np.radians(2 * d)

        along_north, along_east = step(d, 0) / north, step(0, d) / east
        # Eastward is northward turned by a right angle, and of the same length.
        assert_allclose(along_east, [along_north[1], -along_north[0]], atol=1e-7)
        scale = np.linalg.norm(along_east, axis=0)
        x = transverse_mercator(latitude, longitude, self.origin)[0]
        assert_allclose(scale, 1 + x**2 / 2 / 6371e3**2, atol=3e-5)
        assert scale.max() < 1.0017
