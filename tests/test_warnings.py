"""Warnings of inverters: where they point, and what no inverter passes over in silence."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
    report,
)

MESH = Mesh([np.linspace(0, 800, 6), np.linspace(-1000, 1000, 9)])
LINE = np.linspace(-1500, 1500, 31)
OPERATOR = ForwardOperator(
    MESH, Survey(np.column_stack([np.full(31, -1.0), LINE]), ("z",), 0.05)
).fit()
RHO = np.random.default_rng(0).uniform(0, 500, (40, MESH.n_cells))
G = OPERATOR.transform(RHO)
G = G + 0.05 * np.random.default_rng(1).standard_normal(G.shape)

LINEAR = BayesLinearInverter(operator=OPERATOR)
NESTED = {
    "a start": Refiner("cgls", init=LINEAR, operator=OPERATOR),
    "the start of a search": LatentInverter(PCA(10), init=LINEAR, operator=OPERATOR),
    "a step": make_pipeline(LINEAR, Refiner("cgls", operator=OPERATOR)),
    "the last step": make_pipeline(TikhonovInverter(operator=OPERATOR)),
}


@pytest.mark.parametrize("where", NESTED)
def test_warnings_point_at_the_line_of_the_user(where):
    inverter = NESTED[where].fit(G, RHO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inverter.predict(1e5 * G[:3])
    assert {warning.filename for warning in caught} == {__file__}


def test_scaler_in_a_pipeline_is_warned_of_at_the_line_of_the_user():
    pipeline = make_pipeline(StandardScaler(), TikhonovInverter(operator=OPERATOR))
    with pytest.warns(UserWarning, match="'X' is zero everywhere") as caught:
        pipeline.fit(G[:1])
    assert [warning.filename for warning in caught] == [__file__]


BAYES = BayesLinearInverter(operator=OPERATOR, store_covariance=True).fit(G, RHO)
CONSISTENT = {"max_epochs": 2, "data_consistency": True, "random_state": 0}
LEARNED = {
    "predict of BayesLinearInverter": BAYES.predict,
    "sample_y": BAYES.sample_y,
    "predict of LatentInverter": LatentInverter(PCA(10), operator=OPERATOR).fit(G, RHO).predict,
    "invert": LatentInverter(PCA(10), operator=OPERATOR).fit(G, RHO).invert,
    "predict of CNNInverter": CNNInverter(operator=OPERATOR, **CONSISTENT).fit(G, RHO).predict,
    "refine with a learned start": Refiner("bayes", init=LINEAR, operator=OPERATOR)
    .fit(G, RHO)
    .refine,
}


@pytest.mark.parametrize("method", LEARNED)
def test_densities_that_no_rock_has_are_warned_of_once_by_learned_methods(method):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LEARNED[method](1e5 * G[:3])
    text = "3 of 3 samples have densities that no rock has"
    assert sum(text in str(w.message) for w in caught) == 1
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize("density", [-2776.0, 4000.0])
@pytest.mark.parametrize(("side", "warns"), [(10.0, False), (100.0, True)])
def test_large_cells_are_neither_voids_nor_ore(density, side, warns):
    # A cavity or an ore body may fill a cell of 10 m, but not one of 100 m.
    mesh = Mesh.regular((3, 6), side)
    survey = Survey(np.column_stack([np.full(30, -1.0), np.linspace(-200, 200, 30)]), ("z",), 0.01)
    operator = ForwardOperator(mesh, survey).fit()
    g = operator.transform(np.full((1, mesh.n_cells), density))
    inverter = TikhonovInverter(operator=operator, reference=density).fit(g)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inverter.predict(g)
    assert ["no rock has" in str(w.message) for w in caught] == [True] * warns
    found = report(inverter, g).findings
    assert any("outside the range of rocks" in f.what for f in found) == warns


@pytest.mark.parametrize("inverter", [BayesLinearInverter(), CNNInverter(**CONSISTENT)])
@pytest.mark.filterwarnings("ignore:.* have data that no estimate within")  # is noise alone
def test_densities_far_from_the_training_densities_are_warned_of_in_any_unit(inverter):
    survey = Survey(OPERATOR.survey_.stations, ("z",), 0.015)
    operator = ForwardOperator(MESH, survey, units="normalized").fit()
    rho = np.random.default_rng(0).uniform(0, 12, (40, MESH.n_cells))
    g = operator.transform(rho)
    survey = Survey(survey.stations, ("z",), 0.015 * g.std())
    inverter.set_params(operator=ForwardOperator(MESH, survey, units="normalized")).fit(g, rho)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inverter.predict(g[:5])
    noise = np.random.default_rng(1).standard_normal(g.shape)
    with (
        pytest.warns(UserWarning, match="densities far from the training densities, "),
        pytest.warns(UserWarning, match="'uncertainty' of the survey|was not trained for"),
    ):
        inverter.predict((g + 50 * g.std() * noise)[:5])


@pytest.mark.parametrize(
    "inverter",
    [Refiner("cgls", init="zero", operator=OPERATOR), LatentInverter(PCA(10), operator=OPERATOR)],
)
def test_noise_is_not_taken_as_zero_where_it_cannot_be_estimated(inverter):
    inverter.fit(G, RHO)
    with pytest.raises(ValueError, match="'noise_level' is 'auto', but this method does not"):
        inverter.predict(G, noise_level="auto")


@pytest.mark.parametrize(
    "inverter",
    [
        TikhonovInverter(operator=OPERATOR),
        SparseInverter(operator=OPERATOR),
        BayesLinearInverter(operator=OPERATOR),
    ],
)
def test_fit_that_fails_leaves_an_inverter_that_is_not_fitted(inverter):
    with pytest.raises(ValueError, match="'operator' does not reproduce X from y"):
        inverter.fit(1e3 * G, RHO)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        inverter.predict(G)


TWICE = np.r_[LINE[:-1], LINE[3]]
INVERTERS = {
    "Tikhonov": TikhonovInverter(),
    "bounds": TikhonovInverter(bounds=(-500, 1000)),
    "Sparse": SparseInverter(),
    "Refiner": Refiner("lsmr", init="zero"),
}


@pytest.mark.parametrize("name", INVERTERS)
def test_different_data_at_repeated_stations_are_said_to_be_the_cause(name):
    survey = Survey(np.column_stack([np.full(31, -1.0), TWICE]), ("z",), 0.05)
    operator = ForwardOperator(MESH, survey).fit()
    g = operator.transform(RHO[:2])
    inverter = INVERTERS[name].set_params(operator=operator).fit(g, RHO[:2])
    wrong = g + np.r_[np.zeros(30), 3.0]
    with pytest.warns(ConvergenceWarning, match="^2 of 2 .* at repeated stations .* Average them"):
        inverter.predict(wrong)


@pytest.mark.filterwarnings("ignore:1 of 1 samples have densities that no rock has")
def test_repeated_stations_that_agree_are_not_the_cause():
    uncertainty = np.r_[np.full(30, 0.05), 0.5]
    survey = Survey(np.column_stack([np.full(31, -1.0), TWICE]), ("z",), uncertainty)
    operator = ForwardOperator(MESH, survey).fit()
    g = 20.0 * (-1.0) ** np.arange(30)
    inverter = TikhonovInverter(operator=operator).fit(operator.transform(RHO))
    with pytest.warns(ConvergenceWarning, match="have more noise than stated"):
        inverter.predict(np.r_[g, g[3]][None])


@pytest.mark.parametrize("inverter", [TikhonovInverter(), SparseInverter()])
@pytest.mark.parametrize("level", [None, 10.0])
def test_data_far_below_their_noise_are_warned_of(inverter, level):
    inverter.set_params(operator=OPERATOR).fit(G)
    g = G[:3] if level else 1e-5 * G[:3]  # as in m/s2
    text = "3 of 3 samples differ from 'reference' by less than their noise .* Check the unit"
    with pytest.warns(UserWarning, match=text):
        rho = inverter.predict(g, noise_level=level)
    assert not rho.any()


def test_noise_level_is_not_a_flag():
    inverter = TikhonovInverter(operator=OPERATOR).fit(G)
    with pytest.raises(ValueError, match="'noise_level' is True; it must be a number"):
        inverter.predict(G, noise_level=True)
    with pytest.raises(ValueError, match="'noise_level' is True; it must be a number"):
        inverter.set_params(noise_level=True).fit(G)


def test_search_in_latent_space_warns_of_data_that_noise_and_generator_do_not_explain():
    inverter = LatentInverter(PCA(5), operator=OPERATOR).fit(G, RHO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inverter.predict(G)
    text = "3 of 3 samples contain more than the noise and the errors of 'generator' explain, up to"
    with pytest.warns(UserWarning, match=text) as caught:
        inverter.predict(G[:3] + 2 * np.random.default_rng(2).standard_normal((3, 31)))
    assert [warning.filename for warning in caught] == [__file__]
