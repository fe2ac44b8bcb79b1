"""Joint data: logs and several surveys as columns of X, each with its own noise and trend."""

import pickle
import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_density_models
from skgrav.metrics import chi_factor, relative_data_misfit
from skgrav.noise import Noise
from skgrav.operators import PhysicsWarning, resolve_operator
from skgrav.solvers import SOLVERS, Projection

MESH = Mesh.regular((8, 12), 50.0)
STATIONS = Survey.line(MESH).stations
GROUND = ForwardOperator(MESH, Survey(STATIONS, ("z",), uncertainty=0.02, trend=0))
AIRBORNE = ForwardOperator(
    MESH, Survey(STATIONS - [80.0, 0.0], ("x", "z"), uncertainty=0.05, trend=1), method="fft"
)
LOG, _ = CellValues.along(
    MESH, np.arange(5.0, 400, 10), values=np.zeros(40), at=10.0, uncertainty=20.0
)
JOINT = JointOperator([GROUND, LOG, AIRBORNE])
Y = 100.0 * make_density_models(60, mesh=MESH, random_state=0).reshape(60, -1)
FITTED = JOINT.fit()
X = FITTED.transform(Y)
NOISY = X + FITTED.stated_noise.uncertainty * np.random.default_rng(0).normal(size=X.shape)
#: Part of the data that are those of the log.
IN_LOG = FITTED.parts_[1][1]


def one_operator(mesh=MESH, **survey):
    return ForwardOperator(mesh, Survey(STATIONS, ("z",), **survey))


# Operator


def test_parts_are_stacked():
    matrix = np.vstack([part.matrix_ for part in FITTED.operators_])
    np.testing.assert_array_equal(FITTED.matrix_, matrix)
    np.testing.assert_allclose(X, Y @ matrix.T, rtol=1e-12, atol=1e-12)
    g = np.random.default_rng(1).normal(size=X.shape)
    np.testing.assert_allclose(FITTED.adjoint(g), g @ matrix, rtol=1e-10, atol=1e-12)
    assert np.sum(g * FITTED.transform(Y)) == pytest.approx(np.sum(FITTED.adjoint(g) * Y))
    np.testing.assert_allclose(FITTED.column_norms_, np.linalg.norm(matrix, axis=0))
    U, s, Vt = FITTED.svd_
    np.testing.assert_allclose((U * s) @ Vt, matrix, atol=1e-10)
    for part, own in zip(FITTED.split(X), FITTED.operators_, strict=True):
        np.testing.assert_array_equal(part, own.transform(Y))


def test_a_part_without_a_matrix_builds_none():
    operator = JointOperator([AIRBORNE, LOG]).fit()
    fft, _ = operator.products_.parts
    assert type(fft).__name__ == "ToeplitzOperator"
    assert operator.plan_.method == "fft + sparse"
    assert operator.plan_.n_bytes == sum(p.plan_.n_bytes for p in operator.operators_)
    assert JointOperator([AIRBORNE, LOG]).memory_usage() == operator.plan_.n_bytes
    operator.transform(operator.adjoint(np.ones((1, operator.n_data_))))
    assert "dense" not in vars(operator._held)


def test_torch_module_is_the_operator():
    torch = pytest.importorskip("torch")
    module = FITTED.to_torch(dtype=torch.float64)
    rho = torch.tensor(Y[:3], requires_grad=True)
    np.testing.assert_allclose(module(rho).detach(), X[:3], rtol=1e-9, atol=1e-9)
    g = torch.tensor(NOISY[:3])
    np.testing.assert_allclose(module.adjoint(g), FITTED.adjoint(NOISY[:3]), rtol=1e-9, atol=1e-9)
    (module(rho) * g).sum().backward()
    np.testing.assert_allclose(rho.grad, module.adjoint(g), rtol=1e-12)
    assert torch.autograd.gradcheck(module, (torch.randn(2, 96, dtype=torch.float64) + rho[:2],))


def test_copies_are_equal(tmp_path):
    for copy in (pickle.loads(pickle.dumps(FITTED)), clone(FITTED).fit(), JOINT.fit(Y)):
        assert copy.identity_ == FITTED.identity_
        np.testing.assert_array_equal(copy.transform(Y), X)
    inverter = TikhonovInverter(operator=JOINT).fit(X)
    inverter.save(tmp_path / "joint")
    again = TikhonovInverter.load(tmp_path / "joint")
    assert again.operator_.identity_ == FITTED.identity_
    assert again.operator_.plan_ == FITTED.plan_
    np.testing.assert_array_equal(again.predict(NOISY), inverter.predict(NOISY))
    assert clone(again).fit(X).operator_.identity_ == FITTED.identity_


def test_parameters_of_parts_are_reached():
    changed = clone(JOINT).set_params(operator1__uncertainty=5.0, operator2__method="dense")
    assert changed.fit().operators_[2].plan_.method == "dense"
    assert (changed.stated_noise.uncertainty[IN_LOG] == 5.0).all()
    assert JOINT.operators[1].uncertainty == 20.0
    replaced = clone(JOINT).set_params(operator0=AIRBORNE)
    assert replaced.operators[0] is AIRBORNE


def test_refit_forgets():
    operator = clone(JOINT).fit()
    operator.set_params(operators=[GROUND]).fit()
    assert operator.n_data_ == GROUND.fit().n_data_
    assert operator.identity_ == JointOperator([GROUND]).fit().identity_


def test_names_of_data():
    assert list(JointOperator([GROUND, LOG]).fit().get_feature_names_out()[[0, 36]]) == [
        "gz0",
        "log0",
    ]
    names = FITTED.get_feature_names_out()
    assert len(set(names)) == FITTED.n_data_
    assert names[0] == "operator0__gz0"
    frame = clone(JOINT).set_output(transform="pandas").fit(Y).transform(Y)
    assert list(frame.columns) == list(names)


@pytest.mark.parametrize(
    ("operators", "text"),
    [
        ([GROUND, CellValues(Mesh.regular((8, 12), 40.0), [1])], "part 0 has Mesh.*part 1 has"),
        (
            [GROUND, CellValues(Mesh(MESH.edges, np.arange(96).reshape(8, 12) > 5), [1])],
            "with the same active cells",
        ),
        ([GROUND, CellValues(MESH, [1])], "part 1 .* a CellValues, states no noise.*Give 'uncer"),
        ([one_operator(), LOG], "part 0 .* states no noise.*Give its survey an 'uncertainty'"),
        ([one_operator(), GROUND], "part 0 of 'operators'.*states no noise"),
        ([], "'operators' is empty"),
        (
            [clone(GROUND).set_params(units="normalized"), GROUND],
            "'operators' have units 'normalized' and 'mGal'",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(operators, text):
    with pytest.raises(ValueError, match=text):
        JointOperator(operators).fit()


def test_a_matrix_is_no_part():
    with pytest.raises(TypeError, match=r"MatrixOperator\(\) as part 1; parts are ForwardOperator"):
        JointOperator([GROUND, MatrixOperator()]).fit()


def test_data_of_another_size_are_refused():
    with pytest.raises(ValueError, match=f"'X' has 10 data, but this operator has {X.shape[1]}"):
        FITTED.split(np.ones((1, 10)))


# Noise


def test_noise_is_that_of_the_parts():
    noise = Noise.of(FITTED)
    assert noise.is_known
    assert noise.trend_names == ("operator0 gz", "operator2 gx", "operator2 gx x", *(
        "operator2 gz", "operator2 gz x"
    ))  # fmt: skip
    std = noise.std(NOISY)[0]
    np.testing.assert_allclose(std[IN_LOG], 20.0)
    np.testing.assert_allclose(std[: IN_LOG.start], 0.02)
    trend = noise.whitening.basis[:, 0]
    assert trend[: IN_LOG.start].all()
    assert not trend[IN_LOG.start :].any()


def test_trend_of_gravity_leaves_the_log_alone():
    shifted = NOISY.copy()
    shifted[:, : IN_LOG.start] += 7.0
    inverter = TikhonovInverter(operator=JOINT).fit(X)
    np.testing.assert_allclose(inverter.predict(shifted), inverter.predict(NOISY), atol=1e-6)
    lifted = NOISY.copy()
    lifted[:, IN_LOG] += 300.0
    moved = FITTED.transform(inverter.predict(lifted) - inverter.predict(NOISY))[:, IN_LOG]
    assert moved.mean() > 200.0


def test_relative_level_is_refused_for_several_units():
    inverter = TikhonovInverter(operator=JOINT).fit(X)
    for refused in (
        lambda: inverter.predict(NOISY, noise_level=0.01),
        lambda: TikhonovInverter(noise_level=0.01, operator=JOINT).fit(X),
        lambda: BayesLinearInverter(0.01, operator=JOINT).fit(X, Y),
        lambda: Refiner("cgls", init="zero", operator=JOINT, noise_level=0.0).fit(X, Y),
        lambda: chi_factor(FITTED, Y, X, noise_level=0.01),
    ):
        with pytest.raises(ValueError, match=r"several units, of gravity and density\. Leave it"):
            refused()


def test_surveys_of_one_unit_are_one_survey():
    parts = [one_operator(), ForwardOperator(MESH, Survey(STATIONS - [80.0, 0.0], ("z",)))]
    joint = JointOperator(parts).fit()
    whole = MatrixOperator(joint.matrix_)
    g = joint.transform(Y[:5])
    g += (
        0.01
        * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
        * np.random.default_rng(0).normal(size=g.shape)
    )
    for noise_level in (0.01, "auto"):
        options = {"noise_level": noise_level}
        found = [TikhonovInverter(operator=o, **options).fit(g).predict(g) for o in (joint, whole)]
        if noise_level == "auto":
            np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-6)
        else:
            assert chi_factor(joint, found[0], g, noise_level=noise_level) < 1.1


def test_misfits_compare_data_of_several_units():
    wrong = X.copy()
    wrong[:, : IN_LOG.start] *= 1.5  # small numbers beside those of the log
    assert relative_data_misfit(FITTED, Y, wrong) > 0.05


# Physics


def test_each_part_is_checked_against_the_pairs():
    resolve_operator(JOINT, Y, X)
    wrong = X.copy()
    wrong[:, : IN_LOG.start] *= -1.0
    with pytest.raises(ValueError, match=r"part 0 of 'operator', a ForwardOperator, .*sign of X"):
        resolve_operator(JOINT, Y, wrong)
    wrong = X.copy()
    wrong[:, IN_LOG] /= 1000.0  # g/cm3
    with pytest.raises(
        ValueError, match=r"part 1 of 'operator', a CellValues, .*X is 0\.001 times"
    ):
        resolve_operator(JOINT, Y, wrong)
    wrong = X.copy()
    wrong[:, IN_LOG] += 300.0 * np.linspace(0, 1, 60)[:, None]
    with pytest.warns(PhysicsWarning, match="part 1 of 'operator'"):
        resolve_operator(JOINT, Y, wrong)


# Estimators


def inverters():
    bounds = np.zeros(96), np.linspace(1000.0, 1500.0, 96)
    bayes = BayesLinearInverter(operator=JOINT)
    return {
        "tikhonov": TikhonovInverter(operator=JOINT),
        "tikhonov, gcv": TikhonovInverter("gcv", operator=JOINT),
        "tikhonov, bounds": TikhonovInverter(bounds=bounds, order=1, operator=JOINT),
        "sparse": SparseInverter(bounds=bounds, depth_weighting="sensitivity", operator=JOINT),
        "analogue": AnalogueInverter(10, operator=JOINT),
        "bayes": bayes,
        "cnn": CNNInverter(operator=JOINT, max_epochs=1, random_state=0),
        "cnn, null space": CNNInverter(
            operator=JOINT, max_epochs=1, random_state=0, data_consistency=True
        ),
        "latent": LatentInverter(PCA(20), operator=JOINT),
        "latent, projection": LatentInverter(PCA(20), projection=True, operator=JOINT),
        "refiner, bayes": Refiner("bayes", init=bayes, operator=JOINT, random_state=0),
        "refiner, bounds": Refiner(Projection(bounds=bounds), init=bayes, operator=JOINT),
        **{
            f"refiner, {name}": Refiner(name, init="zero", operator=JOINT)
            for name in SOLVERS
            if name != "gd"  # the paper's step scarcely moves
        },
    }


@pytest.mark.parametrize("name", inverters())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:the 'uncertainty' of the survey is")
def test_every_method_uses_the_log(name, tmp_path):
    inverter = inverters()[name].fit(X, Y)
    rho = inverter.predict(NOISY[50:])
    residual = (FITTED.transform(rho) - NOISY[50:])[:, IN_LOG] / 20.0
    assert np.mean(residual**2) < (30.0 if name == "latent" else 2.5)
    inverter.save(tmp_path / "inverter")
    np.testing.assert_array_equal(
        type(inverter).load(tmp_path / "inverter").predict(NOISY[50:]), rho
    )
    again = pickle.loads(pickle.dumps(inverter))
    np.testing.assert_allclose(again.predict(NOISY[50:]), rho, rtol=1e-6, atol=1e-6)


def test_each_part_is_fitted_to_its_noise():
    truth = np.zeros((1, 96))
    truth[0, [41, 42, 53, 54, 65, 66]] = 500.0
    log, _ = CellValues.along(
        MESH, np.arange(5.0, 400, 10), values=np.zeros(40), at=10.0, uncertainty=10.0
    )
    joint = JointOperator([GROUND, log]).fit()
    g = joint.transform(truth)
    found = TikhonovInverter(operator=joint, depth_weighting="sensitivity").fit(g).invert(g)
    residual = joint.split(g - joint.transform(found.rho))[1] / 10.0
    assert np.mean(residual**2) < 1.0
    assert found.chi_factor[0] < 1.0
    # The misfit of all data alone leaves the log to the model norm.
    more = TikhonovInverter(
        2 * float(found.alpha[0]), operator=joint, depth_weighting="sensitivity"
    )
    rho = more.fit(g).predict(g)
    assert np.mean((joint.split(g - joint.transform(rho))[1] / 10.0) ** 2) > 1.0


def test_a_log_that_contradicts_the_gravity_is_warned_of():
    stone = Mesh([[0, 100], np.linspace(-300, 300, 3)])
    line = Survey(np.column_stack([np.full(41, -1.0), np.linspace(-200, 200, 41)]), ("z",), 0.01)
    joint = JointOperator([ForwardOperator(stone, line), CellValues(stone, [0], uncertainty=5.0)])
    g = joint.fit().transform([[300.0, 200.0]])
    g += np.r_[np.random.default_rng(0).normal(size=41) * 0.004, 40.0]
    with pytest.warns(
        UserWarning, match="part 1 of 'operator', a CellValues, with a chi factor of"
    ):
        TikhonovInverter(operator=joint).fit(g).predict(g)


def test_a_log_in_grams_per_cubic_centimetre_is_warned_of():
    scale = np.ones(FITTED.n_data_)
    scale[IN_LOG] = 1e-3
    with pytest.warns(UserWarning, match=r"densities of CellValues in 'X' are at most .* in g/cm3"):
        TikhonovInverter(operator=JOINT).fit(X[:3] * scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TikhonovInverter(operator=JOINT).fit(X[:3])
        scale[IN_LOG] = 0.0  # as the reference
        TikhonovInverter(operator=JOINT).fit(X[:3] * scale)


@pytest.mark.parametrize("weighting", ["sensitivity", 2.0])
def test_depth_weights_are_those_of_gravity(weighting):
    alone = one_operator(uncertainty=0.02).fit()
    certain = CellValues(MESH, np.arange(40, 60), uncertainty=1e-3)
    weights = [
        TikhonovInverter(operator=o, depth_weighting=weighting).fit(o.transform(Y))._norm.weights
        for o in (alone, JointOperator([alone, certain]).fit())
    ]
    np.testing.assert_allclose(weights[1], weights[0])


def test_mirror_images_and_the_papers_network_are_refused():
    with pytest.raises(ValueError, match="augment='mirror' needs gravity alone"):
        CNNInverter(operator=JOINT, augment="mirror", max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match="only a network of architecture='residual' takes other"):
        CNNInverter("paper", operator=JOINT, max_epochs=1).fit(X, Y)


def test_a_log_alone_is_an_operator():
    data = LOG.fit().transform(Y)
    found = TikhonovInverter(operator=LOG, depth_weighting="sensitivity").fit(data).predict(data)
    np.testing.assert_allclose(LOG.transform(found), data, atol=60.0)
    assert not found[:, np.setdiff1d(np.arange(96), LOG.products_.matrix.indices)].any()


def test_log_reduces_the_error():
    errors = []
    for operator, data in ((GROUND, slice(0, IN_LOG.start)), (JOINT, slice(None))):
        inverter = BayesLinearInverter(operator=operator).fit(X[:50, data], Y[:50])
        errors.append(np.linalg.norm(inverter.predict(NOISY[50:, data]) - Y[50:]))
    assert errors[1] < 0.95 * errors[0]


# Cells


def test_indices_masks_and_averages():
    rho = np.arange(96.0)[None]
    np.testing.assert_array_equal(CellValues(MESH, [3, 90]).fit().transform(rho), [[3.0, 90.0]])
    mask = np.arange(96) % 50 == 7
    np.testing.assert_array_equal(CellValues(MESH, mask).fit().transform(rho), [[7.0, 57.0]])
    np.testing.assert_array_equal(CellValues(MESH).fit().transform(rho), rho)
    dense = np.zeros((1, 96))
    dense[0, [10, 20]] = 0.25, 0.75
    for matrix in (dense, sparse.csr_array(dense), sparse.coo_matrix(dense)):
        np.testing.assert_allclose(CellValues(MESH, matrix).fit().transform(rho), [[17.5]])


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([96], r"'cells' contains 96; it must be indices .* from 0 to 95"),
        ([-1], "'cells' contains -1"),
        ([0.5], r"'cells' contains 0\.5"),
        ([], r"'cells' has shape \(0,\)"),
        (np.zeros(96, dtype=bool), "a mask of shape .* with 0 True"),
        (np.ones(5, dtype=bool), r"a mask of shape \(5,\)"),
        (np.ones((2, 5)), r"'cells' has shape \(2, 5\); a matrix of averages"),
        (np.ones((1, 96)), "row 0 sums to 96. Divide each row by its sum"),
        (np.r_[2.0, -1.0, np.zeros(94)][None], "but one is negative"),
    ],
)
def test_odd_cells_are_refused(cells, text):
    with pytest.raises(ValueError, match=text):
        CellValues(MESH, cells).fit()


@pytest.mark.parametrize("uncertainty", [0.0, -1.0, [1.0], np.nan])
def test_odd_uncertainties_are_refused(uncertainty):
    with pytest.raises(ValueError, match="'uncertainty'"):
        CellValues(MESH, [1, 2], uncertainty=uncertainty).fit()


# Logs


def test_an_interval_is_weighted_by_length():
    mesh = Mesh([[0, 10, 40, 100], [0, 50, 100]])
    log, data = CellValues.along(mesh, [5.0], [60.0], values=[7.0], at=20.0)
    np.testing.assert_allclose(log.fit().matrix_, [[5 / 55, 0, 30 / 55, 0, 20 / 55, 0]])
    assert data.tolist() == [7.0]
    # A slanted hole, in either direction.
    for a, b in (([5.0, 0.0], [25.0, 100.0]), ([25.0, 100.0], [5.0, 0.0])):
        log, _ = CellValues.along(mesh, [a], [b], values=[7.0])
        np.testing.assert_allclose(log.fit().matrix_, [[0.25, 0, 0.25, 0.5, 0, 0]])


def test_samples_of_one_cell_are_averaged():
    top = np.array([0.0, 4.0, 8.0, 40.0])
    mesh = Mesh([[0, 10, 40, 100], [0, 50, 100]])
    log, data = CellValues.along(
        mesh, top, top + [4, 4, 1, 30], values=[1.0, 3.0, 8.0, 5.0], at=20.0,
        uncertainty=[3.0, 3.0, 6.0, 1.0],
    )  # fmt: skip
    np.testing.assert_allclose(data, [(4 + 12 + 8) / 9, 5.0])
    np.testing.assert_allclose(log.uncertainty, [np.sqrt((8 * 9 + 36) / 9), 1.0])
    np.testing.assert_array_equal(log.fit().matrix_ > 0, np.eye(6)[[0, 4]] > 0)


def test_data_are_what_the_operator_gives_of_a_density_known_everywhere():
    rng = np.random.default_rng(0)
    mesh = Mesh([np.cumsum(rng.uniform(10, 40, 9)), *([np.linspace(-100, 100, 6)] * 2)])
    z = np.linspace(mesh.edges[0][0], mesh.edges[0][-1], 50)
    points = np.column_stack([z, np.linspace(-90, 90, 50), np.linspace(50, -70, 50)])
    rho = rng.normal(size=(1, mesh.n_cells))
    each = [
        CellValues.along(mesh, a[None], b[None], values=[0.0])[0].fit().transform(rho)[0, 0]
        for a, b in pairwise(points)
    ]
    log, data = CellValues.along(mesh, points[:-1], points[1:], values=each)
    np.testing.assert_allclose(log.fit().transform(rho)[0], data)
    assert log.n_data_ < 49


def test_active_cells_are_numbered():
    active = np.ones((8, 12), dtype=bool)
    active[0] = False
    mesh = Mesh(MESH.edges, active)
    log, _ = CellValues.along(mesh, [60.0, 110.0], values=[1.0, 2.0], at=10.0)
    rho = mesh.flatten(np.arange(96.0).reshape(8, 12))[None]
    np.testing.assert_array_equal(log.fit().transform(rho), [[18.0, 30.0]])
    with pytest.raises(
        ValueError, match=r"2 of 3 samples .* samples 0, 2, the first at \(20, 10\)"
    ):
        CellValues.along(mesh, [20.0, 60.0, 500.0], values=[1.0, 2.0, 3.0], at=10.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1.0], None, [1.0], None), "give 'at', the position .x. of a vertical hole"),
        (([[1.0, 2.0]], None, [1.0], 5.0), "'at' is for 'start' of depths alone"),
        (([1.0], [1.0, 2.0], [1.0], 5.0), r"'start' has shape \(1,\), but 'end' \(2,\)"),
        (([1.0], None, [1.0, 2.0], 5.0), r"'values' has shape \(2,\), but the log has 1 samples"),
        (([1.0], None, [np.nan], 5.0), "'values' contains NaN"),
        (([1.0] * 9, None, [2.5] * 8 + [-999.25], 5.0), "'values' contains -999.25.* missing"),
        (([[1.0, 2.0, 3.0]], None, [1.0], None), r"must be \(n_samples, 2\)"),
        (([1.0], None, [1.0], 5000.0), "lie outside the active cells"),
    ],
)
def test_odd_logs_are_refused(arguments, text):
    start, end, values, at = arguments
    with pytest.raises(ValueError, match=text):
        CellValues.along(MESH, start, end, values=values, at=at)


# Weights and bounds of cells


@pytest.mark.parametrize(
    ("kind", "params"),
    [(TikhonovInverter, {}), (SparseInverter, {"norms": 1}), (SparseInverter, {})],
)
def test_weights_hold_cells_near_the_reference(kind, params, tmp_path):
    inverter = partial(kind, **params)
    operator = one_operator(uncertainty=0.02).fit()
    g = 0.1 * operator.transform(Y[:3])
    weights = np.ones(96)
    weights[:24] = 1e6
    plain = inverter(operator=operator).fit(g)
    held = inverter(operator=operator, cell_weights=weights).fit(g)
    if (kind, params) != (SparseInverter, {}):  # equal weights count against slopes
        np.testing.assert_allclose(
            inverter(operator=operator, cell_weights=np.full(96, 3.0)).fit(g).predict(g),
            plain.predict(g),
            rtol=1e-3,
            atol=1.0,
        )
    rho = held.predict(g)
    assert np.abs(rho[:, :24]).max() < 1.0 < np.abs(plain.predict(g)[:, :24]).max()
    assert chi_factor(operator, rho, g) < 1.1
    held.save(tmp_path / "held")
    np.testing.assert_array_equal(kind.load(tmp_path / "held").predict(g), rho)


@pytest.mark.parametrize("weights", [np.ones(5), np.zeros(96), -np.ones(96), np.full(96, np.nan)])
def test_odd_weights_are_refused(weights):
    with pytest.raises(ValueError, match="'cell_weights'"):
        TikhonovInverter(cell_weights=weights, operator=GROUND).fit(X[:, : IN_LOG.start])


def test_bounds_of_cells_are_saved(tmp_path):
    bounds = np.zeros(96), np.linspace(10.0, 800.0, 96)
    g = X[:2, : IN_LOG.start]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds contradict the data
        inverter = TikhonovInverter(bounds=bounds, operator=GROUND).fit(g)
        inverter.save(tmp_path / "bounds")
        again = TikhonovInverter.load(tmp_path / "bounds")
        rho = again.predict(g)
        np.testing.assert_array_equal(rho, inverter.predict(g))
    assert (rho <= bounds[1]).all()
    np.testing.assert_array_equal(again.bounds[1], bounds[1])
