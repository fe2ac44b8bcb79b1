"""Hostile, damaged, foreign and newer files are refused: known classes alone, and nothing runs."""

import builtins
import copy
import json
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy
from saved_estimators import CLEAN, OPERATOR, X, Y, fit, fitted, read, vae, write
from sklearn.decomposition import PCA

from skgrav import BayesLinearInverter, CNNInverter, LatentInverter, VAEGenerator

# Tiny training ends before it converges.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Hostile:
    """Runs code when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Give a header and arrays of a small file."""
    path = tmp_path_factory.mktemp("small") / "estimator"
    fitted("vae").save(path)
    return read(path)


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
        with pytest.raises(ValueError, match=r"estimator (is not a file of skgrav|holds)"):
            VAEGenerator.load(tmp_path / "estimator")


@pytest.mark.usefixtures("no_code")
@pytest.mark.parametrize(
    "header",
    [
        pickle.dumps(Hostile(), 0).decode("latin-1"),
        nested(100_000),
        '{"format": "skgrav", "version": 1, "estimator": ' + nested(500) + "}",
        '{"format": "skgrav", "version": 1, "estimator": {"object": "VAEGenerator", "parameters": '
        '{"mesh": ' + nested(200) + '}, "state": null}}',
        '{"format": "skgrav", "version": NaN}',
        '{"format": "skgrav", "version": ' + "9" * 5000 + "}",
        '{"format": "skgrav", "version": 1}',
        '{"format": "skgrav", "version": 1, "estimator": "VAEGenerator"}',
        '{"format": "skgrav", "version": 1, "hook": "os.system", "estimator": {}}',
        '{"format": ["skgrav"], "version": 1}',
        '{"format": "skgrav", "version": "1", "estimator": {}}',
    ],
    ids=range(11),
)
def test_hostile_header_is_refused(header, small, tmp_path):
    write(tmp_path / "estimator", header, small[1])
    with pytest.raises(ValueError, match=r"estimator (is not a file of skgrav|holds)"):
        VAEGenerator.load(tmp_path / "estimator")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_components_": 10**15}, "weights are missing, foreign or of another shape"),
        ({"n_components_": -1}, "damaged"),
        ({"shape_": {"tuple": [10**9, 10**9]}, "n_features_in_": 10**18}, "damaged"),
        ({"shape_": {"tuple": [1, 64]}}, "weights are missing, foreign or of another shape"),
        ({"shape_": {"tuple": [8, 9]}}, r"its sections of \(8, 9\) do not have 64 cells"),
        ({"shape_": {"tuple": [-8, -8]}}, r"its sections of \(-8, -8\) do not have 64 cells"),
        ({"n_features_in_": True}, "'n_features_in_' is True, but it must be int"),
        ({"density_range_": [0.0, 1.0]}, "'density_range_' is a list, but it must be tuple"),
        ({"loss_curve_": ["a"]}, "'loss_curve_' is a list, but it must be list"),
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
    header, tensors = read(tmp_path / "estimator")
    operator = header["estimator"]["parameters"]["operator"]
    edges = operator["parameters"]["mesh"]["state"]["edges"]["tuple"][0]["array"]
    tensors[edges] = np.arange(1_000_001.0)
    write(tmp_path / "estimator", header, tensors)
    with pytest.raises(ValueError, match=r"Mesh\(1000000 x 8 cells.* do not have 64 cells"):
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
    header, tensors = read(path)
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


def test_newer_files_say_what_to_do(small, tmp_path):
    header, tensors = copy.deepcopy(small)
    write(tmp_path / "estimator", header | {"version": 2}, tensors)
    with pytest.raises(ValueError, match=r"has layout 2, but .* reads up to 1\. Update skgrav"):
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


# ----------------------------------------------------------------- files that are not whole


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Give a header and arrays of a small network's file."""
    path = tmp_path_factory.mktemp("network") / "network"
    fitted("residual").save(path)
    return read(path)


def refuse(path, text):
    with pytest.raises(ValueError, match=f"{path.name} {text}"):
        CNNInverter.load(path)


def test_pickle_is_refused_and_runs_nothing(tmp_path):
    (tmp_path / "network").write_bytes(pickle.dumps(Hostile()))
    refuse(tmp_path / "network", "is not a file of skgrav, or is damaged")
    assert not Hostile.ran


def test_damaged_foreign_and_newer_files_are_refused(network, tmp_path):
    path = tmp_path / "network"
    header, tensors = network
    write(path, header, tensors)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuse(path, "is not a file of skgrav, or is damaged")
    write(path, header | {"version": 99}, tensors)
    refuse(path, "has layout 99, but this version of skgrav reads up to 1")
    write(path, header | {"format": "other.Estimator"}, tensors)
    refuse(path, "is not a file of skgrav: `save` has not written it")
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    refuse(path, "is not a file of skgrav: `save` has not written it")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CNNInverter.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "header", [[1, 2], "text", 7, None], ids=["list", "text", "number", "null"]
)
def test_header_that_is_not_a_dict_is_refused(header, network, tmp_path):
    write(tmp_path / "network", json.dumps(header), network[1])
    refuse(
        tmp_path / "network",
        r"is not a file of skgrav, or is damaged: its header is a \w+, not a dict\.",
    )


@pytest.mark.parametrize(
    "lacking",
    [
        *("version", "estimator", "estimator.object", "estimator.state"),
        *("estimator.state.n_outputs_", "estimator.state._y_ndim", "estimator.state._pairs"),
        *("estimator.state.density_range_", "estimator.state.loss_curve_"),
        *("estimator.state.network", "estimator.state._seed"),
        *("estimator.state._pairs.state.data_rms", "estimator.state._pairs.state.mirror"),
        *("estimator.state.operator_.state.mesh_", "estimator.state.operator_.state"),
    ],
)
def test_header_that_lacks_something_is_refused(lacking, network, tmp_path):
    header, tensors = copy.deepcopy(network)
    holder = header
    *folders, name = lacking.split(".")
    for folder in folders:
        holder = holder[folder]
    del holder[name]
    write(tmp_path / "network", header, tensors)
    refuse(tmp_path / "network", f"is not a file of skgrav, or is damaged: it lacks '{name}'")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", "1"),
        ("parameters", []),
        ("density_range_", None),
        ("_pairs", {"object": "Mirror"}),
        ("mirror", 3),
    ],
)
def test_header_with_entries_of_another_kind_is_refused(place, value, network, tmp_path):
    header, tensors = copy.deepcopy(network)
    state = header["estimator"]["state"]
    holders = [header, header["estimator"], state, state["_pairs"]["state"]]
    next(holder for holder in holders if place in holder)[place] = value
    write(tmp_path / "network", header, tensors)
    refuse(tmp_path / "network", "(is not a file of skgrav, or is damaged: |holds)")


def test_file_that_lacks_an_array_is_refused(network, tmp_path):
    header, tensors = network
    for name in tensors:
        rest = {other: values for other, values in tensors.items() if other != name}
        write(tmp_path / "network", header, rest)
        refuse(tmp_path / "network", "is not a file of skgrav, or is damaged: ")


def test_weights_of_another_shape_are_refused_by_name(network, tmp_path):
    header, tensors = copy.deepcopy(network)
    tensors["network.first.bias"] = tensors["network.first.bias"][:-1]
    write(tmp_path / "network", header, tensors)
    refuse(
        tmp_path / "network",
        r"is not .* damaged: weights are missing.*shape: first\.bias\.",
    )
