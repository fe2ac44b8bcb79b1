"""Warnings of inverters: where they point, and what no inverter passes over in silence."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    Survey,
    TikhonovInverter,
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
    with pytest.warns(UserWarning) as caught:
        inverter.predict(1e5 * G[:3])
    assert {warning.filename for warning in caught} == {__file__}


def test_scaler_in_a_pipeline_is_warned_of_at_the_line_of_the_user():
    pipeline = make_pipeline(StandardScaler(), TikhonovInverter(operator=OPERATOR))
    with pytest.warns(UserWarning, match="'X' is zero everywhere") as caught:
        pipeline.fit(G[:1])
    assert [warning.filename for warning in caught] == [__file__]
