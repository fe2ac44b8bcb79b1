"""AnalogueInverter: nearest sections, and their fit to data of any geometry and noise."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import surveyed, with_noise
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    ForwardOperator,
    MatrixOperator,
    Mesh,
    Survey,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.metrics import (
    PosteriorScorer,
    chi_factor,
    crps,
    interface_spread,
    interval_coverage,
    relative_data_misfit,
    relative_l2_error,
)
from skgrav.noise import Noise
from skgrav.operators import PhysicsWarning
from skgrav.training import Mirror

MESH = Mesh.square(12)
LIBRARY = make_gravity_dataset(1500, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(60, mesh=MESH, random_state=1)
OPERATOR, A = LIBRARY.operator, LIBRARY.operator.matrix_
X, RHO = LIBRARY.data, LIBRARY.target
G, UNSEEN = TEST.data, TEST.target


def fitted(n_neighbors=20, **params):
    settings = {"operator": OPERATOR, "inflation": 1.0}  # it takes long to learn it
    return AnalogueInverter(n_neighbors, **settings | params).fit(X, RHO)


@pytest.fixture(scope="module")
def inverter():
    return fitted()


def each(draws):
    """Give draws of all samples as rows, in the order of the samples."""
    return np.moveaxis(draws, 2, 1).reshape(-1, draws.shape[1])


# The equations


@pytest.mark.parametrize("level", [0.001, 0.1])
def test_estimates_are_those_of_the_equations_in_full(level):
    rho, n = RHO[:40], 5
    inverter = AnalogueInverter(
        n, noise_level=level, operator=OPERATOR, inflation=1.5, precision="float64"
    )
    inverter.fit(X[:40], rho)
    bayes = BayesLinearInverter(level, operator=OPERATOR).fit(X[:40], rho)
    mean, share = rho.mean(axis=0), bayes.shrinkage_
    C = (1 - share) * np.cov(rho.T, bias=True)
    C += share * np.trace(np.cov(rho.T, bias=True)) / 144 * np.eye(144)
    g = with_noise(G[:1], level)
    s2 = level**2 * np.mean(g**2)
    variance, T = np.linalg.eigh(A @ C @ A.T)
    live = variance > 1e-16 * variance.max()
    variance, T = variance[live], T[:, live]
    R = T.T @ A @ C / np.sqrt(variance)[:, None]
    effect = np.sqrt(np.mean(R**2, axis=1))
    k = variance / (variance + s2)
    observed = (g - mean @ A.T) @ T / np.sqrt(variance)
    u = (rho - mean) @ A.T @ T / np.sqrt(variance)
    share = (effect / effect.max()) ** 0.25
    distance = np.sum((k * share * (k * observed - u)) ** 2, axis=1)
    nearest = np.argsort(distance)[:n]
    analogues = 1.5 * rho[nearest] - 0.5 * rho[nearest].mean(axis=0)
    u = (analogues - mean) @ A.T @ T / np.sqrt(variance)
    # Residuals of draws from the posterior, and those that are left without its noise.
    expected2 = ((1 - k) * observed[0]) ** 2 + k * s2 / variance
    size2 = np.mean((observed - u) ** 2, axis=0)
    said = np.minimum(1, k / (1 - k))
    change = 1 - (1 - k) * np.maximum(1, (1 - k) ** 2 * size2 / expected2) ** (-said / 2)
    projected = analogues + (change * (observed - u)) @ R
    found, std = inverter.predict(g, return_std=True)
    np.testing.assert_allclose(found[0], projected.mean(axis=0), 0, 1e-6 * np.abs(rho).max())
    np.testing.assert_allclose(inverter.predict(g), found, 1e-9, 1e-9)
    lacking2 = said * np.maximum(expected2 - (1 - change) ** 2 * size2, 0)
    total = projected.var(axis=0, ddof=1) + lacking2 @ R**2
    np.testing.assert_allclose(std[0], np.sqrt(total), 1e-4, 1e-5)


def test_a_section_of_the_library_is_found_again():
    # The nearest section of exact data is the section itself, which is hardly changed.
    draws = fitted(5, precision="float64").sample_y(X[:10], 5)
    error = np.linalg.norm(draws - RHO[:10, :, None], axis=1)
    assert (error.min(axis=1) < 0.3 * np.median(error, axis=1)).all()


def test_std_and_quantiles_are_those_of_draws(inverter):
    g = with_noise(G[:3], 0.3)  # much noise, so that it matters what draws add of it
    rho, std = inverter.predict(g, return_std=True, noise_level=0.3)
    draws = inverter.sample_y(g, 8000, noise_level=0.3)
    np.testing.assert_allclose(draws.mean(axis=2), rho, 0, 5 * std.max() / np.sqrt(8000))
    expected = draws.std(axis=2) * np.sqrt(20 / 19)  # each analogue is drawn as often
    assert np.abs(std / expected - 1).max() < 0.1
    assert np.abs(std / expected - 1).mean() < 0.01
    quantiles = inverter.predict_quantiles(g, [1 / 21, 0.5, 20 / 21], noise_level=0.3)
    assert quantiles.shape == (3, 144, 3)
    drawn = inverter.sample_y(g, 20, random_state=0, noise_level=0.3)
    np.testing.assert_allclose(quantiles[..., 0], drawn.min(axis=2))
    np.testing.assert_allclose(quantiles[..., 2], drawn.max(axis=2))
    np.testing.assert_allclose(quantiles[..., 1], np.median(drawn, axis=2))


def test_draws_take_each_analogue_once_before_any_is_repeated(inverter):
    draws = inverter.sample_y(G[:1], 40)[0]  # exact data, so that there is no noise in them
    first, second = draws[:, :20], draws[:, 20:]
    distance = np.linalg.norm(first[:, :, None] - second[:, None], axis=0)
    assert sorted(distance.argmin(axis=1)) == list(range(20))
    assert distance.min(axis=1).max() < 0.5 * np.median(distance)


# Fit to the data


def geometries():
    active = Mesh.regular((6, 9), 10.0).below(lambda x: 12 - np.abs(x) / 5)
    scattered = np.column_stack(
        [np.full(23, -3.0), np.sort(np.random.default_rng(0).uniform(-50, 50, 23))]
    )
    volume = Mesh.regular((4, 6, 5), 10.0)
    yield "scattered", Mesh.regular((6, 9), 10.0), Survey(scattered, ("z",))
    yield "active", active, Survey(scattered - [20.0, 0.0], ("z", "xz"))
    yield "volume", volume, None
    yield "trend", Mesh.regular((6, 9), 10.0), Survey(scattered, ("z",), trend=1)
    sigma = np.geomspace(0.001, 0.01, 23)
    yield "uncertainty", Mesh.regular((6, 9), 10.0), Survey(scattered, ("z",), sigma)


GEOMETRIES = {name: (mesh, survey) for name, mesh, survey in geometries()}


@pytest.fixture(scope="module", params=GEOMETRIES)
def pairs(request):
    mesh, survey = GEOMETRIES[request.param]
    options = {"mesh": mesh, "density_range": (0.0, 900.0), "units": "mGal"}
    return make_gravity_dataset(3000, survey=survey, random_state=0, **options)


@pytest.mark.filterwarnings("ignore:'noise_level' is .* like the training densities")
def test_each_draw_fits_exact_data_on_any_geometry(pairs):
    inverter = AnalogueInverter(20, noise_level=0.0, inflation=1.0, operator=pairs.operator)
    inverter.fit(pairs.data[50:], pairs.target[50:])
    g = pairs.data[:50]
    draws = inverter.sample_y(g, 10)
    misfit = relative_data_misfit(
        pairs.operator, each(draws), np.repeat(g, 10, axis=0), multioutput="raw_values"
    )
    # Where data are unlike the library, up to 1e-6 of them is taken for rounding.
    assert np.median(misfit) < 5e-8
    assert misfit.max() < 5e-6
    estimate = inverter.predict(g)
    misfit = relative_data_misfit(pairs.operator, estimate, g, multioutput="raw_values")
    assert np.median(misfit) < 5e-8


@pytest.mark.filterwarnings("ignore:'noise_level' is .* like the training densities")
@pytest.mark.parametrize("level", [0.01, 0.1])
def test_draws_fit_noisy_data_to_their_noise_on_any_geometry(pairs, level):
    sigma = Noise.of(pairs.operator, level).std(pairs.data[:50])
    g = pairs.data[:50] + sigma * np.random.default_rng(0).normal(size=sigma.shape)
    inverter = AnalogueInverter(20, noise_level=level, inflation=1.0, operator=pairs.operator)
    inverter.fit(pairs.data[50:], pairs.target[50:])
    draws = each(inverter.sample_y(g, 10))
    chi = chi_factor(pairs.operator, draws, np.repeat(g, 10, axis=0), noise_level=level)
    assert chi == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("level", [0.001, 0.01, 0.05])
def test_noise_that_is_estimated_is_fitted_as_if_told(inverter, level):
    g = with_noise(G, level)
    told = each(inverter.sample_y(g, 5, noise_level=level))
    found = each(inverter.sample_y(g, 5))
    for draws in (told, found):
        chi = chi_factor(OPERATOR, draws, np.repeat(g, 5, axis=0), noise_level=level)
        assert chi == pytest.approx(1.0, abs=0.05)


def test_noise_level_of_each_sample_and_contradictions():
    inverter = fitted(noise_level=0.2)
    levels = np.geomspace(0.01, 0.5, len(G))
    g = with_noise(G, 1.0) * 0 + G + levels[:, None] * (with_noise(G, 1.0) - G)
    rho = inverter.predict(g, noise_level=levels)
    for i in (0, -1):
        one = inverter.predict(g[[i]], noise_level=levels[i])
        np.testing.assert_allclose(one, rho[[i]], rtol=1e-9)
    with pytest.warns(UserWarning, match="'noise_level' is 0.001 of the rms"):
        inverter.predict(with_noise(G, 0.2), noise_level=0.001)


# What it is worth


def test_distribution_is_better_than_the_gaussian_and_draws_are_sharp():
    inverter = fitted(50, noise_level=0.01)
    g = with_noise(G, 0.01)
    gaussian = BayesLinearInverter(0.01, operator=OPERATOR, store_covariance=True).fit(X, RHO)
    draws = inverter.sample_y(g, 50)
    assert crps(UNSEEN, draws) < 0.97 * crps(UNSEEN, *gaussian.predict(g, return_std=True))
    mean = np.broadcast_to(RHO.mean(axis=0), UNSEEN.shape)
    assert relative_l2_error(UNSEEN, inverter.predict(g)) < 0.8 * relative_l2_error(UNSEEN, mean)
    true, drawn, speckle = (
        interface_spread(rho, MESH) for rho in (UNSEEN, draws[..., 0], gaussian.sample_y(g)[..., 0])
    )
    assert drawn < 1.6 * true < speckle


def test_mirror_images_are_those_of_a_library_twice_as_large():
    cells = Mirror.of(OPERATOR.mesh_, OPERATOR.survey_).cells
    both = np.vstack([RHO, RHO[:, cells]])
    inverter = fitted(augment="mirror", precision="float64")
    twice = fitted(precision="float64").fit(OPERATOR.transform(both), both)
    assert inverter.n_sections_ == twice.n_sections_ == 3000
    assert inverter._library.sections.shape == RHO.shape  # images are not stored
    g = with_noise(G[:20], 0.01)
    # The covariances differ by what shrinkage is estimated from, a random subset.
    np.testing.assert_allclose(inverter.predict(g), twice.predict(g), 0, 0.5)
    image = inverter.predict(g @ _mirrored_data())[:, cells]
    np.testing.assert_allclose(image, inverter.predict(g), 0, 1e-3)


def _mirrored_data():
    mirror = Mirror.of(OPERATOR.mesh_, OPERATOR.survey_)
    return np.eye(G.shape[1])[mirror.data].T * mirror.sign


# The library


def test_precision_changes_little_and_the_fit_not_at_all():
    exact = fitted(precision="float64")
    for precision in ("float16", "float32"):
        inverter = fitted(precision=precision)
        assert inverter._library.sections.dtype == precision
        assert relative_data_misfit(OPERATOR, inverter.sample_y(G, 1)[..., 0], G) < 5e-8
        off = relative_l2_error(exact.predict(G), inverter.predict(G), multioutput="raw_values")
        assert np.median(off) < 1e-3
    with pytest.raises(ValueError, match="'precision' is 'float16', whose numbers end at 65504"):
        fitted(precision="float16").fit(1e4 * X, 1e4 * RHO)


def test_memory_mapped_library_stays_on_disk(tmp_path):
    np.save(tmp_path / "rho.npy", RHO.astype(np.float16))
    mapped = np.load(tmp_path / "rho.npy", mmap_mode="r")
    inverter = fitted().fit(X, mapped)
    assert np.shares_memory(inverter._library.sections, mapped)
    expected = fitted(precision="float16").predict(G)
    np.testing.assert_array_equal(inverter.predict(G), expected)
    again = pickle.loads(pickle.dumps(inverter))
    np.testing.assert_array_equal(again.predict(G), expected)


def test_library_is_a_copy_that_the_caller_cannot_change(inverter):
    rho = RHO.astype(np.float32)
    own = fitted().fit(X, rho)
    rho[:] = 0.0
    np.testing.assert_allclose(own.predict(G), inverter.predict(G), 1e-6, 1e-6)


def test_callable_draws_the_library():
    seeds = []

    def draw(random_state):
        seeds.append(random_state)
        return make_gravity_dataset(300, mesh=MESH, random_state=random_state)

    def pair(random_state):
        data = draw(random_state)
        return data.data, data.target

    first, second, third = (
        AnalogueInverter(10, operator=OPERATOR, inflation=1.0, random_state=seed)
        .fit(source)
        .predict(G)
        for seed, source in ((0, draw), (0, pair), (1, draw))
    )
    np.testing.assert_array_equal(first, second)
    assert seeds[0] == seeds[1] != seeds[2]
    assert np.abs(first - third).max() > 0.1


def test_operator_is_checked_with_the_pairs():
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        fitted(operator=MatrixOperator(np.roll(A, 7, axis=1)))
    found = AnalogueInverter(20, inflation=1.0).fit(X, RHO)
    assert isinstance(found.operator_, ForwardOperator)


def test_inflation_makes_intervals_of_unseen_sections_hold():
    few = slice(0, 300)  # so few that nearest sections are far away
    coverage = {}
    for inflation in (1.0, "auto"):
        inverter = AnalogueInverter(20, noise_level=0.001, operator=OPERATOR, inflation=inflation)
        inverter.fit(X[few], RHO[few])
        draws = inverter.sample_y(with_noise(G, 0.001), 20)
        coverage[inflation] = interval_coverage(UNSEEN, draws)
    off = {name: np.abs(found - [0.5, 0.9]).max() for name, found in coverage.items()}
    assert off["auto"] < 0.05
    assert off["auto"] < off[1.0]


# Contracts


def test_same_seed_same_draws_and_other_seed_other_draws(inverter):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draws = inverter.sample_y(G[:3], 4, random_state=0, noise_level=0.01)
    again = inverter.sample_y(G[:3], 4, random_state=0, noise_level=0.01)
    np.testing.assert_array_equal(draws, again)
    other = inverter.sample_y(G[:3], 4, random_state=1, noise_level=0.01)
    assert np.abs(draws - other).max() > 0.1
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_parameters_that_are_set_later_count_from_the_next_fit():
    inverter = fitted(10)
    before = inverter.predict(G[:3])
    inverter.set_params(n_neighbors=30)
    np.testing.assert_array_equal(inverter.predict(G[:3]), before)
    assert np.abs(inverter.fit(X, RHO).predict(G[:3]) - before).max() > 0.1


def test_density_vectors():
    rho = np.linspace(1.0, 3.0, 50)
    inverter = AnalogueInverter(5, operator=MatrixOperator([[2.0]]), noise_level=0.0)
    inverter.fit(2 * rho[:, None], rho)
    np.testing.assert_allclose(inverter.predict([[4.4], [5.0]]), [2.2, 2.5], rtol=1e-6)
    assert inverter.sample_y([[4.4], [5.0]], 3).shape == (2, 3)
    assert inverter.predict_quantiles([[4.4], [5.0]], 0.5).shape == (2, 1)


def test_search_of_the_number_of_neighbours_by_the_crps():
    search = GridSearchCV(
        AnalogueInverter(operator=OPERATOR, noise_level=0.01, inflation=1.0),
        {"n_neighbors": [19, 300]},
        scoring=PosteriorScorer(n_samples=19),
        cv=[(np.arange(1000), np.arange(1000, 1060))],
    )
    search.fit(X[:1060], RHO[:1060])
    assert search.best_params_ == {"n_neighbors": 19}


def test_errors_name_the_argument(inverter):
    with pytest.raises(ValueError, match="'n_neighbors' is 2000, but the library has n_samples=15"):
        fitted(2000)
    with pytest.raises(ValueError, match="'n_neighbors' parameter of AnalogueInverter"):
        fitted(1)
    with pytest.raises(ValueError, match=r"'quantiles' is \[0.01\]; .* from 0.04762 to 0.9524"):
        inverter.predict_quantiles(G[:1], [0.01])
    with pytest.raises(ValueError, match="augment='mirror' needs a ForwardOperator"):
        fitted(operator=MatrixOperator(A), augment="mirror")
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        inverter.sample_y(G[:1], 0)
    with pytest.raises(NotFittedError):
        AnalogueInverter().sample_y(G)
    with pytest.raises(NotFittedError):
        AnalogueInverter().predict_quantiles(G, 0.5)
    lopsided = surveyed(0.1, SimpleNamespace(
        survey_=Survey(OPERATOR.survey_.stations[:-5], ("z",)), mesh_=MESH, units="normalized"
    ))  # fmt: skip
    rho = make_density_models(50, mesh=MESH, random_state=0)
    with pytest.raises(ValueError, match="needs stations symmetric"):
        AnalogueInverter(operator=lopsided, augment="mirror").fit(
            lopsided.fit().transform(rho), rho
        )
