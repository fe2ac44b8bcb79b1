"""The classes whose objects a file may hold: these, and no other."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any

from sklearn.base import BaseEstimator

#: Home of each class of skgrav. A file names classes by the keys alone: what is imported is
#: written here.
_HOMES = {
    "BayesLinearInverter": "skgrav.inverters._bayes_linear",
    "CGLS": "skgrav.solvers._cgls",
    "CNNInverter": "skgrav.inverters._cnn",
    "CodePrior": "skgrav.inverters._latent_space",
    "CodeRegression": "skgrav.inverters._latent_space",
    "DampedLeastSquares": "skgrav.inverters._damping",
    "DataError": "skgrav.inverters._latent_space",
    "DataSpace": "skgrav.solvers._gaussian",
    "ErrorCorrection": "skgrav.inverters._correction",
    "ForwardOperator": "skgrav.operators._forward",
    "GANGenerator": "skgrav.generators._gan",
    "GMRES": "skgrav.solvers._krylov",
    "GaussianPrior": "skgrav.inverters._prior",
    "GradientDescent": "skgrav.solvers._gradient_descent",
    "ICG": "skgrav.solvers._icg",
    "LGMRES": "skgrav.solvers._krylov",
    "LSMR": "skgrav.solvers._lsmr",
    "LatentInverter": "skgrav.inverters._latent",
    "LatentSpace": "skgrav.inverters._latent_space",
    "LinearDecoder": "skgrav.inverters._latent_space",
    "MatrixOperator": "skgrav.operators._matrix",
    "Mesh": "skgrav.geometry._mesh",
    "Mirror": "skgrav.training._augmentation",
    "ModelNorm": "skgrav.inverters._model_norm",
    "Pipeline": "skgrav.pipeline",
    "Projection": "skgrav.solvers._projection",
    "Refiner": "skgrav.inverters._refiner",
    "SparseInverter": "skgrav.inverters._sparse",
    "StandardisedEncoding": "skgrav.inverters._standardised",
    "Survey": "skgrav.geometry._survey",
    "TikhonovInverter": "skgrav.inverters._tikhonov",
    "VAEGenerator": "skgrav.generators._vae",
    "WhitenedEncoding": "skgrav.inverters._whitened",
}

_COMPONENTS = {
    "components_": "[k n]",
    "explained_variance_": "[k]",
    "explained_variance_ratio_": "[k]",
    "singular_values_": "[k]",
    "n_features_in_": "int",
    "feature_names_in_": "names?",
}

#: Home of each class of others, and the forms of what it has fitted.
_OTHERS: dict[str, tuple[str, dict[str, str]]] = {
    "sklearn.FrozenEstimator": ("sklearn.frozen", {}),
    "sklearn.KFold": ("sklearn.model_selection", {}),
    "sklearn.PCA": (
        "sklearn.decomposition",
        _COMPONENTS
        | {
            "mean_": "[n]",
            "noise_variance_": "float",
            "n_samples_": "int",
            "n_components_": "int",
            "_fit_svd_solver": "str",
        },
    ),
    "sklearn.Pipeline": ("sklearn.pipeline", {}),
    "sklearn.StandardScaler": (
        "sklearn.preprocessing",
        {
            "mean_": "[n] | None",
            "var_": "[n] | None",
            "scale_": "[n] | None",
            "n_samples_seen_": "float | int [n]",
            "n_features_in_": "int",
            "feature_names_in_": "names?",
        },
    ),
    "sklearn.TruncatedSVD": ("sklearn.decomposition", _COMPONENTS),
}

#: Parameters that are of one machine, of one session or of training alone. A file must not name
#: places: joblib's memory unpickles what it finds there, and a checkpoint is written there.
LEFT_OUT = frozenset({"callbacks", "checkpoint", "device", "memory"})


@dataclass(frozen=True)
class Kind:
    """A class whose objects a file may hold, and what of them it holds."""

    name: str
    cls: type
    #: Form of each value that makes the object, or that it has fitted; see `_forms`.
    forms: dict[str, str]

    @property
    def parameters(self) -> list[str]:
        """Names of what its constructor takes; none for objects that are made of their state."""
        if self.is_value:
            return []
        cls: Any = self.cls
        if issubclass(cls, BaseEstimator):
            return cls._get_param_names()
        return ["n_splits", "shuffle", "random_state"]  # KFold's, which has no get_params

    @property
    def is_value(self) -> bool:
        """Whether an object is its constructor's arguments, nothing being fitted."""
        return is_dataclass(self.cls)

    @property
    def is_strict(self) -> bool:
        """Whether attributes that no form foresees are refused; others may have caches."""
        return self.name in _HOMES


def kind_named(name: Any) -> Kind | None:
    """Return the class of a name in a file, or None if it is not one of those."""
    return _kind_named(name) if isinstance(name, str) else None


def kind_of(cls: type) -> Kind | None:
    """Return what a file holds of the objects of a class, subclasses not being meant."""
    for name in (cls.__name__, f"sklearn.{cls.__name__}"):
        kind = kind_named(name)
        if kind is not None and kind.cls is cls:
            return kind
    return None


@cache
def _kind_named(name: str) -> Kind | None:
    if name in _HOMES:
        cls = getattr(importlib.import_module(_HOMES[name]), name)
        return Kind(name, cls, getattr(cls, "_file_forms", {}))
    if name in _OTHERS:
        home, forms = _OTHERS[name]
        return Kind(name, getattr(importlib.import_module(home), name.partition(".")[2]), forms)
    return None
