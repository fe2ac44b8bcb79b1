"""Reports of inversions: the page, its findings, and what it refuses."""

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import skgrav
from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CellValues,
    ConformalInverter,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    Pipeline,
    Refiner,
    ReliefInverter,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.noise._stated import trend_unit
from skgrav.reporting import _figures
from skgrav.reporting._case import case_of
from skgrav.reporting._document import Bullets, Paragraph, Picture, Table, to_html, to_markdown
from skgrav.reporting._figures import picture_of_interface, pictures_of_data
from skgrav.reporting._findings import CHECKS, findings_of
from skgrav.reporting._report import _density, _depths, _number

pytest.importorskip("matplotlib")

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Check that tags are closed in order, and collect them with their text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def without_date(text):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text)


class Zero(BaseEstimator):
    """Be a user's own inverter with nothing but fit and predict, which warns."""

    def __init__(self, n_cells=1):
        self.n_cells = n_cells

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        import warnings

        warnings.warn("zero is a guess <b>", stacklevel=2)
        return np.zeros((len(X), self.n_cells))


@pytest.fixture(scope="module")
def profile():
    """Give a padded profile over a body, in mGal, with a level."""
    x = np.arange(0.0, 2001.0, 100.0)
    survey = Survey(np.column_stack([np.full(21, -1.0), x]), "z", uncertainty=0.05, trend=0)
    mesh = Mesh.for_survey(survey, depth=800.0)
    centers = mesh.cell_centers
    rho = 300.0 * ((np.abs(centers[:, 1] - 1000) < 200) & (np.abs(centers[:, 0] - 300) < 150))
    operator = ForwardOperator(mesh, survey).fit()
    noise = 0.05 * np.random.default_rng(0).normal(size=21)
    return operator, operator.transform(rho[None]) + 4.0 + noise


@pytest.fixture(scope="module")
def smooth(profile):
    operator, g = profile
    return TikhonovInverter(order=1, operator=operator).fit(g)


@pytest.fixture(scope="module")
def sections():
    return make_gravity_dataset(60, mesh=Mesh.square(8), noise_level=0.01, random_state=0)


def found(report):
    return " ".join(finding.what for finding in report.findings)


def checked(inverter, X, **changes):
    """Give the findings of a case with changes."""
    options = {
        "sample": 0,
        "noise_level": None,
        "operator": None,
        "estimate": None,
        "uncertainty": changes.pop("uncertainty", False),
        "n_draws": 0,
        "random_state": 0,
    }
    case = case_of(inverter, X, **options)
    return [*CHECKS[changes.pop("check")](replace(case, **changes))]


def report_text(inverter, X, **options):
    return skgrav.report(
        inverter, X, **{"uncertainty": "noise_level" in options} | options
    ).markdown


def clear_checks(inverter, X, **options):
    text = report_text(inverter, X, **options)
    (names,) = re.findall(r"Checked without a finding: (.*)\.", text)
    return {*names.split(", ")}


def investigated(inverter, X, index):
    case = case_of(
        inverter,
        X,
        sample=0,
        noise_level=None,
        operator=None,
        estimate=None,
        uncertainty=False,
        n_draws=0,
        random_state=0,
    )
    return replace(case, investigation=index)


# The page


def test_page_is_valid_and_needs_nothing_else(profile, smooth):
    report = skgrav.report(smooth, profile[1], title="A <line> & more", notes={"a|<b>": "*c*"})
    page = Page(report.html)
    assert page.tags.count("h1") == 1
    assert {"html", "head", "body", "title", "style"} <= set(page.tags)
    assert len(page.images) == 4  # data, density, draws, alpha
    for image in page.images:
        assert image["alt"]
        assert image["src"].startswith("data:image/png;base64,")
    assert not re.search(r"(src|href)=\"(?!data:)", report.html)
    assert "http" not in report.html
    assert "viewport" in report.html
    assert "@media print" in report.html
    assert "prefers-color-scheme: dark" in report.html
    text = " ".join(page.texts)
    assert "A <line> & more" in text
    for said in ("chi factor", "neighbours' correlation", "Provenance", "a|<b>", "*c*", "gz"):
        assert said in text
    assert re.search(r"gz 4\.\d+ ± ", text)
    assert report.markdown.startswith("# A \\<line\\> & more\n")
    assert r"| a\|\<b\> | \*c\* |" in report.markdown
    names = set(re.findall(r"!\[[^\]]*\]\[([\w-]+)\]", report.markdown))
    assert len(names) == 4
    assert names == set(re.findall(r"^\[([\w-]+)\]: data:", report.markdown, flags=re.MULTILINE))


def test_equal_input_gives_an_equal_report(profile, smooth):
    first, again = (skgrav.report(smooth, profile[1], n_draws=1) for _ in range(2))
    assert without_date(first.html) == without_date(again.html)
    assert without_date(first.markdown) == without_date(again.markdown)
    other = skgrav.report(smooth, profile[1] + 0.01, uncertainty=False)
    assert first.provenance["input_sha256"] != other.provenance["input_sha256"]
    assert json.loads(first.provenance["options"])["order"] == "1"
    assert json.loads(first.provenance["versions"])["skgrav"] == skgrav.__version__


def test_pyplot_is_left_alone(profile, smooth):
    plt = pytest.importorskip("matplotlib.pyplot")
    before = plt.get_fignums()
    skgrav.report(smooth, profile[1], uncertainty=False)
    assert plt.get_fignums() == before


def test_report_is_saved_by_its_suffix_and_shown_in_a_frame(profile, smooth, tmp_path):
    report = skgrav.report(smooth, profile[1], uncertainty=False)
    for name, text in (("a.html", report.html), ("a.md", report.markdown)):
        report.save(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match=r"'path' is 'a.pdf'; its name must end in .html or .md"):
        report.save("a.pdf")
    frame = Page(report._repr_html_())
    assert frame.tags == ["iframe"]


def test_blocks_are_escaped_in_both_languages():
    blocks = [Paragraph("a\n<i>&*_"), Bullets(["[x](y)"]), Table(("", "|"), [("problem", "`")])]
    page = Page(to_html("t", blocks))
    assert "i" not in page.tags
    text = to_markdown("t", blocks)
    assert r"a \<i\>&\*\_" in text
    assert r"- \[x\](y)" in text
    assert r"|  | \| |" in text


def test_each_picture_has_its_own_reference_in_markdown():
    text = "Data, fit and residual, profile of operator"
    blocks = [Picture(png, f"{text}{n}", "") for n, png in ((0, b"a"), (1, b"b"), (1, b"c"))]
    markdown = to_markdown("t", blocks)
    uris = dict(re.findall(r"^\[([\w-]+)\]: (.*)$", markdown, flags=re.MULTILINE))
    names = re.findall(r"!\[[^\]]*\]\[([\w-]+)\]", markdown)
    assert [uris[name] for name in names] == [block.uri for block in blocks]


# What it works for


def test_volume_without_a_matrix_with_air_over_a_hill():
    mesh = Mesh.for_survey(
        Survey.grid(Mesh.regular((2, 5, 6), 100.0), height=1.0, components="z"),
        lambda y, x: -30.0 * np.exp(-(x**2 + y**2) / 1e5),
        depth=300.0,
    )
    stations = np.array([[-60.0, y, x] for y in (-150, 0, 150) for x in (-200, -50, 50, 200)])
    operator = ForwardOperator(mesh, Survey(stations, "z", uncertainty=0.01), method="rows").fit()
    g = operator.transform(100.0 * (mesh.cell_centers[:, 0] < 120)[None])
    report = skgrav.report(TikhonovInverter(operator=operator).fit(g), g, uncertainty=False)
    page = Page(report.html)
    assert [image["alt"][:6] for image in page.images] == ["Data, ", "Slice ", "Slices"]
    assert "active" in report.markdown


def test_joint_data_and_gradients_have_statistics_of_their_own(profile):
    operator, _ = profile
    survey = operator.survey_
    both = Survey(survey.stations, ("z", "zz"), uncertainty=np.repeat([0.05, 3.0], 21))
    log = CellValues(operator.mesh_, [60, 120, 200], uncertainty=20.0)
    joint = JointOperator([ForwardOperator(operator.mesh_, both), log]).fit()
    g = joint.transform(np.where(np.arange(joint.n_cells_) % 7, 0.0, 100.0)[None])
    report = skgrav.report(TikhonovInverter(operator=joint).fit(g), g, uncertainty=False)
    text = " ".join(Page(report.html).texts)
    for name in ("gz (mGal)", "gzz (E)", "density (kg/m3)"):
        assert name in text


def test_methods_that_say_how_sure_they_are(sections):
    X, y = sections.data, sections.target
    analogue = AnalogueInverter(20, operator=sections.operator, noise_level=0.01)
    report = skgrav.report(analogue.fit(X[1:], y[1:]), X[:1], n_draws=3)
    alts = [image["alt"] for image in Page(report.html).images]
    assert alts[-2:] == ["Quantiles of the density", "Draws from the posterior"]
    linear = BayesLinearInverter(0.01, operator=sections.operator).fit(X, y)
    text = skgrav.report(linear, X).markdown
    assert "Not available:" in text  # of the standard deviation, why not


def test_pipeline_and_rows(sections):
    X, y = sections.data, sections.target
    linear = BayesLinearInverter(0.01, operator=sections.operator)
    both = Pipeline([linear, Refiner("cgls", noise_level=0.01, operator=sections.operator)])
    both.fit(X, y)
    one = skgrav.report(both, X, sample=2, uncertainty=False)
    assert one.title == "Inversion by Pipeline of BayesLinearInverter, Refiner"
    alone = skgrav.report(both, X[2:3], uncertainty=False)
    assert one.provenance["input_sha256"] == alone.provenance["input_sha256"]


def test_own_inverter_and_operator_without_a_mesh(sections):
    operator = MatrixOperator(np.eye(4)).fit(np.ones((2, 4)))
    inverter = Zero(4).fit(None)
    g = np.array([[1.0, 2.0, 3.0, 4.0]])
    report = skgrav.report(inverter, g, operator=operator, warnings=["before"])
    assert report.warnings == ("before", "zero is a guess <b>")
    text = " ".join(Page(report.html).texts)
    assert "zero is a guess <b>" in text
    assert "no mesh" in text
    assert "noise of the data is not known" in found(report)
    with pytest.raises(ValueError, match="'operator' is None, and 'inverter' has no fitted one"):
        skgrav.report(inverter, g)


def test_own_class_that_is_no_estimator(profile):
    class Mean:
        def predict(self, X):
            return np.full((len(X), profile[0].n_cells_), 1.0)

    report = skgrav.report(Mean(), profile[1], operator=profile[0])
    assert report.title == "Inversion by Mean"
    assert "misses the data" in found(report)


class Trained(Zero):
    """Be an inverter that knows its training data."""

    def applicability(self, X, *, noise_level=None):
        return np.full(len(X), 0.004)


def test_data_unlike_the_training_data_are_a_problem(profile):
    operator, g = profile
    trained = Trained(operator.n_cells_).fit(g)
    report = skgrav.report(trained, g, operator=operator)
    (finding,) = [f for f in report.findings if "trained on" in f.what]
    assert (finding.severity, finding.value[:6]) == ("problem", "0.4 % ")
    assert "0.4 % are as unusual" in report.markdown


def test_trend_of_estimated_densities_has_no_error_bar_that_holds_for_true_ones(profile):
    operator, g = profile
    mean = Zero(operator.n_cells_).fit(g)
    assert re.search(r"mean station: gz [\d.-]+ mGal\.", report_text(mean, g, operator=operator))
    sparse = SparseInverter(operator=operator).fit(g)
    assert np.isnan(sparse.invert(g).trend.std).all()
    assert "±" not in report_text(sparse, g)


@pytest.mark.parametrize(
    "make",
    [
        lambda operator: BayesLinearInverter(0.0, operator=operator),
        lambda operator: TikhonovInverter(noise_level=0.0, operator=operator),
        lambda operator: AnalogueInverter(20, noise_level=0.0, operator=operator),
        lambda operator: Refiner("cgls", init="zero", noise_level=0.0, operator=operator),
    ],
)
def test_data_without_noise_are_reported_as_exact(make):
    data = make_gravity_dataset(60, mesh=Mesh.square(8), random_state=0)
    inverter = make(data.operator).fit(data.data, data.target)
    report = skgrav.report(inverter, data.data, n_draws=1)
    assert report.warnings == ()
    assert "The data are taken as exact." in found(report)
    assert "misses" not in found(report)
    assert "Chi factor" not in report.markdown.splitlines()[2]
    assert "correlation and trend" not in report.markdown
    zero = skgrav.report(Zero(64).fit(None), data.data, operator=data.operator, noise_level=0.0)
    assert "The estimate misses the data." in found(zero)


def test_conformal_inverter_is_known_by_what_it_calibrates():
    data = make_gravity_dataset(3000, mesh=Mesh.square(4), noise_level=0.01, random_state=0)
    linear = BayesLinearInverter(operator=data.operator)
    inverter = ConformalInverter(linear, noise_level=0.01, random_state=0)
    report = skgrav.report(inverter.fit(data.data, data.target), data.data, uncertainty=False)
    assert report.title == "Inversion by ConformalInverter of BayesLinearInverter"
    assert re.search(r"Checked .* likeness to the training data", report.markdown)
    assert "not known" not in found(report)


def test_interface_is_reported_with_its_contrast():
    mesh = Mesh.regular((4, 5, 6), 1000.0)
    survey = Survey(Survey.grid(mesh, height=1.0, components="z").stations, "z", uncertainty=0.1)
    g = -9.0 * np.exp(-np.sum(survey.stations[:, 1:] ** 2, axis=1) / 4e6)[None]
    inverter = ReliefInverter(-450.0, operator=ForwardOperator(mesh, survey)).fit(g)
    text = report_text(inverter, g)
    assert "| contrast | -450.0 |" in text
    assert re.search(r"Density -\d+.\d to 0 kg/m³\.", text)
    middle = np.median(inverter.invert(g).depth)
    assert f"Interface at a depth of {middle:.4g} m in the median of the columns" in text
    assert "Map of the estimated interface" in text


def drawn(monkeypatch, make, inverter, g):
    """Give the figures of pictures."""
    figures = []
    monkeypatch.setattr(_figures, "_picture", lambda figure, *texts: figures.append(figure))
    made = make(investigated(inverter, g, None))
    assert made is None or len(list(made)) == len(figures)
    return figures


def test_map_of_an_interface_has_the_elevations_of_the_text(monkeypatch):
    edges = [np.arange(-n * 500.0, n * 500.0 + 1, 1000.0) for n in (4, 5, 6)]
    survey = Survey(Survey.grid(Mesh(edges), height=1.0).stations, "z", uncertainty=0.1)
    g = -9.0 * np.exp(-np.sum(survey.stations[:, 1:] ** 2, axis=1) / 4e6)[None]
    inverter = ReliefInverter(-450.0, operator=ForwardOperator(Mesh(edges), survey)).fit(g)
    (figure,) = drawn(monkeypatch, picture_of_interface, inverter, g)
    depth_map, _, bar, _ = figure.axes
    assert bar.get_ylabel() == "elevation (m)"
    shown = depth_map.collections[0].get_array()
    np.testing.assert_allclose(np.ravel(shown), -inverter.invert(g).depth[0])
    case = investigated(inverter, g, None)
    assert _depths(case, np.zeros(3)).startswith("at an elevation of 0 m in the median")


@pytest.mark.parametrize(("top", "name", "sign"), [(0, "depth", 1), (-100, "elevation", -1)])
def test_densities_of_a_borehole_are_drawn_against_depth(monkeypatch, top, name, sign):
    mesh = Mesh([np.arange(top, top + 900, 100.0), np.arange(-500, 501, 100.0)])
    log, g = CellValues.along(mesh, [60, 420], values=[100, 200], at=0.0, uncertainty=20.0)
    inverter = TikhonovInverter(operator=JointOperator([log])).fit(g[None])
    (figure,) = drawn(monkeypatch, pictures_of_data, inverter, g[None])
    panel = figure.axes[0]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("density (kg/m³)", f"{name} (m)")
    np.testing.assert_allclose(panel.lines[0].get_xydata(), [[100, sign * 50], [200, sign * 450]])
    assert panel.yaxis_inverted() == (sign > 0)


def test_caption_of_a_survey_without_a_trend_names_none(profile):
    operator, g = profile
    plain = ForwardOperator(operator.mesh_, Survey(operator.survey_.stations, "z", 0.05))
    joint = JointOperator([operator, plain]).fit()
    X = np.hstack([g, g - 4.0])
    text = report_text(TikhonovInverter(operator=joint).fit(X), X)
    assert text.count("the gravity of the estimated density, with the trend, and") == 1
    assert text.count("the gravity of the estimated density, and") == 1


def test_quantiles_of_a_network_say_whether_they_are_calibrated(sections):
    class Network(Zero):
        is_calibrated = False

        def predict_quantiles(self, X, quantiles):
            return np.zeros((len(X), self.n_cells, len(quantiles)))

    network = Network(64).fit(None)
    options = {"operator": sections.operator, "noise_level": 0.01}
    assert "outside the interval of 5 to 95 % if the network" in report_text(
        network, sections.data, **options
    )
    network.is_calibrated = True
    assert "5 to 95 %: the network was calibrated" in report_text(network, sections.data, **options)


def test_missing_matplotlib_names_the_extra(profile, smooth, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"report needs matplotlib.*'skgrav\[plot\]'"):
        skgrav.report(smooth, profile[1], uncertainty=False)


def test_estimate_that_is_there_is_not_made_again(profile, smooth, monkeypatch):
    result = smooth.invert(profile[1])
    first = skgrav.report(smooth, profile[1], uncertainty=False)
    monkeypatch.setattr(TikhonovInverter, "invert", None)
    given = skgrav.report(smooth, profile[1], estimate=result, uncertainty=False)
    assert without_date(first.html) == without_date(given.html)


def test_wrong_arguments_are_refused(profile, smooth):
    operator, g = profile
    with pytest.raises(NotFittedError):
        skgrav.report(TikhonovInverter(operator=operator), g)
    with pytest.raises(ValueError, match="'X' has 5 columns, but the operator has 21 data"):
        skgrav.report(smooth, g[:, :5])
    with pytest.raises(ValueError, match="'sample' is 1, but 'X' has 1 rows"):
        skgrav.report(smooth, g, sample=1)
    with pytest.raises(ValueError, match="'X' contains NaN or infinity"):
        skgrav.report(smooth, np.where(g > 5, np.nan, g))
    with pytest.raises(ValueError, match="'estimate' has 3 densities, but the operator has"):
        skgrav.report(smooth, g, estimate=np.ones(3))
    with pytest.raises(TypeError, match="which has no `predict`"):
        skgrav.report(operator, g)
    with pytest.raises(ValueError, match="n_draws"):
        skgrav.report(smooth, g, n_draws=-1)
    with pytest.raises(TypeError, match=r"'warnings' is 'abc'; give a list of texts"):
        skgrav.report(smooth, g, warnings="abc")
    with pytest.raises(TypeError, match="'path' is 3; give the name of a file"):
        skgrav.report(smooth, g, uncertainty=False).save(3)
    array = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match="'X' is a dask array, of which one row is reported"):
        skgrav.report(smooth, array.from_array(g))


# Findings


def test_a_good_inversion_has_no_caution(profile, smooth):
    report = skgrav.report(smooth, profile[1])
    assert [f.severity for f in report.findings] == ["note"]  # of the free level
    assert "Checked without a finding" in report.markdown


@pytest.mark.parametrize(
    ("check", "changes", "severity", "text"),
    [
        ("fit of the data", {"rho": 0.0}, "problem", "misses the data"),
        ("densities of rocks", {"rho": 9e3}, "problem", "range of rocks"),
        ("likeness to the training data", {"applicability": 0.001}, "problem", "unlike those"),
        ("likeness to the training data", {"applicability": 0.03}, "caution", "unlike those"),
        ("likeness to the training data", {"applicability": 0.5}, None, ""),
        ("noise", {"sigma": None}, "caution", "not known"),
        ("noise", {"sigma": 9.0}, "caution", "little but noise"),
        ("noise", {}, None, ""),
        ("depth of investigation", {"investigation": 1.0}, "note", "densities are relative"),
        ("padding", {}, None, ""),
        ("places of the stations", {}, None, ""),
    ],
)
def test_each_check_finds_what_it_is_for(profile, smooth, check, changes, severity, text):
    operator, g = profile
    n = {"rho": operator.n_cells_, "investigation": operator.n_cells_, "sigma": g.size}
    changes = {k: np.full(n[k], v) if k in n and v is not None else v for k, v in changes.items()}
    if "rho" in changes:
        changes["predicted"] = operator.transform(changes["rho"][None])[0]
    findings = checked(smooth, g, check=check, **changes)
    assert [f.severity for f in findings] == ([severity] if severity else [])
    assert all(text in f.what and f.value and f.remedy for f in findings)


def test_noise_that_is_fitted_and_outliers_are_found(profile):
    operator, g = profile
    exact = TikhonovInverter(1e-9, operator=operator).fit(g)
    (finding,) = checked(exact, g, check="fit of the data")
    assert "noise was fitted" in finding.what
    spike = g + 2.0 * (np.arange(21) == 7)
    smooth = TikhonovInverter(1e3, order=1, operator=operator).fit(spike)
    texts = [f.what + f.value for f in checked(smooth, spike, check="large residuals")]
    assert any("stands out" in text and "station 7, x = 700 m" in text for text in texts)


def test_datum_that_the_estimate_fits_but_the_others_do_not_predict_is_found(profile):
    operator, g = profile
    inverter = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator).fit(g)
    options = {"check": "data that the others do not predict"}
    assert not checked(inverter, g, uncertainty=True, **options)
    spike = g + 5.0 * (np.arange(21) == 7)
    assert not checked(inverter, spike, check="large residuals")
    (finding,) = checked(inverter, spike, uncertainty=True, **options)
    assert "of gz is not what the others predict" in finding.what
    assert "station 7, x = 700 m" in finding.value
    assert not checked(inverter, spike, **options)


def test_usual_geology_predicts_its_data():
    # It is less smooth than the prior: of 200 profiles each of 10, 20 and 50 stations with noise of
    # 0.5, 2 and 5 %, 0 to 1.5 % had a datum that is not predicted.
    mesh = Mesh.regular((20, 40), (50.0, 100.0))
    survey = Survey.line(mesh, n_stations=20, height=1.0, components="z")
    rho = make_density_models(60, mesh=mesh, density_range=(-300, 300), random_state=0)
    clean = ForwardOperator(mesh, survey).fit().transform(rho)
    sigma = 0.02 * np.sqrt(np.mean(clean**2))
    g = clean + sigma * np.random.default_rng(0).normal(size=clean.shape)
    operator = ForwardOperator(mesh, Survey(survey.stations, "z", sigma))
    inverter = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator).fit(g)
    spike = g + 2 * np.sqrt(np.mean(g**2, axis=1))[:, None] * (np.arange(20) == 7)
    limit = np.sqrt(0.8 * 20)
    told = np.abs(inverter.leave_one_out(g)).max(axis=1) > limit
    assert told.mean() < 0.05
    found = np.abs(inverter.leave_one_out(spike))
    assert (found.argmax(axis=1) == 7).all()
    assert (found[:, 7] > limit).all()


def test_density_in_the_padding_and_mass_that_is_not_seen_are_found(profile, smooth):
    operator, g = profile
    x = operator.mesh_.cell_centers[:, 1]
    rho = np.where(x < -500, 500.0, 1.0 * (np.abs(x - 1000) < 100))
    (finding,) = checked(smooth, g, check="padding", rho=rho)
    assert "padding" in finding.what
    deep = operator.mesh_.cell_centers[:, 0] > 300
    index = np.where(deep, 0.9, 0.1)
    (finding,) = checked(
        smooth, g, check="depth of investigation", rho=1.0 * deep, investigation=index
    )
    assert finding.value == "100 %: 100 % below the depth of investigation, 0 % above"
    rho = 1.0 - deep
    assert not checked(smooth, g, check="depth of investigation", rho=rho, investigation=index)


def test_depth_of_investigation_below_the_mesh_is_not_reached(profile, smooth, monkeypatch):
    operator, g = profile
    mesh = operator.mesh_
    shallow = mesh.cell_centers[:, 0] < 300
    index = np.where(shallow, 0.9, 0.1)
    case = investigated(smooth, g, index)
    (finding,) = CHECKS["depth of investigation"](replace(case, rho=1.0 * shallow))
    assert finding.value == "100 %: 0 % below the depth of investigation, 100 % above"
    assert "above that depth" not in finding.remedy
    (text,) = [b.text for b in _density(case) if isinstance(b, Paragraph)]
    assert text.endswith("outweighs the data: not reached within the mesh.")
    half = np.where(mesh.cell_centers[:, 1] < 1000, index, 1.0 - index)
    (text,) = [b.text for b in _density(investigated(smooth, g, half)) if isinstance(b, Paragraph)]
    assert re.search(r"in the median of the columns.*; not reached within the mesh in \d+ of", text)


def test_bounds_within_other_estimators_are_checked(profile):
    operator, g = profile
    bound = TikhonovInverter(bounds=(0.0, 10.0), operator=operator)
    search = GridSearchCV(bound, {"order": [0]}, cv=[([0], [0])], scoring=lambda *a: 0.0)
    for inverter in (Pipeline([bound]).fit(g), search.fit(g)):
        report = skgrav.report(inverter, g, uncertainty=False)
        assert re.search(r"\| bounds of TikhonovInverter \| \(0.0, 10.0\)", report.markdown)
        assert "Many cells are at a bound" in found(report)
        assert "choice of alpha" not in report.markdown


def test_checks_that_did_not_run_are_not_listed(sections):
    operator = MatrixOperator(np.eye(20)).fit(np.ones((2, 20)))
    inverter = Zero(20).fit(None)
    clear = clear_checks(inverter, np.random.default_rng(0).normal(size=(1, 20)), operator=operator)
    assert clear == {"large residuals"}
    linear = BayesLinearInverter(0.01, operator=sections.operator)
    clear = clear_checks(linear.fit(sections.data, sections.target), sections.data)
    assert "densities of rocks" not in clear  # of normalized units
    assert "correlation and trend of residuals" in clear


def test_the_least_structure_that_fits_all_parts_is_not_fitted_noise(profile, smooth):
    operator, g = profile
    joint = JointOperator([operator, CellValues(operator.mesh_, [60, 120], uncertainty=20.0)]).fit()
    X = np.hstack([g, np.zeros((1, 2))])
    inverter = TikhonovInverter(order=1, operator=joint).fit(X)
    result = inverter.invert(X)
    exact = TikhonovInverter(1e-9, order=1, operator=joint).fit(X)
    fitted = exact.invert(X)
    changes = {"rho": fitted.rho[0], "predicted": joint.transform(fitted.rho)[0]}
    (finding,) = checked(exact, X, check="fit of the data", result=fitted, **changes)
    assert "noise was fitted" in finding.what
    assert not checked(inverter, X, check="fit of the data", result=result, **changes)


def test_data_below_their_noise_are_not_fitted_noise(profile):
    operator, _ = profile
    flat = 4.0 + 0.01 * np.sin(np.arange(21.0))[None]
    report = skgrav.report(TikhonovInverter(operator=operator).fit(flat), flat, uncertainty=False)
    assert "alpha is infinite" in found(report)
    assert "noise was fitted" not in found(report)


def test_repeated_components_have_the_names_of_their_operators(profile):
    operator, g = profile
    X = np.hstack([g, g])
    joint = JointOperator([operator, operator]).fit()
    text = report_text(TikhonovInverter(operator=joint).fit(X), X)
    assert re.search(
        r"operator0 gz 4\.\d+ ± [\d.]+ mGal; operator1 gz 4\.\d+ ± [\d.]+ mGal\.", text
    )
    assert "operator0 gz (mGal)" in text
    assert "operator1 gz (mGal)" in text
    assert "profile of operator1 gz" in text


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("gz", "mGal"),
        ("gz x", "mGal/m"),
        ("gzz y", "E/m"),
        ("gx x^2", "mGal/m2"),
        ("gz y x^2", "mGal/m3"),
        ("operator1 operator0 gz x", "mGal/m"),
        ("operator0 trend1", ""),
        ("trend0", ""),
    ],
)
def test_unit_of_a_trend_follows_from_its_name(name, unit):
    assert trend_unit(name) == unit
    assert trend_unit("gz x", "normalized") == "normalized/m"


def test_stations_in_cells_and_beside_the_mesh_are_found():
    mesh = Mesh.regular((4, 6), 100.0)
    stations = np.column_stack([np.r_[np.full(9, -1.0), 150.0], np.linspace(-500, 250, 10)])
    with pytest.warns(skgrav.operators.PhysicsWarning):
        operator = ForwardOperator(mesh, Survey(stations, "z", uncertainty=0.1)).fit()
    g = operator.transform(np.full((1, 24), 100.0))
    inverter = TikhonovInverter(operator=operator).fit(g)
    beside, inside = checked(inverter, g, check="places of the stations")
    assert beside.value == "3 of 10 stations"
    assert inside.value == "1 of 10 stations"


def test_unreached_targets_bounds_and_ends_of_alpha_are_found(profile):
    operator, g = profile
    bound = TikhonovInverter(bounds=(0.0, 10.0), operator=operator).fit(g)
    report = skgrav.report(bound, g, uncertainty=False)
    assert report.findings[0].severity == "problem"
    assert "does not fit the data as requested" in report.findings[0].what
    assert report.warnings  # the same in the words of the inverter
    flat = 4.0 + 0.01 * np.sin(np.arange(21.0))[None]
    report = skgrav.report(TikhonovInverter(operator=operator).fit(flat), flat)
    assert "alpha is infinite" in found(report)


def test_components_that_are_fitted_unequally_are_found():
    x = np.linspace(0, 6000, 61)
    stations = np.column_stack([np.full(61, -1.0), x])
    truth = ForwardOperator(Mesh([[300, 900], [2700, 3300]]), Survey(stations, ("z", "zz"))).fit()
    noise = np.repeat([0.05, 0.5], 61)
    g = truth.transform([[400.0]]) + noise * np.random.default_rng(0).normal(size=122)

    def fit(uncertainty):
        survey = Survey(stations, ("z", "zz"), uncertainty=uncertainty, trend=0)
        operator = ForwardOperator(Mesh.for_survey(survey), survey)
        inverter = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator)
        return inverter.fit(g)

    (finding,) = checked(fit(np.full(122, 0.4)), g, check="fit of the data")
    assert "gz is fitted better than its noise allows and gzz is missed" in finding.what
    assert re.match(r"chi factor 0\.0\d+ of gz, 1\.9\d* of gzz;", finding.value)
    assert "the noise of gz and of gzz relative to each other" in finding.remedy
    assert not checked(fit(noise), g, check="fit of the data")
    # Where all are missed, that is said alone.
    (finding,) = checked(fit(np.full(122, 0.4)), 9 * g, check="fit of the data", predicted=g[0])
    assert finding.what == "The estimate misses the data."


def test_chi_factors_of_components_have_their_degrees_of_freedom(profile, smooth):
    case = investigated(smooth, profile[1], None)
    (r,) = case.residuals()
    assert r.chi_factor == pytest.approx(case.chi_factor)


def test_remedy_of_fitted_noise_is_of_the_method(profile):
    operator, g = profile
    rho = np.ones((1, operator.n_cells_))
    exact = {"check": "fit of the data", "predicted": g[0] - 4.0}
    for solver, remedy in (
        ("lgmres", "take Refiner('tikhonov')"),
        ("tikhonov", "take alpha='discrepancy' or a larger alpha"),
    ):
        refiner = Refiner(solver, init="zero", operator=operator).fit(operator.transform(rho), rho)
        (finding,) = checked(refiner, g, **exact)
        assert "noise was fitted" in finding.what
        assert remedy in finding.remedy
    case = replace(investigated(refiner, g, None), estimator=Zero(), predicted=g[0] - 4.0)
    (finding,) = CHECKS["fit of the data"](case)
    assert "fit an inverter with alpha='discrepancy'" in finding.remedy


@pytest.mark.parametrize(
    ("components", "trend", "cause"),
    [("z", 0, "A free level"), ("z", None, "Noise"), (("zz",), None, "Gradients")],
)
def test_cause_of_relative_densities_is_that_of_the_data(components, trend, cause):
    survey = Survey([[-1.0, x] for x in range(0, 900, 100)], components, 0.1, trend=trend)
    operator = ForwardOperator(Mesh.for_survey(survey), survey)
    g = np.sin(np.arange(9.0))[None]
    inverter = TikhonovInverter(operator=operator).fit(g)
    index = np.ones(inverter.operator_.n_cells_)
    (finding,) = checked(inverter, g, check="depth of investigation", investigation=index)
    assert f"values. {cause}" in finding.remedy


def test_an_infinite_alpha_is_the_cause_of_an_estimate_without_density(profile):
    survey = Survey(profile[0].survey_.stations, "z", uncertainty=0.05)
    operator = ForwardOperator(profile[0].mesh_, survey)
    flat = 0.01 * np.sin(np.arange(21.0))[None]
    report = skgrav.report(TikhonovInverter(operator=operator).fit(flat), flat)
    assert "alpha is infinite" in found(report)
    assert "densities are relative" not in found(report)
    assert "depth of investigation" not in report.markdown.split("Checked without")[1].split(".")[0]


def test_a_level_that_contrasts_explain_is_found(profile):
    free, g = profile
    survey = Survey(free.survey_.stations, "z", uncertainty=0.05)
    operator = ForwardOperator(free.mesh_, survey).fit()

    def levels(operator, g):
        report = skgrav.report(TikhonovInverter(operator=operator).fit(g), g, uncertainty=False)
        return [f for f in report.findings if "mean of the data is large" in f.what]

    (level,) = levels(operator, g - 50.0)
    assert level.value.startswith(f"mean {g.mean() - 50:.3g} mGal")
    assert "trend=0" in level.remedy
    assert not levels(operator, g - 4.0)
    assert not levels(free, g - 50.0)


def test_findings_are_sorted_and_clear_checks_are_named(profile, smooth):
    case = case_of(
        smooth,
        profile[1],
        sample=0,
        noise_level=None,
        operator=None,
        estimate=np.full(profile[0].n_cells_, 9e3),
        uncertainty=False,
        n_draws=0,
        random_state=0,
    )
    findings, clear = findings_of(case)
    ranks = [["problem", "caution", "note"].index(f.severity) for f in findings]
    assert ranks == sorted(ranks)
    assert len(ranks) >= 2
    assert "places of the stations" in clear
    assert not {"choice of alpha", "cells at bounds", "level of the data"} & {*clear}  # not run
    assert "likeness to the training data" not in clear  # not looked at


def test_numbers_are_never_negative_zeros():
    assert _number(-0.0) == "0"
