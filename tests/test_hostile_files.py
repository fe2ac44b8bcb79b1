"""Hostile, damaged, foreign and newer files are refused: known classes alone, and nothing runs."""

import builtins
import copy
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
    """Give a header and arrays of a small generator's file."""
    path = tmp_path_factory.mktemp("small") / "estimator"
    fitted("vae").save(path)
    return read(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Give a header and arrays of a small network's file."""
    path = tmp_path_factory.mktemp("network") / "estimator"
    fitted("residual").save(path)
    return read(path)


def changed(tree, place, value=...):
    """Give a copy of a tree of JSON with another value at a place, or without it."""
    tree = copy.deepcopy(tree)
    holder = tree
    for key in place[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return tree


def refuse(text, folder, header=None, tensors=None, *, cls=VAEGenerator):
    """Expect that a file is refused, which is written if its content is given."""
    if header is not None:
        write(folder / "estimator", header, tensors)
    with pytest.raises(ValueError, match=f"estimator {text}"):
        cls.load(folder / "estimator")


DAMAGED = "is not a file of skgrav, or is damaged: "


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
        header = changed(small[0], place, node)
        refuse("(is not a file of skgrav|holds)", tmp_path, header, small[1])


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
    refuse("(is not a file of skgrav|holds)", tmp_path, header, small[1])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_components_": 10**15}, "weights are missing, unknown or of another shape"),
        ({"n_components_": -1}, "damaged"),
        ({"shape_": {"tuple": [10**9, 10**9]}, "n_features_in_": 10**18}, "damaged"),
        ({"shape_": {"tuple": [1, 64]}}, "weights are missing, unknown or of another shape"),
        ({"shape_": {"tuple": [8, 9]}}, r"sections of shape \(8, 9\) do not have 64 cells"),
        ({"shape_": {"tuple": [-8, -8]}}, r"sections of shape \(-8, -8\) do not have 64 cells"),
        ({"n_features_in_": True}, "'n_features_in_' is True, but it must be int"),
        ({"density_range_": [0.0, 1.0]}, "'density_range_' is a list, but it must be tuple"),
        ({"loss_curve_": ["a"]}, "'loss_curve_' is a list, but it must be list"),
        ({"network": {"dict": {}}}, "weights are missing, unknown or of another shape"),
        ({"net_": None}, "holds 'net_' of VAEGenerator, which skgrav .* does not know"),
        ({"__class__": "os.system"}, "holds '__class__' of VAEGenerator, which skgrav"),
    ],
)
def test_huge_and_wrong_values_are_refused(changes, text, small, tmp_path):
    header = copy.deepcopy(small[0])
    del header["estimator"]["state"]["codes_"]  # as in older files
    header["estimator"]["state"] |= changes
    refuse(f".*{text}", tmp_path, header, small[1])


def test_number_of_data_is_that_of_the_operator(tmp_path):
    BayesLinearInverter(operator=OPERATOR).fit(X, Y).save(tmp_path / "estimator")
    header, tensors = read(tmp_path / "estimator")
    header["estimator"]["state"]["n_features_in_"] = 47
    text = ".*its operator has 48 data, but 47 are inverted"
    refuse(text, tmp_path, header, tensors, cls=BayesLinearInverter)


def test_small_arrays_cannot_ask_for_a_huge_operator(tmp_path):
    inverter = BayesLinearInverter(operator=OPERATOR).fit(X, Y)
    inverter.save(tmp_path / "estimator")
    header, tensors = read(tmp_path / "estimator")
    operator = header["estimator"]["parameters"]["operator"]
    edges = operator["parameters"]["mesh"]["state"]["edges"]["tuple"][0]["array"]
    tensors[edges] = np.arange(1_000_001.0)
    text = r".*Mesh\(1000000 x 8 cells.* do not have 64 cells"
    refuse(text, tmp_path, header, tensors, cls=BayesLinearInverter)


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
        for value in (None, [], {}, "os.system", -3, 1e300, {"object": "os.system"}, ...):
            write(path, changed(header, place, value), tensors)
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
    header, tensors = small
    text = r"has layout 2, but this version of skgrav reads up to 1\. Update skgrav"
    refuse(text, tmp_path, header | {"version": 2}, tensors)
    header = changed(header | {"skgrav": "0.9.0"}, ("estimator", "parameters", "diffusion"), True)
    text = "holds 'diffusion' of VAEGenerator, .* written by skgrav 0.9.0: update skgrav, or do not"
    refuse(text, tmp_path, header, tensors)


def test_parameters_that_an_older_version_lacked_are_the_defaults(small, tmp_path):
    header = changed(small[0], ("estimator", "parameters", "validation_fraction"))
    write(tmp_path / "estimator", header, small[1])
    assert VAEGenerator.load(tmp_path / "estimator").validation_fraction == 0.1


def test_arrays_that_nothing_asks_for_are_refused(small, tmp_path):
    header, tensors = small
    text = "holds the array 'stowaway', which skgrav"
    refuse(text, tmp_path, header, tensors | {"stowaway": np.ones(2)})


# ----------------------------------------------------------------- files that are not whole


def test_pickle_is_refused_and_runs_nothing(tmp_path):
    (tmp_path / "estimator").write_bytes(pickle.dumps(Hostile()))
    refuse(DAMAGED, tmp_path)
    assert not Hostile.ran


def test_damaged_and_foreign_files_are_refused(small, tmp_path):
    path = tmp_path / "estimator"
    header, tensors = small
    write(path, header, tensors)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuse(DAMAGED, tmp_path)
    foreign = "is not a file of skgrav: `save` has not written it"
    refuse(foreign, tmp_path, header | {"format": "other.Estimator"}, tensors)
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    refuse(foreign, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'path' is '.*nowhere', but there is no such"):
        VAEGenerator.load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match=r"'path' is '.*', which is a folder"):
        VAEGenerator.load(tmp_path)


@pytest.mark.parametrize("header", ["[1, 2]", '"text"', "7", "null"])
def test_header_that_is_not_a_dict_is_refused(header, small, tmp_path):
    refuse(rf"{DAMAGED}its header is a \w+, not a dict\.", tmp_path, header, small[1])


STATE = ("estimator", "state")


@pytest.mark.parametrize(
    "place",
    [
        ("version",),
        ("estimator",),
        *(("estimator", name) for name in ("object", "state")),
        *((*STATE, name) for name in ("n_outputs_", "_y_ndim", "density_range_", "loss_curve_")),
        *((*STATE, name) for name in ("_encoding", "network", "_seed")),
        *((*STATE, "_encoding", "state", name) for name in ("data_rms", "mirror")),
        *((*STATE, "operator_", "state", name) for name in ("mesh_", "survey_", "method_")),
    ],
    ids=".".join,
)
def test_header_that_lacks_something_is_refused(place, network, tmp_path):
    header = changed(network[0], place)
    refuse(f"{DAMAGED}it lacks '{place[-1]}'", tmp_path, header, network[1], cls=CNNInverter)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), "1"),
        (("estimator", "parameters"), []),
        ((*STATE, "density_range_"), None),
        ((*STATE, "_encoding"), {"object": "Mirror"}),
        ((*STATE, "_encoding", "state", "mirror"), 3),
    ],
)
def test_header_with_entries_of_another_kind_is_refused(place, value, network, tmp_path):
    header = changed(network[0], place, value)
    refuse(f"({DAMAGED}|holds a node)", tmp_path, header, network[1], cls=CNNInverter)


def test_file_that_lacks_an_array_is_refused(network, tmp_path):
    header, tensors = network
    for name in tensors:
        refuse(DAMAGED, tmp_path, header, changed(tensors, [name]), cls=CNNInverter)


def test_weights_of_another_shape_are_refused_by_name(network, tmp_path):
    header, tensors = network
    short = tensors | {"network.first.bias": tensors["network.first.bias"][:-1]}
    text = rf"{DAMAGED}weights are missing.*shape: first\.bias\."
    refuse(text, tmp_path, header, short, cls=CNNInverter)
