"""Benchmarks of any estimator from gravity to density."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

import skgrav
from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    ConformalInverter,
    Mesh,
    Survey,
    TikhonovInverter,
    metrics,
)
from skgrav.benchmarking import _bodies, _public, measures, pairs
from skgrav.benchmarking._candidate import QUANTILES
from skgrav.datasets import make_gravity_dataset

SIZES = {"mesh": Mesh.regular((5, 6), 10.0), "n_train": 60, "n_test": 12, "n_draws": 19}
SIZES |= {"noise_levels": (0.0, 0.01), "n_calibrated": 11}
SECTIONS = ("accuracy", "calibration")
FEW = {"tables": "accuracy", "references": False, **SIZES}


class Own(BaseEstimator):
    """Class of a user without mixins: the mean of the sections."""

    def fit(self, X, y):
        self.mean_ = y.mean(axis=0)

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


class Plain:
    """Not even an estimator."""

    def fit(self, X, y):
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


class DataAlone(BaseEstimator):
    """Fitted without densities: the middle of their range, whatever the data."""

    def fit(self, X):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.full((len(X), 30), 6.0)


class Broken(RegressorMixin, BaseEstimator):
    """Fails as it is told to, with noisy data or always."""

    def __init__(self, how, always=False):
        self.how = how
        self.always = always

    def fit(self, X, y):
        self.shape_ = y.shape[1]
        if self.how == "fit":
            raise RuntimeError("no luck in fit")
        return self

    def predict(self, X, *, noise_level=0.0):
        rho = np.ones((len(X), self.shape_))
        if not self.always and np.max(noise_level) < 1e-3:
            return rho
        if self.how == "predict":
            raise RuntimeError("no luck in predict")
        return rho[:, 1:] if self.how == "shape" else np.full_like(rho, np.nan)


def tenth(y):
    return y / 10.0


def tenfold(y):
    return 10.0 * y


def figures(table, *, timed=False):
    """Give the figures of a table, without seconds."""
    return [
        {k: v for k, v in record.items() if timed or "CPU" not in k} for record in table.records
    ]


def frozen(inverter, **sizes):
    """Give an estimator fitted to pairs of the sizes of these tests."""
    data = make_gravity_dataset(40, **({"mesh": SIZES["mesh"]} | sizes), random_state=7)
    return FrozenEstimator(inverter.fit(data.data, data.target))


ESTIMATORS = {
    "Ridge": Ridge(1e-3),
    "KNeighborsRegressor": KNeighborsRegressor(),
    "StandardScaler + Ridge": make_pipeline(StandardScaler(), Ridge()),
    "StandardScaler + BayesLinearInverter": make_pipeline(
        StandardScaler(with_mean=False, with_std=False), BayesLinearInverter()
    ),
    "GridSearchCV(Ridge)": GridSearchCV(Ridge(), {"alpha": [1e-3, 1.0]}, cv=2),
    "TransformedTargetRegressor(Ridge)": TransformedTargetRegressor(
        Ridge(), transformer=StandardScaler()
    ),
    "TransformedTargetRegressor(BayesLinearInverter)": TransformedTargetRegressor(
        BayesLinearInverter("auto"), func=tenth, inverse_func=tenfold
    ),
    "Own": Own(),
    "Plain": Plain(),
    "DataAlone": DataAlone(),
    "BayesLinearInverter": BayesLinearInverter(),
    "TikhonovInverter": TikhonovInverter(),
    "frozen": frozen(Ridge()),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_any_estimator_is_judged_and_left_as_it_was(name):
    inverter = ESTIMATORS[name]
    before = {k: repr(v) for k, v in vars(inverter).items()}
    table = skgrav.benchmark(inverter, **FEW).accuracy
    assert {k: repr(v) for k, v in vars(inverter).items()} == before
    assert {record["method"] for record in table.records} == {name if name != "frozen" else "Ridge"}
    assert len(table.records) == 4  # two levels, families seen and unseen
    assert all(0 < record["error"] < 2 for record in table.records)
    assert not any("failed" in note for note in table.notes)


def test_figures_are_those_of_the_metrics_on_the_same_pairs():
    known = ["flat_layers", "folded_layers", "dipping_layers", "intrusions", "basins", "blocks"]
    mesh, level = SIZES["mesh"], 0.01
    train = pairs(60, 3, [*known, "dykes"], mesh=mesh)
    test = pairs(12, 1_000_003, ["faults", "salt_domes"], mesh=mesh)
    rms = np.sqrt(np.mean(test.data**2, axis=1, keepdims=True))
    X = test.data + level * rms * np.random.default_rng(3).normal(size=test.data.shape)
    inverter = BayesLinearInverter(operator=train.operator, store_covariance=True)
    inverter.fit(train.data, train.target)
    result = skgrav.benchmark(
        BayesLinearInverter(store_covariance=True), tables=SECTIONS, random_state=3, **SIZES
    )
    rho, std = inverter.predict(X, return_std=True, noise_level=level)
    [found] = those(result.accuracy, "BayesLinearInverter", "unseen", level)
    assert found["error"] == pytest.approx(metrics.relative_l2_error(test.target, rho))
    misfit = metrics.relative_data_misfit(test.operator, rho, X)
    assert found["misfit"] == pytest.approx(misfit)
    chi = metrics.chi_factor(test.operator, rho, X, noise_level=level)
    assert found["chi factor"] == pytest.approx(chi)
    [found] = those(result.calibration, "BayesLinearInverter", "unseen", level)
    rho, std, true = rho[:11], std[:11], test.target[:11]
    assert found["crps"] == pytest.approx(metrics.crps(true, rho, std))
    covers = metrics.interval_coverage(true, rho, std)
    assert [found["cover 50"], found["cover 90"]] == pytest.approx(covers)
    drawn = inverter.sample_y(X[:11], 19, random_state=3, noise_level=level)
    assert found["energy"] == pytest.approx(metrics.energy_score(true, drawn))
    p = metrics.rank_histogram(true, drawn, "std", mesh=mesh).p_value
    assert found["p of std"] == pytest.approx(p)


def those(table, method, geology, level):
    """Give the records of one method and case."""
    key = {"method": method, "geology": geology, "noise": level}
    return [record for record in table.records if key.items() <= record.items()]


def test_best_linear_estimate_against_itself_has_ratios_of_one():
    inverter = BayesLinearInverter(store_covariance=True)
    table = skgrav.benchmark(inverter, tables="calibration", **SIZES).calibration
    own = [r for r in table.records if r["method"] == "BayesLinearInverter"]
    assert len(own) == 4
    assert [r["crps ratio"] for r in own] == pytest.approx([1.0] * 4, abs=1e-12)
    assert [r["energy ratio"] for r in own] == pytest.approx([1.0] * 4, abs=1e-12)


@pytest.mark.parametrize(
    "inverter", [BayesLinearInverter(store_covariance=True), ExtraTreesRegressor(3)]
)
def test_seed_decides_all_figures(inverter):
    options = {"tables": SECTIONS, "references": False, **SIZES}
    first, same, other = (
        skgrav.benchmark(inverter, random_state=seed, **options) for seed in (0, 0, 1)
    )
    for name in SECTIONS[: 1 + hasattr(inverter, "sample_y")]:
        assert figures(getattr(first, name)) == figures(getattr(same, name))
        assert figures(getattr(first, name)) != figures(getattr(other, name))


def test_references_beat_the_mean_model_and_are_beaten_by_the_best_linear_estimate():
    table = skgrav.benchmark(Own(), tables="accuracy", **SIZES | {"n_train": 400}).accuracy
    errors = {r["method"]: r["error"] for r in table.records if r["noise"] == 0}
    assert errors["Own"] == errors["mean model"]
    order = ["best linear, clipped", "smoothest", "mean model"]
    assert [errors[name] for name in order] == sorted(errors[name] for name in order)
    assert errors["minimum norm"] < errors["mean model"]


@pytest.mark.parametrize(
    ("inverter", "has_draws"),
    [
        (ConformalInverter(Ridge()), False),
        (ConformalInverter(BayesLinearInverter()), False),
        (GaussianProcessRegressor(RBF(10.0), alpha=1e-3), True),
        (make_pipeline(StandardScaler(), GaussianProcessRegressor(RBF(30.0), alpha=1e-3)), True),
    ],
)
def test_distributions_of_any_kind_are_judged(inverter, has_draws):
    sizes = SIZES | {"n_train": 300}  # 60 calibrate, enough for the outermost quantiles
    assert QUANTILES[0] > 0.5 / 61
    table = skgrav.benchmark(inverter, tables="calibration", **sizes).calibration
    own = [r for r in table.records if r["method"] != "best linear"]
    assert len(own) == 4
    assert all(r["crps ratio"] > 0 and 0 <= r["cover 90"] <= 1 for r in own)
    assert all(("energy ratio" in r) == has_draws for r in own)
    assert not any("failed" in note for note in table.notes)


def test_without_distributions_the_table_says_what_gives_some():
    table = skgrav.benchmark(Ridge(), tables="calibration", **SIZES).calibration
    assert table.rows == table.records == ()
    assert "ConformalInverter" in table.notes[0]


class Negative(Own):
    """Its standard deviations are no standard deviations."""

    def predict(self, X, return_std=False):
        rho = super().predict(X)
        return (rho, -rho) if return_std else rho


def test_distributions_that_are_none_are_refused_by_name():
    with pytest.raises(ValueError, match="'inverter' failed in all 4 cases, first in metrics of"):
        skgrav.benchmark(Negative(), tables="calibration", **SIZES)


def test_calibration_that_fails_leaves_the_accuracy_and_says_what_to_do():
    inverter = ConformalInverter(Ridge(), random_state=0)
    with pytest.warns(UserWarning, match=r"failed in 4 cases.* predict_quantiles .*with more\.$"):
        result = skgrav.benchmark(inverter, tables=SECTIONS, references=False, **SIZES)
    assert len(result.accuracy.records) == 4
    assert all("error" in record for record in result.accuracy.records)
    assert all("failure" in record for record in result.calibration.records)
    assert "residuals of 12 sections reach. Calibrate with more." in result.calibration.notes[0]


def test_draws_that_are_refused_leave_the_marginals():
    with pytest.warns(UserWarning, match="failed in 4 cases, .* sample_y .*'store_covariance'"):
        table = skgrav.benchmark(
            BayesLinearInverter(), tables="calibration", references=False, **SIZES
        ).calibration
    assert all("crps" in record and "energy" not in record for record in table.records)
    assert any("'store_covariance' is False" in note for note in table.notes)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("predict", "predict of trained families with noise of 1 %: RuntimeError: no luck"),
        ("shape", r"noise of 1 %: predict returned shape \(12, 29\) instead of \(12, 30\)"),
        ("nan", "noise of 1 %: predict returned 360 NaN or infinite numbers"),
    ],
)
def test_failures_are_named_where_they_are(how, text):
    with pytest.warns(UserWarning, match="'inverter' failed in 2 cases, .*" + text):
        table = skgrav.benchmark(Broken(how), **FEW).accuracy
    assert [row[2:4] for row in table.rows] == [(row[2], "failed") for row in table.rows]
    assert float(table.rows[0][2]) > 0
    assert sum("failed in" in note for note in table.notes) == 2


@pytest.mark.parametrize("how", ["fit", "predict", "shape", "nan"])
def test_an_estimator_that_only_fails_is_an_error_with_its_own_as_cause(how):
    with pytest.raises(ValueError, match="'inverter' failed in all 4 cases, first in") as caught:
        skgrav.benchmark(Broken(how, always=True), **FEW)
    assert (how in {"fit", "predict"}) == isinstance(caught.value.__cause__, RuntimeError)


def test_estimator_of_one_target_fails_by_name():
    with pytest.raises(ValueError, match="first in fit to 60 pairs with noise of 0 %: ValueError"):
        skgrav.benchmark(BayesianRidge(), **FEW)


def test_frozen_estimators_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"is fitted to 24 data, .* Give 'mesh' and 'survey'"):
        skgrav.benchmark(frozen(Ridge(), mesh=Mesh.square(4)), **FEW)


def test_a_fitted_estimator_is_fitted_anew_with_a_warning():
    fitted = frozen(Ridge()).estimator
    with pytest.warns(UserWarning, match="fitted already; copies .* FrozenEstimator"):
        table = skgrav.benchmark(fitted, **FEW).accuracy
    assert figures(table) == figures(skgrav.benchmark(Ridge(), **FEW).accuracy)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"inverter": Ridge}, TypeError, "'inverter' is the class Ridge; give an instance"),
        ({"inverter": StandardScaler()}, TypeError, "'inverter' is StandardScaler.* no `predict`"),
        ({"tables": "speed"}, ValueError, "'tables' is 'speed'; it must be one or some of"),
        ({"tables": ()}, ValueError, "'tables'"),
        ({"noise_levels": (-0.1,)}, ValueError, "'noise_levels'"),
        ({"noise_levels": (0.1, 0.1)}, ValueError, "'noise_levels'"),
        ({"noise_levels": None}, TypeError, "'noise_levels' is None"),
        ({"held_out": "granite"}, ValueError, "'held_out' is 'granite'.*flat_layers"),
        ({"n_train": 0}, ValueError, "n_train"),
        ({"n_draws": 1}, ValueError, "n_draws"),
        ({"n_volumes": (10, 10)}, ValueError, "'n_volumes'"),
        ({"mesh": 50}, TypeError, "'mesh' is 50; it must be a Mesh"),
    ],
)
def test_bad_arguments_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        skgrav.benchmark(**{"inverter": Ridge(), **arguments})


def test_text_markdown_html_and_frame_have_the_same_figures():
    result = skgrav.benchmark(
        ConformalInverter(Ridge()), tables=SECTIONS, **SIZES | {"n_train": 300}
    )
    error = f"{result.accuracy.records[0]['error']:.4f}"
    assert all(error in text for text in (str(result), result.to_markdown(), result._repr_html_()))
    frame = result.to_frame()
    assert len(frame) == len(result.accuracy.records) + len(result.calibration.records)
    assert frame["error"][0] == result.accuracy.to_frame()["error"][0]
    assert "records" not in repr(result)


def test_progress_is_printed_on_demand(capsys):
    skgrav.benchmark(Ridge(), **FEW)
    assert capsys.readouterr().out == ""
    skgrav.benchmark(Ridge(), verbose=True, **FEW)
    assert "accuracy: Ridge, noise of 1 %\n" in capsys.readouterr().out


def small_volumes(subset="train"):
    """Give few small volumes in the form of those of Huang et al. (2021)."""
    mesh = Mesh.regular((3, 4, 4), 50.0)
    operator = skgrav.ForwardOperator(mesh, Survey.grid(mesh, height=0.1)).fit()
    n = {"train": 40, "validation": 6, "regular": 20}[subset]
    bodies = np.random.default_rng(n).random((n, mesh.n_cells)) < 0.2
    families = np.repeat(_public.FAMILIES, 2) if subset == "regular" else ["random walk"] * n
    rho = 1000.0 * bodies
    return Bunch(
        data=operator.transform(rho),
        density=lambda rows: rho[rows],
        family=np.array(families),
        operator=operator,
    )


def small_problem():
    """Give a block below a few stations."""
    mesh = Mesh.regular((4, 6, 6), 10.0)
    rho = np.zeros(mesh.shape)
    rho[1:3, 2:4, 2:4] = 500.0
    survey = Survey(Survey.grid(mesh, height=5.0).stations, "z", uncertainty=1e-3)
    g = skgrav.ForwardOperator(mesh, survey).fit().transform(rho.reshape(1, -1))[0]
    return _bodies.Problem(mesh, survey, g, rho.ravel(), (0.0, 500.0))


@pytest.fixture
def small_public(monkeypatch):
    monkeypatch.setattr(_public, "fetch_huang2021", small_volumes)
    monkeypatch.setattr(_public, "PROBLEMS", {"a block": small_problem})
    monkeypatch.setattr(_public, "published", lambda: {"zero": np.zeros(4 * 36)})


PUBLIC = {"tables": "public", "n_volumes": (40, 6, 2)}


def test_learned_volumes_stand_beside_published_ones(small_public):
    table = skgrav.benchmark(Ridge(1e-6), **PUBLIC).public
    methods = {record["method"] for record in table.records}
    assert {"Ridge", "mean model", "GraviGNN, as published"} <= methods
    own = [r for r in table.records if r["method"] == "Ridge"]
    assert [r["part"] for r in own] == ["validation", *_public.FAMILIES] * 2
    assert [r["noise"] for r in own] == [0.0] * 11 + [0.05] * 11
    mean = np.mean([r["error"] for r in own[1:7]])
    assert ("sparse bodies, I to VI", "Ridge", f"{mean:.3f}") in [row[:3] for row in table.rows]
    assert "is trained on densities" in table.notes[-1]
    assert "40 volumes of training" in table.notes[-2]


def test_methods_of_one_survey_are_judged_by_their_bodies(small_public):
    inverter = TikhonovInverter(order=0, noise_level=0.3)
    table = skgrav.benchmark(inverter, **PUBLIC).public
    problem = small_problem()
    own, smooth, zero = [r for r in table.records if r["problem"] == "a block"]
    operator = problem.operator()
    told = TikhonovInverter(order=0, operator=operator).fit(problem.g[None])
    expected = measures(problem, operator, told.predict(problem.g[None])[0])
    assert own["error"] == pytest.approx(expected["error"])
    assert own["mass"] == pytest.approx(expected["mass"])
    assert max(own["error"], smooth["error"]) < zero["error"] == 1.0
    assert zero["method"] == "zero"


def test_estimators_that_need_densities_are_not_judged_on_one_survey(small_public):
    table = skgrav.benchmark(AnalogueInverter(3), **PUBLIC, references=False).public
    assert {r["problem"] for r in table.records} == {"sparse bodies"}
    assert "cannot be fitted to data alone (fit to one survey: " in table.notes[-1]


def test_frozen_estimators_are_judged_where_sizes_agree(small_public):
    options = PUBLIC | SIZES | {"tables": ("accuracy", "public"), "references": False}
    result = skgrav.benchmark(frozen(Ridge()), **options)
    assert result.accuracy.records[0]["error"] > 0
    assert result.public.records == ()
    assert "Ridge is fitted to 36 data, and there are 16 here: it is not" in str(result)


def test_missing_public_data_are_one_warning_and_a_note(monkeypatch):
    def absent(*arguments):
        raise ConnectionError("Cannot download it.")

    monkeypatch.setattr(_public, "fetch_huang2021", absent)
    monkeypatch.setattr(_public, "PROBLEMS", {"a block": absent})
    options = SIZES | {"tables": ("accuracy", "public"), "references": False}
    with pytest.warns(UserWarning, match="SKGRAV_DATA") as caught:
        result = skgrav.benchmark(TikhonovInverter(), **options)
    assert len([w for w in caught if "SKGRAV_DATA" in str(w.message)]) == 1
    assert result.accuracy.records[0]["error"] > 0
    assert [note for note in result.public.notes if "Cannot download it." in note]


def test_measures_of_the_truth_are_perfect():
    problem = small_problem()
    found = measures(problem, problem.operator(), problem.rho)
    assert found["error"] == 0
    assert found["mass"] == found["Dice"] == (1.0,)
    assert found["centre off, m"] == (0.0,)
    assert found["largest, kg/m3"] == 500.0
    assert found["chi factor"] < 1e-2
