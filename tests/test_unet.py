"""The U-Net on linear images: the images, training, other surveys, and what is refused."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skgrav import (
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    Pipeline,
    Refiner,
    Survey,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _image
from skgrav.inverters._image import LEVELS
from skgrav.inverters._linear_images import map_operator
from skgrav.inverters._stationary import StationaryCovariance
from skgrav.metrics import chi_factor, relative_l2_error
from skgrav.networks import AveragedWeights, ImageNetwork, UNet

VOLUME = Mesh.regular((4, 8, 8), 50.0)
DATA = make_gravity_dataset(120, mesh=VOLUME, units="mGal", random_state=0)
OPERATOR, X, RHO = DATA.operator, DATA.data, DATA.target


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(_image, "UNet", partial(UNet, widths=(8, 8)))


def unfitted(**params):
    settings = {"operator": OPERATOR, "max_epochs": 2, "random_state": 0}
    return CNNInverter(**{"architecture": "unet"} | settings | params)


def fitted(x=X, y=RHO, **params):
    return unfitted(**params).fit(x, y)


def scattered(mesh, n=40, seed=0, **options):
    """Give stations at random places and heights above a mesh."""
    rng = np.random.default_rng(seed)
    places = [rng.uniform(e[0], e[-1], n) for e in mesh.edges[1:]]
    height = mesh.edges[0][0] - rng.uniform(5, 60, n)
    return Survey(np.column_stack([height, *places]), **options)


def with_trend(mesh):
    survey = scattered(mesh, components=("x", "z"))
    uncertainty = np.linspace(0.01, 0.03, survey.n_data)
    return Survey(survey.stations, survey.components, uncertainty=uncertainty, trend=1)


HILL = Mesh(VOLUME.edges, np.arange(256).reshape(4, 8, 8) > 20)
SECTION = Mesh.regular((5, 9), 20.0)
GEOMETRIES = {
    "lattice": (VOLUME, Survey.grid(VOLUME, height=10.0)),
    "scattered": (VOLUME, scattered(VOLUME, components="z")),
    "trend": (VOLUME, with_trend(VOLUME)),
    "active cells": (HILL, scattered(HILL, components=("z", "zz"))),
    "section": (SECTION, Survey.line(SECTION)),
    "scattered section": (SECTION, scattered(SECTION, components=("zz",))),
}


def dense_images(encoding, operator, X, sigma):
    """Give the linear estimates and their gz above each column by the formula."""
    mesh, prior, whitening = operator.mesh_, encoding.prior, encoding.noise.whitening
    A = whitening.matrix(operator.matrix_)
    C = StationaryCovariance(prior, mesh)(np.eye(mesh.n_cells))
    mapped = map_operator(operator, encoding.map_height).matrix_
    d = whitening(X) - encoding.data_mean
    rms = np.sqrt(np.mean(d**2, axis=1))
    found = []
    for level in LEVELS:
        noise2 = sigma**2 + (level * rms) ** 2
        estimates = [
            C @ A.T @ np.linalg.solve(A @ C @ A.T + n * np.eye(len(A)), row)
            for n, row in zip(noise2, d, strict=True)
        ]
        images = mesh.unflatten(np.array(estimates), fill=0.0) / prior.scale
        maps = (np.array(estimates) @ mapped.T).reshape(-1, 1, *mesh.shape[1:])
        found += [images, maps / encoding.map_scale]
    return np.concatenate(found, axis=1)


def first_image(inverter, X, sigma):
    """Give the best linear estimate of density."""
    encoding = inverter._encoding
    mesh, prior = encoding.operator.mesh_, encoding.prior
    images = channels(inverter, X, sigma)[:, : mesh.shape[0]]
    return mesh.flatten(images.astype(np.float64)) * prior.scale + prior.means(mesh)


def channels(inverter, X, sigma):
    """Give the channels of the body."""
    encoding = inverter._encoding
    data = (encoding.noise.whitening(X) - encoding.data_mean) / encoding.data_rms
    x = np.column_stack([data, np.log10(sigma / encoding.data_rms)]).astype(np.float32)
    with torch.no_grad():
        return inverter.net_.module_.channels(torch.tensor(x)).numpy()


# The linear images


@pytest.mark.parametrize("name", GEOMETRIES)
def test_images_are_the_best_linear_estimates(name):
    mesh, survey = GEOMETRIES[name]
    data = make_gravity_dataset(30, mesh=mesh, survey=survey, units="mGal", random_state=0)
    inverter = fitted(data.data, data.target, operator=data.operator, max_epochs=1)
    encoding = inverter._encoding
    sigma = np.array([1e-3, 0.02, 0.1]) * encoding.data_rms
    found = channels(inverter, data.data[:3], sigma)
    expected = dense_images(encoding, data.operator, data.data[:3], sigma)
    n = expected.shape[1]
    np.testing.assert_allclose(found[:, :n], expected, atol=2e-4 * np.abs(expected).max())
    size = np.sqrt(np.mean((encoding.noise.whitening(data.data[:3]) - encoding.data_mean) ** 2, 1))
    level = (np.log10(sigma / size) + 3) / 2
    np.testing.assert_allclose(found[:, n].reshape(3, -1)[:, 0], level, rtol=1e-4)
    if mesh.active is not None:
        np.testing.assert_array_equal(found[:, n + 1 :], np.tile(mesh.active, (3, 1, 1, 1)))
    assert found.shape[1] == n + 1 + len(mesh.active if mesh.active is not None else ())


def test_estimates_follow_the_noise_of_a_sample():
    inverter = fitted()
    clean, noisy = (inverter.predict(X[:5], noise_level=level) for level in (1e-5, 0.1))
    assert np.linalg.norm(clean - noisy) > 0.01 * np.linalg.norm(clean)
    each = inverter.predict(X[:2], noise_level=[1e-5, 0.1])
    np.testing.assert_allclose(each, [clean[0], noisy[1]], atol=1e-4)


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_noise_is_estimated_whatever_the_size_of_the_signal(size):
    inverter = fitted()
    encoding, rng = inverter._encoding, np.random.default_rng(0)
    space = encoding.data_space
    signal = (size * rng.normal(size=(50, 64)) * np.sqrt(space.variance)) @ space.rotation.T
    sigma = 0.02 * encoding.data_rms
    white = signal + sigma * rng.normal(size=signal.shape)
    found = np.sqrt(encoding.noise_variance(white))
    np.testing.assert_allclose(np.median(found), sigma, rtol=0.1)
    if size > 1:
        assert np.median(np.sqrt(space.noise_variance(white))) > 1.2 * sigma


def test_a_network_of_zero_returns_the_first_image():
    inverter = fitted()
    with torch.no_grad():
        for name, weights in inverter.net_.module_.named_parameters():
            weights.fill_(float("share" in name))
    sigma = 0.01 * inverter._encoding.rms(X[:4])
    first = first_image(inverter, X[:4], sigma).clip(*inverter.density_range_)
    found = inverter.predict(X[:4], noise_level=0.01)
    np.testing.assert_allclose(found, first, atol=1e-4)


# Training


def test_trained_network_beats_the_linear_estimate():
    train = make_gravity_dataset(1500, mesh=VOLUME, units="mGal", random_state=1)
    inverter = fitted(train.data, train.target, max_epochs=6, augment="turns", learning_rate=5e-3)
    rho = inverter.predict(X, noise_level=1e-4)
    linear = first_image(inverter, X, 1e-4 * inverter._encoding.rms(X))
    linear = linear.clip(*inverter.density_range_)
    assert relative_l2_error(RHO, rho) < 0.97 * relative_l2_error(RHO, linear)
    assert inverter.loss_curve_[-1] < 0.97 * inverter.loss_curve_[0]


def test_turned_batches_are_turned_back():
    for symmetry, n in (("mirror", 4), ("turns", 8)):
        inverter = fitted(augment=symmetry, max_epochs=1)
        module = inverter.net_.module_
        seen = []

        class Body(nn.Module):
            def forward(self, x, seen=seen):
                seen.append(x.detach().clone())
                return x[:, :4]

        module.body, module.spread = Body(), False
        x = torch.randn(3, 65)
        module.eval()
        straight = module(x)
        module.train()
        torch.manual_seed(0)
        for _ in range(60):
            torch.testing.assert_close(module(x), straight)
        assert len({images.numpy().tobytes() for images in seen}) == n


def test_mirrored_and_turned_data_give_such_estimates():
    inverter = fitted(augment="turns", max_epochs=1)
    images = OPERATOR.survey_.unflatten(X[:3]).reshape(3, *VOLUME.shape[1:])
    rho = VOLUME.unflatten(inverter.predict(X[:3], noise_level=0.01))
    for change in (lambda a: a[..., ::-1], lambda a: a[..., ::-1, :], lambda a: a.swapaxes(-1, -2)):
        g = change(images).reshape(3, -1)
        found = VOLUME.unflatten(inverter.predict(g, noise_level=0.01))
        np.testing.assert_allclose(found, change(rho), atol=1e-3)
    assert not np.allclose(rho, rho[..., ::-1], atol=0.1)


def test_predictions_are_of_averaged_weights():
    torch.manual_seed(0)
    averaged = AveragedWeights(nn.Linear(3, 1), decay=0.5)
    seen = []
    for n in range(1, 30):
        with torch.no_grad():
            averaged.live.weight.normal_()
        averaged.update()
        share = 1 - min(0.5, (n - 1) / (n + 8))
        seen = [(w, s * (1 - share)) for w, s in seen] + [(averaged.live.weight.clone(), share)]
    expected = sum(w * s for w, s in seen)
    torch.testing.assert_close(averaged.average.weight.data, expected.data)
    x = torch.ones(1, 3)
    assert averaged.train()(x) == averaged.live(x)
    assert averaged.eval()(x) == averaged.average(x) != averaged.live(x)


@pytest.mark.filterwarnings("ignore:'precision' is 'bfloat16'")
def test_half_precision_trains_as_well():
    single, half = (fitted(precision=p) for p in ("float32", "bfloat16"))
    np.testing.assert_allclose(half.loss_curve_, single.loss_curve_, rtol=0.02)
    assert half.loss_curve_ != single.loss_curve_


def test_averages_are_trained_saved_and_continued(tmp_path):
    inverter = fitted()
    body = inverter.net_.module_.body
    assert int(body.n_steps) == 8
    live, average = (
        torch.cat([p.ravel() for p in b.parameters()]) for b in (body.live, body.average)
    )
    assert not torch.equal(live, average)
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    np.testing.assert_array_equal(loaded.predict(X), inverter.predict(X))
    again = loaded.net_.module_.body
    for a, b in ((again.average, body.average), (again.live, body.average)):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)
    loaded.partial_fit(X, RHO)
    assert int(again.n_steps) == 4


def test_pickles_hold_no_images():
    inverter = fitted(uncertainty=False)
    assert inverter._encoding.frame.gain.nbytes > 80_000
    n_bytes = len(pickle.dumps(inverter))
    inverter.predict(X)
    assert len(pickle.dumps(inverter)) == n_bytes
    assert n_bytes < 120_000
    again = pickle.loads(pickle.dumps(inverter))
    np.testing.assert_array_equal(again.predict(X), inverter.predict(X))


def test_same_seed_same_network():
    first, second, other = (fitted(random_state=seed).predict(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_float32_volumes_and_fresh_pairs():
    single = fitted(X.astype(np.float32), RHO.astype(np.float32))
    np.testing.assert_allclose(single.predict(X), fitted().predict(X), atol=0.02)

    def source(random_state):
        return make_gravity_dataset(40, mesh=VOLUME, units="mGal", random_state=random_state)

    fresh = unfitted(max_epochs=3).fit(source)
    assert fresh.n_epochs_ == 3
    assert fresh.predict(X).shape == RHO.shape


@pytest.mark.filterwarnings("ignore:'precision' is 'bfloat16'")
def test_half_precision_trains_about_the_same():
    some = X[:40], RHO[:40]
    half, single = (fitted(*some, precision=p) for p in ("bfloat16", "float32"))
    np.testing.assert_allclose(half.loss_curve_, single.loss_curve_, rtol=0.02)
    assert half.loss_curve_ != single.loss_curve_
    assert next(half.net_.module_.parameters()).dtype == torch.float32


def test_densities_that_never_vary_are_estimated_as_they_are():
    rho = np.full_like(RHO, 5.0)
    g = OPERATOR.transform(rho)
    np.testing.assert_allclose(fitted(g, rho).predict(g, noise_level=0.01), 5.0)
    zero = fitted(0 * X, 0 * RHO)
    assert not zero.predict(0 * X).any()


def test_warm_start_continues():
    inverter = unfitted(warm_start=True).fit(X, RHO)
    inverter.fit(X, RHO)
    assert inverter.n_epochs_ == 4
    with pytest.raises(ValueError, match="'architecture' is now 'residual', but the network was"):
        inverter.set_params(architecture="residual").fit(X, RHO)


def test_estimates_start_a_refiner_and_pass_a_pipeline():
    pipeline = Pipeline(
        [unfitted(), Refiner("projection", operator=OPERATOR, noise_level=0.01)]
    ).fit(X, RHO)
    rng = np.random.default_rng(0)
    rms = np.sqrt(np.mean(X**2, axis=1, keepdims=True))
    g = X + 0.01 * rms * rng.normal(size=X.shape)
    fit = pipeline.predict(g)
    assert chi_factor(OPERATOR, fit, g, noise_level=0.01) < 1.1


# Other surveys


OTHERS = {
    "more columns": (Mesh.regular((4, 11, 9), 50.0), {"components": "z"}),
    "fewer columns": (Mesh.regular((4, 5, 9), 50.0), {"components": ("x", "z")}),
    "another top": (Mesh.regular((4, 8, 8), 50.0, top=-800.0), {"components": "z"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_with_operator_makes_the_images_of_the_other_survey(name):
    mesh, options = OTHERS[name]
    operator = ForwardOperator(mesh, scattered(mesh, seed=3, **options))
    other = fitted().with_operator(operator)
    fitted_operator = clone(operator).fit()
    rho = make_gravity_dataset(3, mesh=mesh, random_state=2).target
    g = fitted_operator.transform(rho)
    encoding = other._encoding
    sigma = np.full(3, 0.01 * encoding.data_rms)
    expected = dense_images(encoding, fitted_operator, g, sigma)
    found = channels(other, g, sigma)
    np.testing.assert_allclose(found[:, :-1], expected, atol=2e-4 * np.abs(expected).max())
    assert other.predict(g).shape == rho.shape
    # The rms of data of the prior is of the size of that of densities like the training ones.
    rms = np.sqrt(np.mean(encoding.noise.whitening(g) ** 2))
    assert encoding.data_rms == pytest.approx(rms, rel=0.5)


def test_with_operator_of_the_training_survey_changes_nothing(tmp_path):
    inverter = fitted()
    same = inverter.with_operator(OPERATOR)
    np.testing.assert_allclose(
        same.predict(X, noise_level=0.01), inverter.predict(X, noise_level=0.01), atol=1e-3
    )
    same.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    np.testing.assert_array_equal(loaded.predict(X), same.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(same)).predict(X), same.predict(X))


def test_with_operator_of_a_mesh_with_inactive_cells_warns():
    operator = ForwardOperator(HILL, scattered(HILL, components="z"))
    with pytest.warns(UserWarning, match="trained on a whole block"):
        other = fitted().with_operator(operator)
    g = operator.fit().transform(make_gravity_dataset(2, mesh=HILL, random_state=0).target)
    assert other.predict(g).shape == (2, HILL.n_cells)


def at(mesh, n=5):
    return ForwardOperator(mesh, scattered(mesh, n=n, components="z"))


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (at(Mesh.regular((5, 8, 8), 50.0)), "it has 5 layers, and the network is for 4"),
        (at(Mesh.regular((4, 8, 8), (40, 50, 50))), "its layers are 40., 40., 40., 40. m thick"),
        (at(Mesh.regular((4, 8, 8), (50, 50, 60))), "its columns are 50., 60. m wide"),
        (at(SECTION), "it has 2 axes, and the network is for 3"),
        (at(VOLUME, n=6001), "has 6001 data, but .* at most 6000. Give a survey of fewer stations"),
        (
            ForwardOperator(VOLUME, units="normalized"),
            "has units='normalized', but the network was trained with 'mGal'",
        ),
        (MatrixOperator(OPERATOR.matrix_), "is a MatrixOperator, but .* makes images on a mesh"),
        (None, "'operator' is None, but the network of architecture='unet' makes images on a mesh"),
    ],
)
def test_other_layers_and_columns_are_refused(operator, text):
    with pytest.raises(ValueError, match=text):
        fitted(max_epochs=1).with_operator(operator)


def test_other_networks_are_for_one_survey():
    inverter = CNNInverter(operator=OPERATOR, max_epochs=1, random_state=0).fit(X, RHO)
    with pytest.raises(ValueError, match=r"'residual', whose .* Take architecture='unet'"):
        inverter.with_operator(OPERATOR)


# What is refused in fit


UNEVEN = Mesh([[0, 50, 100], [0, 50, 100], [0, 50, 150]])
JOINT = JointOperator([OPERATOR, CellValues(VOLUME, cells=[0])])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"operator": None}, "'operator' is None, but .* give the ForwardOperator"),
        ({"operator": MatrixOperator(OPERATOR.matrix_)}, "'operator' is a MatrixOperator"),
        ({"operator": JOINT}, "'operator' is a JointOperator"),
        ({"data_consistency": True}, r"not trained through the data; .*Refiner\('projection'"),
        ({"augment": "turns", "architecture": "residual"}, "only the network of .*'unet'"),
    ],
)
def test_what_makes_no_images_is_refused(params, text):
    with pytest.raises(ValueError, match=text):
        fitted(**params)


def pairs(mesh, survey):
    operator = ForwardOperator(mesh, survey).fit()
    rho = np.random.default_rng(0).normal(size=(5, mesh.n_cells))
    return operator.transform(rho), rho, operator


LONG = Mesh.regular((2, 4, 6), 50.0)
CUBE = Mesh.regular((2, 4, 4), 50.0)
ONE_AT_THE_SIDE = Survey(Survey.grid(CUBE, height=10.0).stations[1:], "z")
SHEARED = Survey([[-5, 10, 20], [-5, 10, -20], [-5, -10, 20], [-5, -10, -20]], "z")


@pytest.mark.parametrize(
    ("mesh", "survey", "augment", "text"),
    [
        (UNEVEN, scattered(UNEVEN, 5, components="z"), None, "along x are 50 to 100 m wide; take"),
        (CUBE, ONE_AT_THE_SIDE, "mirror", "symmetric about the centre of the mesh, y = 0 m, but 1"),
        (LONG, Survey.grid(LONG, height=5.0), "turns", "columns are the same along y and x"),
        (CUBE, SHEARED, "turns", "stations that are the same with y and x exchanged, but 4 of 4"),
        (
            CUBE,
            Survey.grid(CUBE, height=5.0, components=("x", "z")),
            "turns",
            "components that are the same with y and x exchanged, but the survey has x, z",
        ),
        (SECTION, Survey.line(SECTION), "turns", "needs a volume, but the mesh is a section"),
    ],
)
def test_geometry_that_is_not_symmetric_is_refused(mesh, survey, augment, text):
    g, rho, operator = pairs(mesh, survey)
    with pytest.raises(ValueError, match=text):
        fitted(g, rho, operator=operator, augment=augment)


def test_active_cells_must_be_symmetric_for_turns():
    active = np.ones(CUBE.shape, dtype=bool)
    active[0, 0] = active[0, -1] = False
    mesh = Mesh(CUBE.edges, active)
    g, rho, operator = pairs(mesh, Survey.grid(mesh, height=5.0))
    with pytest.raises(ValueError, match="4 of 24 have an inactive image; use augment=None"):
        fitted(g, rho, operator=operator, augment="turns")
    assert fitted(g, rho, operator=operator, augment="mirror", max_epochs=1).n_epochs_ == 1


# The modules


@pytest.mark.parametrize(("ndim", "columns"), [(1, (7,)), (1, (8,)), (2, (5, 6)), (2, (1, 12))])
def test_unet_keeps_any_number_of_columns(ndim, columns):
    torch.manual_seed(0)
    network = UNet(3, 2, ndim=ndim, widths=(8, 12, 16))
    x = torch.randn(4, 3, *columns)
    assert network(x).shape == (4, 2, *columns)
    # Convolutions: far from the ends, a shifted image is shifted.
    wide = torch.zeros(1, 3, *[128] * ndim)
    wide[..., 60] = 1.0
    shifted = torch.roll(wide, 8, dims=-1)
    out, moved = network(wide), network(shifted)
    torch.testing.assert_close(out[..., 44:76], moved[..., 52:84], atol=5e-4, rtol=0)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.ones((1, 3, 4, 4)), TypeError, "'x' is a ndarray; it must be a torch.Tensor"),
        (torch.ones(1, 2, 4, 4), ValueError, r"has shape \(1, 2, 4, 4\); .* \(n_samples, 3, ny"),
        (torch.ones(1, 3, 4), ValueError, r"has shape \(1, 3, 4\)"),
        (torch.ones(1, 3, 4, 4, dtype=torch.int64), TypeError, "'x' is torch.int64; it must"),
    ],
)
def test_unet_refuses_other_tensors(x, error, text):
    with pytest.raises(error, match=text):
        UNet(3, 2, widths=(4, 4))(x)


def test_unet_refuses_other_axes():
    with pytest.raises(ValueError, match="'ndim' is 3; it must be 1 for sections or 2 for volumes"):
        UNet(3, 2, ndim=3)
    with pytest.raises(ValueError, match=r"'widths' is \(\); it must be positive integers, at"):
        UNet(3, 2, widths=())


def test_image_network_says_what_it_takes():
    module = fitted(max_epochs=1).net_.module_
    assert isinstance(module, ImageNetwork)
    with pytest.raises(ValueError, match=r"'x' has shape \(2, 64\); .* \(n_samples, 65\)"):
        module(torch.ones(2, 64))
