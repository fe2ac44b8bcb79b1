"""What classes declare for their files, and classes of the user in files."""

import copy
import sys
from dataclasses import dataclass, field, fields

import numpy as np
import pytest
from numpy.typing import NDArray
from saved_estimators import CLEAN, X, Y, again, read, write
from sklearn.base import BaseEstimator

from skgrav import Mesh, Refiner
from skgrav.inverters import InverterMixin
from skgrav.io import Field, SavedMixin, Weights, _registry, saved, sized
from skgrav.io._fields import check_field
from skgrav.pipeline import Pipeline
from skgrav.solvers import CGLS, SOLVERS

ARRAY = NDArray[np.float64]
FIELDS = {
    "array": (
        Field("vector", ARRAY, ("k",)),
        np.ones(2),
        np.ones(3),
        r"is an array of float64 of shape \(3,\), but it must be an array of .* \(k,\) with k = 2",
    ),
    "any numbers": (Field("v", np.ndarray, ("k",)), np.arange(2), np.ones((2, 1)), "of numbers of"),
    "integers": (Field("order", NDArray[np.intp]), np.arange(2), np.ones(2), "an array of int64$"),
    "flags": (Field("f", NDArray[np.bool_]), np.ones(2, bool), np.ones(2), "an array of bool$"),
    "names": (Field("n", NDArray[np.object_]), np.array(["x"], object), np.ones(2), "of object"),
    "int": (Field("k", int), 2, 4, "'k' is 4, but it must be int with k = 2"),
    "another int": (Field("c", int), np.int64(3), True, "'c' is True, but it must be int"),
    "float": (Field("s", float), 3, "3", "'s' is '3', but it must be float"),
    "bool": (Field("w", bool), np.True_, 1, "'w' is 1, but it must be bool"),
    "str": (Field("m", str), "fft", 1, "'m' is 1, but it must be str"),
    "pair": (
        Field("r", tuple[float, float]),
        (0, 1.0),
        [0, 1.0],
        r"a list, .* tuple\[float, f",
    ),
    "pair of one": (Field("r", tuple[float, float]), (0, 1.0), (0.0,), "'r' is a tuple, but it"),
    "list": (Field("l", list[float]), [1.0], ["a"], r"'l' is a list, but it must be list\[float\]"),
    "arrays": (Field("e", tuple[ARRAY, ...]), (np.ones(2), np.ones(3)), (1.0,), "'e' is a tuple"),
    "weights": (Field("n", Weights), {"w": np.ones(2)}, {"w": 1.0}, "'n' is a dict"),
    "union": (
        Field("rest", ARRAY | None, ("k", "k")),
        None,
        np.ones((2, 3)),
        r"'rest' .* must be an array of float64 of shape \(k, k\) or None with k = 2",
    ),
    "class": (Field("mesh", Mesh), Mesh.square(2), "mesh", "'mesh' is 'mesh', .* must be Mesh"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_field_says_what_it_wants(name):
    declared, good, bad, text = FIELDS[name]
    sizes = {}
    check_field(Field("matrix", ARRAY, ("n", "k")), np.ones((3, 2)), sizes)
    check_field(declared, good, sizes)
    with pytest.raises(TypeError, match=text):
        check_field(declared, bad, sizes)


def test_all_solvers_and_classes_of_files_are_there():
    assert all(_registry.kind_of(solver) is not None for solver in SOLVERS.values())
    for name in [*_registry._registered, *(f"sklearn.{name}" for name in _registry._SKLEARN)]:
        kind = _registry.kind_named(name)
        assert _registry.kind_of(kind.cls) is kind
        if kind.is_value:
            assert list(kind.fields) == [part.name for part in fields(kind.cls)]


# ----------------------------------------------------------------------------- the user's own


@saved
@dataclass(frozen=True)
class Spread:
    """A value within an estimator."""

    low: ARRAY = field(metadata=sized("n_outputs_"))
    high: ARRAY = field(metadata=sized("n_outputs_"))


@saved
class Middle(InverterMixin, BaseEstimator):
    """An inverter of the user."""

    _file_fields = (
        *InverterMixin._file_fields,
        Field("spread_", Spread),
        Field("shift_", ARRAY | None, ("n_outputs_",), optional=True),
    )
    _file_left_out = ("cache_",)

    def __init__(self, share=0.5, solver=None):
        self.share = share
        self.solver = solver

    def fit(self, X, y):
        self.n_features_in_, self.n_outputs_, self._y_ndim = np.shape(X)[1], y.shape[1], y.ndim
        self.spread_ = Spread(y.min(axis=0), y.max(axis=0))
        self._mix()
        return self

    def predict(self, X):
        return self._as_fitted(np.tile(self.cache_, (len(X), 1)))

    def _mix(self):
        self.cache_ = self.share * self.spread_.low + (1 - self.share) * self.spread_.high

    def _file_restore(self, state):
        vars(self).update(state)
        self._mix()


@saved
class Centre(SavedMixin, BaseEstimator):
    """An estimator that declares nothing."""

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        return self


@saved
class Halved(CGLS):
    """A solver of the user."""

    def solve(self, operator, g, rho0=None, **parameters):
        return super().solve(operator, g, 0.5 * rho0, **parameters)


@pytest.mark.parametrize(
    "estimator",
    [
        Middle(0.3),
        Middle(solver=Halved(max_iter=3)),
        Refiner(Halved(), init=Middle(0.2), **CLEAN),
        Pipeline([Middle(), Refiner("cgls", **CLEAN)]),
    ],
    ids=["inverter", "parameter", "start and solver", "pipeline"],
)
def test_registered_classes_are_saved_and_loaded(estimator, tmp_path):
    loaded = again(estimator.fit(X, Y), tmp_path)
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    assert type(loaded) is type(estimator)
    assert repr(loaded) == repr(estimator)
    assert type(SavedMixin.load(tmp_path / "estimator")) is type(estimator)


def test_what_is_not_declared_is_refused_by_name(tmp_path):
    inverter = Middle().fit(X, Y)
    for name, value, text in (
        ("note_", 1.0, "'note_' is an attribute .* list it in the '_file_fields' of Middle"),
        (
            "shift_",
            np.ones(3),
            r"'shift_' is an array .* of shape \(n_outputs_,\) or None",
        ),
    ):
        changed = copy.copy(inverter)
        setattr(changed, name, value)
        with pytest.raises((TypeError, ValueError), match=text):
            changed.save(tmp_path / "estimator")
    with pytest.raises(ValueError, match=r"'mean_' is an attribute .* '_file_fields' of Centre"):
        Centre().fit(X).save(tmp_path / "estimator")
    del inverter.spread_
    with pytest.raises(ValueError, match="'spread_' is missing: '_file_fields' of Middle lists it"):
        inverter.save(tmp_path / "estimator")
    assert not list(tmp_path.iterdir())


def test_error_names_the_decorator(tmp_path):
    class Own(Middle):
        pass

    @dataclass
    class Value:
        number: float

    middle = Middle().fit(X, Y)
    for estimator, place, name in (
        (Own().fit(X, Y), "the estimator", "Own"),
        (middle.set_params(share=Value(1.0)), "share", "Value"),
    ):
        text = f"'{place}' is a {name}, which .* Register {name} by the decorator skgrav.io.saved"
        with pytest.raises(ValueError, match=text):
            estimator.save(tmp_path / "estimator")


def test_file_imports_no_module_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    Middle().fit(X, Y).save(tmp_path / "estimator")
    header, tensors = read(tmp_path / "estimator")
    assert header["estimator"]["object"] == "test_saved_classes.Middle"
    with monkeypatch.context() as patch:
        patch.delitem(_registry._registered, "test_saved_classes.Middle")
        text = r"holds the class 'test_saved_classes\.Middle', .* import the module that defines"
        with pytest.raises(ValueError, match=text):
            Middle.load(tmp_path / "estimator")
    for name in ("hostile_module.Middle", "hostile_module", "test_saved_classes.Unregistered"):
        header["estimator"]["object"] = name
        write(tmp_path / "estimator", header, tensors)
        with pytest.raises(ValueError, match="estimator holds the class"):
            Middle.load(tmp_path / "estimator")
    assert "hostile_module" not in sys.modules


class Unregistered(BaseEstimator):
    """Must never be made from a file."""

    def __init__(self):
        raise AssertionError("a class that is not registered was made")


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (("state", "n_outputs_"), 63, "'low' is an array|with n_outputs_ = 64|damaged"),
        (("state", "spread_"), {"object": "Mesh", "state": {}}, "damaged: it lacks 'edges'"),
        (("state", "spread_"), None, "'spread_' is None, but it must be Spread"),
        (("state", "cache_"), 1, "holds 'cache_' of test_saved_classes.Middle"),
        (("state", "shift_"), {"dict": {}}, "'shift_' is a dict, but it must be an array"),
        (("parameters", "depth"), 3, "holds 'depth' of test_saved_classes.Middle"),
        (
            ("parameters", "share"),
            {"object": "test_saved_classes.Unregistered", "state": None},
            "holds the class 'test_saved_classes.Unregistered'",
        ),
        (("parameters", "solver"), {"object": "os.system"}, "holds the class 'os.system'"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_hostile_file_of_a_registered_class_is_refused(place, value, text, tmp_path):
    inverter = Middle().fit(X, Y)
    inverter.shift_ = np.ones(64)
    inverter.save(tmp_path / "estimator")
    header, tensors = read(tmp_path / "estimator")
    header["estimator"][place[0]][place[1]] = value
    write(tmp_path / "estimator", header, tensors)
    with pytest.raises(ValueError, match=text):
        Middle.load(tmp_path / "estimator")


def test_decorator_takes_estimators_and_values_of_one_name_alone():
    class Plain:
        pass

    with pytest.raises(TypeError, match="Plain is neither an estimator nor a dataclass"):
        saved(Plain)
    other = type("Middle", (Middle,), {"__qualname__": "elsewhere.Middle"})
    with pytest.raises(ValueError, match=r"the name of test_saved_classes\.Middle in files"):
        saved(other)
    again_defined = type("Middle", (Middle,), {"__qualname__": "Middle"})
    assert saved(again_defined) is again_defined  # as in a notebook
    assert saved(Middle) is Middle
