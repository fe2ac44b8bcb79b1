"""skgrav's Pipeline: scikit-learn's, with steps that need no names."""

import pickle

import numpy as np
import pytest
from sklearn import pipeline as sklearn_pipeline
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skgrav import CNNInverter, Mesh, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.pipeline import Pipeline, make_pipeline

DATA = make_gravity_dataset(n_samples=20, mesh=Mesh.square(8), random_state=0)
X, Y = DATA.data, DATA.target


def two_refiners():
    """Give bare steps that are quick to fit."""
    return [
        Refiner("projection", init="zero", operator=DATA.operator, noise_level=0.1),
        Refiner("cgls", operator=DATA.operator, noise_level=0),
    ]


def names(pipeline):
    return [name for name, _ in pipeline.steps]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([CNNInverter(), Refiner("lgmres")], ["cnninverter", "refiner"]),
        ([Refiner(init="zero"), Refiner(), Ridge()], ["refiner-1", "refiner-2", "ridge"]),
        ([("start", CNNInverter()), Refiner()], ["start", "refiner"]),
        ([StandardScaler(), ("last", Ridge())], ["standardscaler", "last"]),
        (
            [Refiner(init="zero"), ("mine", Refiner()), Refiner()],
            ["refiner-1", "mine", "refiner-2"],
        ),
        ([StandardScaler(), "passthrough", Ridge()], ["standardscaler", "passthrough", "ridge"]),
    ],
    ids=["bare", "twice", "named first", "named last", "named between", "passthrough"],
)
def test_bare_steps_are_named_by_their_class_and_names_are_kept(steps, expected):
    assert names(Pipeline(steps)) == expected


def test_given_steps_are_the_steps_themselves():
    steps = two_refiners()
    assert all(a is b for (_, a), b in zip(Pipeline(steps).steps, steps, strict=True))
    assert len(steps) == 2
    assert isinstance(steps[0], Refiner)


def test_list_of_named_steps_stays_the_very_list():
    steps = [("scale", StandardScaler()), ("fit", Ridge())]
    assert Pipeline(steps).steps is steps


def test_clone_pickle_and_a_round_of_parameters_change_nothing():
    pipeline = Pipeline(two_refiners())
    rebuilt = Pipeline(**pipeline.get_params(deep=False))
    for other in [clone(pipeline), pickle.loads(pickle.dumps(pipeline)), rebuilt]:
        assert type(other) is Pipeline
        assert names(other) == names(pipeline)
    pipeline.fit(X, Y)
    restored = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(restored.predict(X), pipeline.predict(X))


def test_parameters_are_addressed_by_the_names():
    pipeline = Pipeline(two_refiners())
    assert pipeline.get_params()["refiner-2__solver"] == "cgls"
    pipeline.set_params(**{"refiner-2__solver": "gmres", "refiner-1": "passthrough"})
    assert pipeline["refiner-2"].solver == "gmres"
    assert pipeline.steps[0] == ("refiner-1", "passthrough")
    search = GridSearchCV(
        Pipeline([StandardScaler(), Ridge()]), {"ridge__alpha": [0.1, 1.0]}, cv=2
    ).fit(X, Y)
    assert search.best_params_["ridge__alpha"] in {0.1, 1.0}


def test_slices_and_items_work():
    pipeline = Pipeline([StandardScaler(), PCA(), Ridge()])
    assert type(pipeline[:2]) is Pipeline
    assert names(pipeline[:2]) == ["standardscaler", "pca"]
    assert pipeline[-1] is pipeline["ridge"] is pipeline.named_steps.ridge
    assert len(pipeline) == 3


def test_it_is_scikit_learns_pipeline_by_type_names_and_result():
    bare = Pipeline(two_refiners())
    theirs = sklearn_pipeline.make_pipeline(*two_refiners())
    assert isinstance(bare, sklearn_pipeline.Pipeline)
    assert names(bare) == names(theirs) == names(make_pipeline(*two_refiners()))
    expected = theirs.fit(X, Y).predict(X)
    np.testing.assert_array_equal(bare.fit(X, Y).predict(X), expected)
    np.testing.assert_array_equal(make_pipeline(*two_refiners()).fit(X, Y).predict(X), expected)


def test_make_pipeline_takes_scikit_learns_options_and_names_too():
    pipeline = make_pipeline(("mine", StandardScaler()), Ridge(), memory="here", verbose=True)
    assert type(pipeline) is Pipeline
    assert names(pipeline) == ["mine", "ridge"]
    assert (pipeline.memory, pipeline.verbose, pipeline.transform_input) == ("here", True, None)


def test_memory_caches_the_first_step(tmp_path):
    cached = Pipeline(two_refiners(), memory=str(tmp_path)).fit(X, Y)
    again = Pipeline(two_refiners(), memory=str(tmp_path)).fit(X, Y)
    assert list(tmp_path.rglob("output.pkl"))
    plain = Pipeline(two_refiners()).fit(X, Y).predict(X)
    np.testing.assert_allclose(cached.predict(X), plain)
    np.testing.assert_allclose(again.predict(X), plain)


def test_html_and_text_show_the_steps():
    pipeline = Pipeline([StandardScaler(), Refiner("icg", init="zero")])
    assert "Pipeline(steps=[('standardscaler', StandardScaler())" in repr(pipeline)
    html = pipeline._repr_html_()
    assert "StandardScaler" in html
    assert "Refiner" in html


def test_pandas_output_reaches_all_steps():
    pipeline = Pipeline([MinMaxScaler(), PCA(2)]).set_output(transform="pandas")
    assert list(pipeline.fit_transform(X).columns) == ["pca0", "pca1"]


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        ([("a", StandardScaler()), ("a", Ridge())], ValueError, "Names provided are not unique"),
        ([("ridge", PCA()), Ridge()], ValueError, "Names provided are not unique"),
        ([Ridge(), Ridge()], TypeError, "should be transformers"),
        ([StandardScaler, Ridge()], TypeError, "StandardScaler"),
        ([], ValueError, "pipeline is empty"),
    ],
    ids=["names twice", "name of a bare step given", "no transformer", "class", "empty"],
)
def test_mistakes_are_told_by_scikit_learn(steps, error, text):
    with pytest.raises(error, match=text):
        Pipeline(steps).fit(X, Y)
