"""Classes whose objects may be saved: registered by `saved`, and some of scikit-learn."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeVar

from sklearn.base import BaseEstimator

from skgrav._typing import Array, Indices
from skgrav.geometry import Mesh, Survey
from skgrav.io._fields import FEATURES, Field, fields_of

Class = TypeVar("Class", bound=type)

_COMPONENTS = (
    *FEATURES,
    Field("components_", Array, ("k", "n")),
    Field("explained_variance_", Array, ("k",)),
    Field("explained_variance_ratio_", Array, ("k",)),
    Field("singular_values_", Array, ("k",)),
)

#: Module and fitted attributes of each class of scikit-learn.
_SKLEARN: dict[str, tuple[str, tuple[Field, ...]]] = {
    "FrozenEstimator": ("frozen", ()),
    "KFold": ("model_selection", ()),
    "PCA": (
        "decomposition",
        (
            *_COMPONENTS,
            Field("mean_", Array, ("n",)),
            Field("noise_variance_", float),
            Field("n_samples_", int),
            Field("n_components_", int),
            Field("_fit_svd_solver", str),
        ),
    ),
    "Pipeline": ("pipeline", ()),
    "StandardScaler": (
        "preprocessing",
        (
            *FEATURES,
            Field("mean_", Array | None, ("n",)),
            Field("var_", Array | None, ("n",)),
            Field("scale_", Array | None, ("n",)),
            Field("n_samples_seen_", float | Indices, ("n",)),
        ),
    ),
    "TruncatedSVD": ("decomposition", _COMPONENTS),
}

#: Parameters of a machine, a session or training alone. A file must not name folders: joblib's
#: memory unpickles files of its folder, and a checkpoint is written to it.
LEFT_OUT = frozenset({"callbacks", "checkpoint", "device", "memory"})


@dataclass(frozen=True)
class Kind:
    """A class whose objects may be saved, and its attributes in the file."""

    name: str
    cls: type
    #: Saved attributes other than parameters, by name.
    fields: dict[str, Field]
    #: Whether undeclared attributes are refused; classes of other packages may have caches.
    is_strict: bool = True

    @classmethod
    def of(cls, kind: type, fields: tuple[Field, ...], *, is_strict: bool = True) -> Kind:
        """Describe a class by its fields."""
        return cls(_name_of(kind), kind, {field.name: field for field in fields}, is_strict)

    @property
    def parameters(self) -> list[str]:
        """Names of the constructor's arguments; none for value objects, which have fields."""
        return [] if self.is_value else list(inspect.signature(self.cls).parameters)

    @property
    def is_value(self) -> bool:
        """Whether objects consist of their fields, as dataclasses do."""
        return is_dataclass(self.cls)


_registered: dict[str, Kind] = {}


def saved(kept: Class) -> Class:
    """Register a class, so that its objects can be saved.

    The class attribute ``_file_fields`` of an estimator is a tuple with a `Field` for each fitted
    attribute; parameters are saved without being listed. ``_file_left_out`` names attributes that
    can be recomputed. Where fields are not attributes, a method ``_file_state()`` returns their
    values, and ``_file_restore(state)`` sets the attributes from them. A frozen dataclass needs
    only annotations, which are the types of its fields.

    `load` finds the class only if the module that defines it has been imported: a file never
    causes an import.

    Parameters
    ----------
    kept : class
        A subclass of scikit-learn's BaseEstimator, or a dataclass. Its subclasses are registered
        separately.

    Returns
    -------
    kept : class
        The same class.

    Raises
    ------
    TypeError
        If it is neither an estimator nor a dataclass.
    ValueError
        If another class of the same package has this name.

    See Also
    --------
    Field : An attribute in a file.
    SavedMixin : Gives an estimator `save` and `load`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> from skgrav.io import Field, SavedMixin, saved
    >>> @saved
    ... class Centre(SavedMixin, TransformerMixin, BaseEstimator):
    ...     _file_fields = (Field("mean_", np.ndarray, ("n_data",)),)
    ...
    ...     def fit(self, X, y=None):
    ...         self.mean_ = np.mean(X, axis=0)
    ...         return self
    ...
    ...     def transform(self, X):
    ...         return X - self.mean_
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "centre.safetensors"
    >>> Centre().fit([[1.0, 2.0], [3.0, 6.0]]).save(path)
    >>> Centre.load(path).mean_
    array([2., 4.])
    """
    if not (is_dataclass(kept) or issubclass(kept, BaseEstimator)):
        raise TypeError(
            f"{kept.__name__} is neither an estimator nor a dataclass, so 'saved' cannot find its "
            "attributes. Derive it from sklearn.base.BaseEstimator."
        )
    # Annotations are evaluated here, and never while a file is read.
    kind = Kind.of(kept, fields_of(kept))
    known = _registered.get(kind.name)
    # A notebook may define a class again: the last definition is used.
    if known is not None and _place(known.cls) != _place(kept):
        raise ValueError(
            f"{_place(kept)} cannot be registered as {kind.name!r}, the name of "
            f"{_place(known.cls)} in files. Rename one of them."
        )
    _registered[kind.name] = kind
    return kept


def kind_named(name: Any) -> Kind | None:
    """Return the class with a name in files, or None if it is not registered."""
    if not isinstance(name, str):
        return None
    if name not in _registered:
        _find(name)
    return _registered.get(name)


def kind_of(cls: type) -> Kind | None:
    """Return the entry of a class, or None; a subclass has an entry only if registered itself."""
    kind = kind_named(_name_of(cls))
    return kind if kind is not None and kind.cls is cls else None


def _find(name: str) -> None:
    """Register a class of scikit-learn, or import a public one of skgrav, which registers it."""
    import skgrav

    package, _, rest = name.rpartition(".")
    if package == "sklearn" and rest in _SKLEARN:
        module, fields = _SKLEARN[rest]
        cls = getattr(importlib.import_module(f"sklearn.{module}"), rest)
        _registered[name] = Kind.of(cls, fields, is_strict=False)
    for room in (skgrav, skgrav.solvers):
        if name in room.__all__:
            getattr(room, name)


def _name_of(cls: type) -> str:
    """Return the name of a class in files: its package, unless skgrav, but not its module."""
    package = cls.__module__.partition(".")[0]
    return cls.__name__ if package == "skgrav" else f"{package}.{cls.__name__}"


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


for _cls in (Mesh, Survey):  # geometry is below io, and cannot import the decorator
    saved(_cls)
