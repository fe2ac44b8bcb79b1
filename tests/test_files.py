"""Estimators in files: the same digits again, known classes alone, and nothing hostile runs."""

import builtins
import copy
import json
import os
import pickle
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from conftest import ROOT
from sklearn import pipeline as sklearn_pipeline
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

import skgrav
from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    GANGenerator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav._files import _registry
from skgrav._files._forms import check_form
from skgrav.datasets import make_gravity_dataset
from skgrav.generators import DensityGenerator
from skgrav.inverters._damping_krylov import KrylovLeastSquares
from skgrav.pipeline import Pipeline
from skgrav.solvers import LGMRES, SOLVERS, Projection

DATA = make_gravity_dataset(50, mesh=Mesh.square(8), random_state=0)
X, Y, OPERATOR = DATA.data, DATA.target, DATA.operator
UNCERTAIN = ForwardOperator(
    Mesh.square(8),
    Survey(OPERATOR.survey_.stations, uncertainty=np.linspace(0.01, 0.02, 48)),
    units="normalized",
)
CLEAN = {"operator": OPERATOR, "noise_level": 0.0}

# Tiny training ends before it converges, and GANs before they are varied.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def cnn(architecture="residual", **parameters):
    settings = {"operator": OPERATOR, "max_epochs": 1, "random_state": 0}
    return CNNInverter(architecture, **settings | parameters)


def vae(**parameters):
    return VAEGenerator(**{"n_components": 6, "max_epochs": 1, "random_state": 0} | parameters)


def gan(**parameters):
    return GANGenerator(**{"n_components": 6, "max_epochs": 1, "random_state": 0} | parameters)


@pytest.fixture(scope="module")
def frozen():
    return FrozenEstimator(vae().fit(Y))


def fit(estimator):
    return estimator.fit(Y) if isinstance(estimator, DensityGenerator) else estimator.fit(X, Y)


def predict(estimator):
    if isinstance(estimator, DensityGenerator):
        return estimator.inverse_transform(estimator.transform(Y[:5]))
    return estimator.predict(X[:5])


def again(estimator, folder, **options):
    estimator.save(folder / "estimator", **options)
    return type(estimator).load(folder / "estimator")


def header_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["skgrav"])


def write(path, header, tensors):
    text = header if isinstance(header, str) else json.dumps(header)
    safetensors.numpy.save_file(tensors, path, metadata={"skgrav": text})


ESTIMATORS = {
    "paper": cnn("paper"),
    "paper, mirror": cnn("paper", augment="mirror", noise_level=0.01, early_stopping=True),
    "paper, no operator": cnn("paper", operator=None),
    "vae": vae(),
    "vae, mesh": vae(mesh=Mesh.regular((4, 16), 1.0), density_range=(0.0, 20.0)),
    "vae, paper": vae(architecture="paper"),
    "gan": gan(),
    "gan, paper": gan(architecture="paper", early_stopping=True),
    "bayes": BayesLinearInverter(0.01, operator=OPERATOR, store_covariance=True),
    "bayes, uncertainty": BayesLinearInverter(operator=UNCERTAIN),
    "tikhonov": TikhonovInverter(
        noise_level=0.01, order=1, operator=OPERATOR, reference=Y.mean(axis=0)
    ),
    "tikhonov, bounds": TikhonovInverter(bounds=(0.0, 12.0), operator=UNCERTAIN),
    "sparse": SparseInverter(noise_level=0.01, operator=OPERATOR),
    "latent, pca": LatentInverter(PCA(8), **CLEAN),
    "latent, svd": LatentInverter(TruncatedSVD(8, random_state=0), **CLEAN),
    "latent, scaled pca": LatentInverter(
        sklearn_pipeline.make_pipeline(StandardScaler(), PCA(8)), **CLEAN
    ),
    "latent, vae": LatentInverter(vae(), **CLEAN),
    "latent, gan": LatentInverter(gan(), init=BayesLinearInverter(operator=OPERATOR), **CLEAN),
    "refiner": Refiner(LGMRES(inner_m=10), init=cnn(), **CLEAN),
    "refiner, bounds": Refiner(Projection(bounds=(0.0, 12.0)), init=cnn("paper"), **CLEAN),
    "refiner, bayes": Refiner(
        "bayes", init=cnn(), cv=KFold(2, shuffle=True, random_state=0), **CLEAN
    ),
    "pipeline": Pipeline([cnn(), Refiner("lgmres", **CLEAN)]),
    "pipeline, matrix": Pipeline(
        [cnn(operator=MatrixOperator(OPERATOR.matrix_)), "passthrough", Refiner("cgls", **CLEAN)]
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore:'noise_level' is None")
@pytest.mark.filterwarnings("ignore:solver 'bayes' takes the starts")
def test_loaded_estimator_is_the_same(name, tmp_path):
    estimator = fit(clone(ESTIMATORS[name]))
    expected = predict(estimator)
    loaded = again(estimator, tmp_path)
    np.testing.assert_array_equal(predict(loaded), expected)
    assert type(loaded) is type(estimator)
    assert repr(loaded) == repr(estimator)
    # Smaller files: weights and components to 1e-7 of their size, or to 1e-3.
    for dtype, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        smaller = predict(again(estimator, tmp_path, dtype=dtype))
        assert np.linalg.norm(smaller - expected) < tolerance * np.linalg.norm(expected)
    pickled = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(predict(pickled), expected)


@pytest.mark.parametrize("name", ["paper", "vae", "gan", "latent, vae", "pipeline"])
def test_loaded_estimator_is_cloned_set_and_fitted_again(name, tmp_path):
    estimator = fit(clone(ESTIMATORS[name]))
    loaded = again(estimator, tmp_path)
    anew = fit(clone(loaded))
    np.testing.assert_array_equal(predict(anew), predict(fit(clone(estimator))))
    name = next(n for n in loaded.get_params() if n.endswith("max_epochs"))
    loaded.set_params(**{name: 2})
    np.testing.assert_array_equal(predict(loaded), predict(estimator))
    assert np.abs(predict(fit(loaded)) - predict(estimator)).max() > 0


def test_frozen_generator_is_written_and_read_once(frozen, tmp_path):
    inverter = LatentInverter(frozen, **CLEAN).fit(X, Y)
    loaded = again(inverter, tmp_path)
    assert loaded.generator_ is loaded.generator
    once = (tmp_path / "estimator").stat().st_size
    frozen.estimator.save(tmp_path / "generator")
    assert once < 2 * (tmp_path / "generator").stat().st_size
    np.testing.assert_array_equal(loaded.predict(X), inverter.predict(X))


def test_generator_of_a_loaded_gan_takes_derivatives_and_new_starts(tmp_path):
    generator = gan().fit(Y)
    loaded = again(generator, tmp_path)
    np.testing.assert_array_equal(
        loaded.sample(3, random_state=0), generator.sample(3, random_state=0)
    )
    assert loaded.diversity_ == generator.diversity_
    np.testing.assert_array_equal(loaded.nearest_code(Y[:3]), generator.nearest_code(Y[:3]))


@pytest.mark.parametrize("name", ["paper", "vae", "gan", "refiner", "latent, vae"])
def test_default_dtype_of_torch_does_not_matter(name, tmp_path):
    estimator = fit(clone(ESTIMATORS[name]))
    expected = predict(estimator)
    estimator.save(tmp_path / "float32")
    torch.set_default_dtype(torch.float64)
    try:
        estimator.save(tmp_path / "float64")
        there = type(estimator).load(tmp_path / "float32")
        np.testing.assert_array_equal(predict(there), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "float32").read_bytes() == (tmp_path / "float64").read_bytes()
    np.testing.assert_array_equal(
        predict(type(estimator).load(tmp_path / "float64")), predict(there)
    )


def test_device_is_that_of_load(tmp_path):
    pipeline = Pipeline([cnn(device="cpu"), Refiner("lgmres", **CLEAN)]).fit(X, Y)
    pipeline.save(tmp_path / "pipeline")
    assert b"cpu" not in (tmp_path / "pipeline").read_bytes()
    for device in ("auto", "cpu"):
        loaded = Pipeline.load(tmp_path / "pipeline", device=device)
        assert loaded.named_steps["cnninverter"].device == device


def test_global_seeds_stay_untouched(tmp_path):
    generator = vae().fit(Y)
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    again(generator, tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_operator_is_kept_with_all_that_it_was_given(tmp_path):
    operator = ForwardOperator(
        Mesh.square(8),
        UNCERTAIN.survey,
        kernel="point",
        method="fft",
        units="normalized",
        precision="float32",
        memory_limit=1e9,
    ).fit()
    refiner = Refiner("cgls", init="zero", operator=operator).fit(operator.transform(Y), Y)
    loaded = again(refiner, tmp_path).operator_
    assert str(loaded.get_params()) == str(operator.get_params())
    assert (loaded.plan_.method, loaded.mesh_, loaded.survey_) == ("fft", *loaded_geometry())
    np.testing.assert_array_equal(loaded.transform(Y), operator.transform(Y))


def loaded_geometry():
    return Mesh.square(8), UNCERTAIN.survey


def test_identified_operator_keeps_its_error(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(7, 64))
    refiner = Refiner("cgls", init="zero", noise_level=0.0)
    with pytest.warns(UserWarning, match="identified"):
        refiner.fit(Y @ matrix.T, Y)
    loaded = again(refiner, tmp_path)
    assert loaded.operator_.held_out_error_ == refiner.operator_.held_out_error_
    np.testing.assert_array_equal(loaded.operator_.matrix_, refiner.operator_.matrix_)
    assert not loaded.operator_.matrix_.flags.writeable


def test_random_state_goes_on_where_it_was(tmp_path):
    generator = vae(random_state=np.random.RandomState(3)).fit(Y)
    loaded = again(generator, tmp_path)
    np.testing.assert_array_equal(loaded.random_state.rand(3), generator.random_state.rand(3))


@pytest.mark.parametrize("order", [0, 1])
def test_large_tikhonov_is_kept_without_a_decomposition(order, tmp_path, monkeypatch):
    monkeypatch.setattr(skgrav.operators._base, "SVD_SIZE", 10)
    inverter = TikhonovInverter(order=order, noise_level=0.01, operator=OPERATOR).fit(X, Y)
    assert isinstance(inverter._system, KrylovLeastSquares)
    expected = inverter.predict(X[:3])
    np.testing.assert_array_equal(again(inverter, tmp_path).predict(X[:3]), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(inverter)).predict(X[:3]), expected)


def test_names_and_output_are_kept(tmp_path):
    frame = pd.DataFrame(X, columns=[f"d{i}" for i in range(X.shape[1])])
    inverter = BayesLinearInverter(operator=OPERATOR).set_output(transform="pandas").fit(frame, Y)
    loaded = again(inverter, tmp_path)
    pd.testing.assert_frame_equal(loaded.transform(frame), inverter.transform(frame))
    assert list(loaded.feature_names_in_) == list(frame.columns)


def test_what_is_of_a_machine_is_left_out(tmp_path):
    pipeline = Pipeline(
        [cnn(callbacks=[]), Refiner("cgls", **CLEAN)], memory=str(tmp_path / "memory")
    )
    pipeline.fit(X, Y)
    pipeline.save(tmp_path / "estimator")
    assert str(tmp_path).encode() not in (tmp_path / "estimator").read_bytes()
    assert Pipeline.load(tmp_path / "estimator").memory is None


def test_no_file_names_a_place_on_the_disk(small, tmp_path):
    for name in [*_registry._HOMES, *_registry._OTHERS]:
        constraints = getattr(_registry.kind_named(name).cls, "_parameter_constraints", {})
        for parameter, allowed in constraints.items():
            assert os.PathLike not in allowed or parameter in _registry.LEFT_OUT
    generator = vae(checkpoint=tmp_path / "checkpoint").fit(Y)
    generator.save(tmp_path / "estimator")
    assert VAEGenerator.load(tmp_path / "estimator").checkpoint is None
    for parameter in ("checkpoint", "device"):
        header, tensors = copy.deepcopy(small)
        header["estimator"]["parameters"][parameter] = "../../.profile"
        write(tmp_path / "estimator", header, tensors)
        with pytest.raises(ValueError, match=f"holds '{parameter}' of VAEGenerator"):
            VAEGenerator.load(tmp_path / "estimator")


def test_architecture_is_that_of_the_fit(tmp_path):
    generator = vae().fit(Y).set_params(architecture="paper", n_components=3)
    loaded = again(generator, tmp_path)
    assert loaded.architecture == "default"
    np.testing.assert_array_equal(predict(loaded), predict(generator))


def test_subclass_reads_what_its_base_wrote(tmp_path):
    class Own(VAEGenerator):
        pass

    vae().fit(Y).save(tmp_path / "estimator")
    assert type(Own.load(tmp_path / "estimator")) is Own
    assert type(DensityGenerator.load(tmp_path / "estimator")) is VAEGenerator
    with pytest.raises(ValueError, match=r"'the estimator' is a Own, which files .* pickle"):
        Own(6, max_epochs=1).fit(Y).save(tmp_path / "own")


class Start(BaseEstimator):
    """An estimator of a user."""

    def fit(self, X, y):
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


def test_estimators_of_the_user_are_refused_by_their_place(tmp_path):
    pipeline = Pipeline([Refiner("cgls", init=Start(), **CLEAN)]).fit(X, Y)
    text = r"'steps\.0\.1\.init' is a Start, which files .* Replace it by a class of skgrav, or"
    with pytest.raises(ValueError, match=text):
        pipeline.save(tmp_path / "estimator")
    inverter = BayesLinearInverter(operator=OPERATOR).fit(X, Y)
    inverter.note = "mine"
    with pytest.raises(ValueError, match=r"'note' is an attribute that files do not know"):
        inverter.save(tmp_path / "estimator")
    inverter = cnn("paper").fit(X, Y).set_params(augment="turn")
    with pytest.raises(ValueError, match="'augment' parameter of CNNInverter"):
        inverter.save(tmp_path / "estimator")
    assert not list(tmp_path.iterdir())


def test_unfitted_estimator_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted yet"):
        vae().save(tmp_path / "estimator")


def test_all_solvers_and_classes_of_files_are_there():
    assert {cls.__name__ for cls in SOLVERS.values()} <= set(_registry._HOMES)
    for name in [*_registry._HOMES, *_registry._OTHERS]:
        kind = _registry.kind_named(name)
        assert _registry.kind_of(kind.cls) is kind
        if kind.is_value:
            assert list(kind.forms) == [field.name for field in fields(kind.cls)]


def test_form_tells_what_it_wants():
    sizes = {"n": 3}
    check_form("[n k]", "matrix", np.ones((3, 2)), sizes)
    text = r"'vector' is an array of float64 of shape \(3,\), but it must be \[k\] with k = 2"
    with pytest.raises(TypeError, match=text):
        check_form("[k]", "vector", np.ones(3), sizes)
    with pytest.raises(TypeError, match="'k' is 4, but it must be int with k = 2"):
        check_form("int", "k", 4, sizes)


# ------------------------------------------------------------------ hostile and damaged files


class Hostile:
    """Runs code when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Give a header and arrays of a small file."""
    path = tmp_path_factory.mktemp("small") / "estimator"
    vae().fit(Y).save(path)
    return header_of(path), safetensors.numpy.load_file(path)


@pytest.fixture
def no_code(monkeypatch):
    """Fail if anything is evaluated, executed or run."""

    def forbidden(*args, **kwargs):
        raise AssertionError("code of a file was run")

    for module, name in ((os, "system"), (builtins, "eval"), (pickle, "loads"), (pickle, "load")):
        monkeypatch.setattr(module, name, forbidden)
    yield
    assert not Hostile.ran


def nested(depth):
    return "[" * depth + "]" * depth


HOSTILE_NODES = [
    {"object": "os.system", "parameters": {"command": "touch hostile"}, "state": None},
    {"object": "builtins.eval", "parameters": {}, "state": {}},
    {"object": "posix.system", "state": {}},
    {"object": "../../etc/passwd", "state": None},
    {"object": "skgrav.inverters._cnn.CNNInverter", "state": None},
    {"object": "sklearn.FunctionTransformer", "parameters": {"func": "os.system"}, "state": None},
    {"object": "sklearn.__builtins__", "state": None},
    {"object": ["VAEGenerator"], "state": None},
    {"object": {"object": "VAEGenerator"}, "state": None},
    {"object": None, "state": None},
    {"pickle": pickle.dumps(Hostile(), 0).decode("latin-1")},
    {"py/object": "os.system"},
    {"same": 10**9},
    {"float": "__import__('os')"},
    {"array": "../../etc/passwd", "dtype": "float64"},
    {"random_state": ["MT19937", [1, 2], 10**6, 0, 0.0]},
    {},
]


@pytest.mark.usefixtures("no_code")
@pytest.mark.parametrize("node", HOSTILE_NODES, ids=lambda node: str(node)[:40])
def test_hostile_node_is_refused_wherever_it_stands(node, small, tmp_path):
    for place in (
        ["estimator"],
        ["estimator", "parameters", "mesh"],
        ["estimator", "parameters", "random_state"],
        ["estimator", "state", "n_components_"],
        ["estimator", "state", "network", "dict", "decoder.linear.bias"],
    ):
        header, tensors = copy.deepcopy(small)
        holder = header
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = node
        write(tmp_path / "estimator", header, tensors)
        with pytest.raises(ValueError, match=r"estimator (is no file of skgrav|holds)"):
            VAEGenerator.load(tmp_path / "estimator")


@pytest.mark.usefixtures("no_code")
@pytest.mark.parametrize(
    "header",
    [
        pickle.dumps(Hostile(), 0).decode("latin-1"),
        nested(100_000),
        '{"format": "skgrav", "version": 2, "estimator": ' + nested(500) + "}",
        '{"format": "skgrav", "version": 2, "estimator": {"object": "VAEGenerator", "parameters": '
        '{"mesh": ' + nested(200) + '}, "state": null}}',
        '{"format": "skgrav", "version": NaN}',
        '{"format": "skgrav", "version": ' + "9" * 5000 + "}",
        '{"format": "skgrav", "version": 2}',
        '{"format": "skgrav", "version": 2, "estimator": "VAEGenerator"}',
        '{"format": "skgrav", "version": 2, "hook": "os.system", "estimator": {}}',
        '{"format": ["skgrav"], "version": 2}',
        '{"format": "skgrav", "version": "2", "estimator": {}}',
    ],
    ids=range(11),
)
def test_hostile_header_is_refused(header, small, tmp_path):
    write(tmp_path / "estimator", header, small[1])
    with pytest.raises(ValueError, match=r"estimator (is no file of skgrav|holds)"):
        VAEGenerator.load(tmp_path / "estimator")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_components_": 10**15}, "weights are missing, foreign or of another shape"),
        ({"n_components_": -1}, "damaged"),
        ({"shape_": {"tuple": [10**9, 10**9]}, "n_features_in_": 10**18}, "damaged"),
        ({"shape_": {"tuple": [1, 64]}}, "weights are missing, foreign or of another shape"),
        ({"shape_": {"tuple": [8, 9]}}, r"its sections of \(8, 9\) have no 64 cells"),
        ({"n_features_in_": True}, "'n_features_in_' is True, but it must be int"),
        ({"density_range_": [0.0, 1.0]}, "'density_range_' is a list, but it must be pair"),
        ({"loss_curve_": ["a"]}, "'loss_curve_' is a list, but it must be floats"),
        ({"network": {"dict": {}}}, "weights are missing, foreign or of another shape"),
        ({"net_": None}, "holds 'net_' of VAEGenerator, which skgrav .* does not know"),
        ({"__class__": "os.system"}, "holds '__class__' of VAEGenerator, which skgrav"),
    ],
)
def test_huge_and_wrong_values_are_refused(changes, text, small, tmp_path):
    header, tensors = copy.deepcopy(small)
    header["estimator"]["state"] |= changes
    write(tmp_path / "estimator", header, tensors)
    with pytest.raises(ValueError, match=text):
        VAEGenerator.load(tmp_path / "estimator")


def test_small_arrays_cannot_ask_for_a_huge_operator(tmp_path):
    inverter = BayesLinearInverter(operator=OPERATOR).fit(X, Y)
    inverter.save(tmp_path / "estimator")
    header = header_of(tmp_path / "estimator")
    tensors = safetensors.numpy.load_file(tmp_path / "estimator")
    operator = header["estimator"]["parameters"]["operator"]
    edges = operator["parameters"]["mesh"]["state"]["edges"]["tuple"][0]["array"]
    tensors[edges] = np.arange(1_000_001.0)
    write(tmp_path / "estimator", header, tensors)
    with pytest.raises(ValueError, match=r"Mesh\(1000000 x 8 cells.* are none of 64 cells"):
        BayesLinearInverter.load(tmp_path / "estimator")


def places(node, path=()):
    """Give the path of each value in a tree of JSON."""
    yield path
    if isinstance(node, dict | list):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(part, (*path, key))


@pytest.mark.usefixtures("no_code")
@pytest.mark.parametrize("make", [vae, lambda: LatentInverter(PCA(4), **CLEAN)], ids=["vae", "pca"])
def test_no_change_of_a_header_does_more_than_be_refused(make, tmp_path):
    path = tmp_path / "estimator"
    estimator = fit(make())
    estimator.save(path)
    header, tensors = header_of(path), safetensors.numpy.load_file(path)
    refusals = []
    for place in list(places(header))[1:]:
        for value in (None, [], {}, "os.system", -3, 1e300, {"object": "os.system"}, Ellipsis):
            changed = copy.deepcopy(header)
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            if value is Ellipsis:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            write(path, changed, tensors)
            try:
                type(estimator).load(path)
            except (MemoryError, ValueError) as error:
                refusals.append(error)
    texts = [str(error) for error in refusals if isinstance(error, ValueError)]
    assert all(text.startswith(str(path)) for text in texts)
    assert len(texts) > 500
    # A limit of the memory that the operator may take is one of its parameters.
    assert all("free or allowed" in str(e) for e in refusals if isinstance(e, MemoryError))


def test_file_of_another_class_tells_who_reads_it(small, tmp_path):
    write(tmp_path / "estimator", *small)
    text = r"estimator holds a VAEGenerator, not a Refiner; read it by VAEGenerator\.load"
    with pytest.raises(ValueError, match=text):
        Refiner.load(tmp_path / "estimator")
    header = small[0] | {"estimator": {"object": "Mesh", "state": {}}}
    write(tmp_path / "estimator", header, small[1])
    with pytest.raises(ValueError, match=r"holds a Mesh, not a VAEGenerator\.$"):
        VAEGenerator.load(tmp_path / "estimator")


def test_newer_files_say_what_to_do(small, tmp_path):
    header, tensors = copy.deepcopy(small)
    write(tmp_path / "estimator", header | {"version": 3}, tensors)
    with pytest.raises(ValueError, match=r"has layout 3, but .* reads up to 2\. Update skgrav"):
        VAEGenerator.load(tmp_path / "estimator")
    header["skgrav"] = "0.9.0"
    header["estimator"]["parameters"]["diffusion"] = True
    write(tmp_path / "estimator", header, tensors)
    text = (
        r"holds 'diffusion' of VAEGenerator, .* written by skgrav 0\.9\.0: update skgrav, or do not"
    )
    with pytest.raises(ValueError, match=text):
        VAEGenerator.load(tmp_path / "estimator")


def test_parameters_that_an_older_version_lacked_are_the_defaults(small, tmp_path):
    header, tensors = copy.deepcopy(small)
    del header["estimator"]["parameters"]["validation_fraction"]
    write(tmp_path / "estimator", header, tensors)
    assert VAEGenerator.load(tmp_path / "estimator").validation_fraction == 0.1


def test_arrays_that_nothing_asks_for_are_refused(small, tmp_path):
    write(tmp_path / "estimator", small[0], small[1] | {"stowaway": np.ones(2)})
    with pytest.raises(ValueError, match="holds the array 'stowaway', which skgrav"):
        VAEGenerator.load(tmp_path / "estimator")


def test_pipeline_of_layout_2_predicts_as_it_did():
    folder = ROOT / "tests" / "data"
    expected = json.loads((folder / "pipeline_v2.json").read_text(encoding="utf-8"))
    loaded = Pipeline.load(folder / "pipeline_v2.safetensors")
    # The search stops within its tolerance, which differs by the machine's rounding.
    np.testing.assert_allclose(loaded.predict(expected["X"]), expected["rho"], rtol=0, atol=1e-3)
