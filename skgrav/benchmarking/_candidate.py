"""Any estimator of density from gravity, called as the signatures of its methods allow."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skgrav._typing import Array
from skgrav.inverters import ConformalInverter, InverterMixin, has_std, takes_noise_level

#: Equally likely quantiles, of which 0.05, 0.25, 0.75 and 0.95 bound the intervals. With each as a
#: fiftieth of the distribution, the CRPS of a Gaussian is within 0.1 % of the closed form.
QUANTILES = (np.arange(50) + 0.5) / 50


class EstimatorFailure(Exception):
    """An estimator raised an error, or returned invalid densities."""


@dataclass
class Candidate:
    """An estimator that is evaluated, and its warnings."""

    name: str
    inverter: Any
    #: Seed of parameters `random_state` that are None.
    seed: int
    #: Bounds to which estimates are clipped.
    clip: tuple[float, float] | None = None
    #: Texts of warnings, with the number of times that each was raised.
    warnings: dict[str, int] = field(default_factory=dict)
    #: The first error that it raised.
    error: Exception | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether it is fitted already and is not fitted again."""
        return isinstance(self.inverter, FrozenEstimator)

    @property
    def takes_noise_level(self) -> bool:
        """Whether `predict` has a parameter for the noise."""
        inverter = _last(self.inverter)
        if isinstance(inverter, ConformalInverter):  # which passes it on
            inverter = _last(inverter.inverter)
        return takes_noise_level(inverter)

    @property
    def needs_noise(self) -> bool:
        """Whether it is fitted to data with each noise, since `predict` has no noise level.

        Calibrated intervals are valid only for the noise of their calibration.
        """
        if self.is_frozen:
            return False
        is_calibrated = isinstance(_last(self.inverter), ConformalInverter)
        return is_calibrated or not self.takes_noise_level

    @property
    def takes_one_survey(self) -> bool:
        """Whether `fit` needs no densities, and a parameter is the operator of the survey."""
        y = _second_argument(_last(self.inverter))
        no_need = y is None or y.default is not Parameter.empty
        return not self.is_frozen and no_need and bool(self._operators)

    @property
    def _operators(self) -> dict[str, Any]:
        """Return the parameters `operator`, if the estimator receives gravity and density.

        Scaled data, as in a pipeline that begins with a scaler, have another operator.
        """
        nested = (self.inverter, *self._parameters.values())
        pipelines = [part for part in nested if isinstance(part, Pipeline)]
        before = [step for pipeline in pipelines for _, step in pipeline.steps[:-1]]
        is_scaled = any(isinstance(part, TransformedTargetRegressor) for part in nested)
        is_scaled |= not all(isinstance(step, InverterMixin) for step in before)
        return {} if is_scaled else self._named("operator")

    def mismatch(self, n_data: int, n_cells: int) -> str | None:
        """Return why a frozen estimator cannot be used with these sizes, or None."""
        if not self.is_frozen:
            return None
        for name, here, what in (
            ("n_features_in_", n_data, "data"),
            ("n_outputs_", n_cells, "cells"),
        ):
            given = getattr(self.inverter, name, here)
            if given != here:
                return f"is fitted to {given} {what}, and there are {here} here"
        return None

    def fit(
        self, X: Array, y: Array | None, where: str, operator: Any, *, anew: bool = False
    ) -> Fitted:
        """Fit a copy to pairs, or to data alone where y is None.

        Parameters `operator` that are None are set to the operator; with `anew` all of them are,
        and the noise is that of the operator's survey. Each `random_state` that is None is set to
        the seed.
        """
        inverter = clone(self.inverter, safe=False)
        if self.is_frozen:
            return Fitted(self, inverter, 0.0, 0 if y is None else y.shape[1])
        if hasattr(inverter, "set_params"):
            given = {k: operator for k, v in self._operators.items() if anew or v is None}
            seeds = {k: self.seed for k, v in self._named("random_state").items() if v is None}
            levels = dict.fromkeys(self._named("noise_level") if anew else {})
            inverter.set_params(**given, **seeds, **levels)
        start = time.process_time()
        with self.named_errors(f"fit {where}"):
            if y is None or _second_argument(_last(inverter)) is None:
                inverter.fit(X)
            else:
                inverter.fit(X, y)
        seconds = time.process_time() - start
        return Fitted(self, inverter, seconds, operator.n_cells_ if y is None else y.shape[1])

    def _named(self, name: str) -> dict[str, Any]:
        """Return the parameters of this name, those of nested estimators included."""
        return {k: v for k, v in self._parameters.items() if k.rpartition("__")[2] == name}

    @property
    def _parameters(self) -> dict[str, Any]:
        """Return all parameters, those of nested estimators included."""
        has_any = hasattr(self.inverter, "get_params")
        return dict(self.inverter.get_params(deep=True)) if has_any else {}

    @contextmanager
    def named_errors(self, where: str) -> Iterator[None]:
        """Collect warnings, and name in errors where they were raised."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                self.error = self.error or error
                if isinstance(error, EstimatorFailure):
                    raise EstimatorFailure(f"{where}: {error}") from error
                text = " ".join(str(error).split())
                raise EstimatorFailure(f"{where}: {type(error).__name__}: {text}") from error
            finally:
                for warning in caught:
                    text = " ".join(str(warning.message).split())
                    self.warnings[text] = self.warnings.get(text, 0) + 1


@dataclass
class Fitted:
    """A fitted copy of a candidate."""

    candidate: Candidate
    inverter: Any
    #: CPU seconds of `fit`.
    seconds: float
    n_cells: int

    def predict(self, X: Array, level: Any, where: str) -> Array:
        """Return densities, (n_samples, n_cells)."""
        with self.candidate.named_errors(f"predict {where}"):
            rho = self.inverter.predict(X, **self._told(level))
            rho = self._checked(rho, (len(X), self.n_cells), "predict")
        return rho if self.candidate.clip is None else np.clip(rho, *self.candidate.clip)

    def marginals(self, X: Array, level: Any, draws: Array | None, where: str) -> Any:
        """Return the distribution of each cell as metrics take it, with keywords, or None."""
        inverter, X = _unwrapped(self.inverter, X)
        told, shape = self._told(level), (len(X), self.n_cells)
        if hasattr(inverter, "predict_quantiles"):
            with self.candidate.named_errors(f"predict_quantiles {where}"):
                quantiles = inverter.predict_quantiles(X, QUANTILES, **told)
                wanted = (*shape, len(QUANTILES))
                return (self._checked(quantiles, wanted, "predict_quantiles"),), {
                    "quantiles": QUANTILES
                }
        if has_std(inverter):
            with self.candidate.named_errors(f"predict(return_std=True) {where}"):
                both = inverter.predict(X, return_std=True, **told)
                return tuple(self._checked(v, shape, "predict") for v in both), {}
        return None if draws is None else ((draws,), {})

    @property
    def has_draws(self) -> bool:
        """Whether it has posterior samples."""
        return hasattr(_last(self.inverter), "sample_y")

    def sample(self, X: Array, level: Any, n_draws: int, where: str) -> Array:
        """Return posterior samples, (n_samples, n_cells, n_draws)."""
        inverter, X = _unwrapped(self.inverter, X)
        options = self._told(level)
        if "random_state" in signature(inverter.sample_y).parameters:
            options["random_state"] = self.candidate.seed
        with self.candidate.named_errors(f"sample_y {where}"):
            drawn = inverter.sample_y(X, n_draws, **options)
            return self._checked(drawn, (len(X), self.n_cells, n_draws), "sample_y")

    def _told(self, level: Any) -> dict[str, Any]:
        told = level is not None and self.candidate.takes_noise_level
        return {"noise_level": level} if told else {}

    @staticmethod
    def _checked(values: Any, shape: tuple[int, ...], method: str) -> Array:
        values = np.asarray(values)
        if values.shape != shape:
            raise EstimatorFailure(f"{method} returned shape {values.shape} instead of {shape}")
        values = values.astype(np.float64, copy=False)
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        if n_bad:
            raise EstimatorFailure(f"{method} returned {n_bad} NaN or infinite numbers")
        return values


def checked_candidate(inverter: Any, seed: int) -> Candidate:
    """Return the estimator as a candidate, or refuse what cannot be evaluated."""
    if isinstance(inverter, type):
        raise TypeError(
            f"'inverter' is the class {inverter.__name__}; give an instance, {inverter.__name__}()."
        )
    for method in ("fit", "predict"):
        if not callable(getattr(inverter, method, None)):
            raise TypeError(
                f"'inverter' is {inverter!r}, which has no `{method}`; give an estimator from "
                "gravity to density with `fit` and `predict`."
            )
    return Candidate(_short_name(inverter), inverter, seed)


def is_fitted(inverter: Any) -> bool:
    """Return whether an estimator has been fitted."""
    if isinstance(inverter, Pipeline):
        return is_fitted(inverter[-1])
    if hasattr(inverter, "__sklearn_is_fitted__"):
        return bool(inverter.__sklearn_is_fitted__())
    learned = (name for name in getattr(inverter, "__dict__", {}) if name.endswith("_"))
    return any(not name.startswith("__") for name in learned)


def _short_name(inverter: Any) -> str:
    """Return the classes of an estimator, without its parameters."""
    if isinstance(inverter, FrozenEstimator):
        return _short_name(inverter.estimator)
    if isinstance(inverter, Pipeline):
        return " + ".join(_short_name(step) for _, step in inverter.steps)
    inner = [
        _short_name(value)
        for name in ("estimator", "regressor", "inverter")
        if hasattr(value := getattr(inverter, name, None), "predict")
    ]
    return f"{type(inverter).__name__}({inner[0]})" if inner else type(inverter).__name__


def _last(inverter: Any) -> Any:
    """Return the last step of pipelines, or the estimator itself."""
    while isinstance(inverter, Pipeline | FrozenEstimator):
        inverter = inverter.estimator if isinstance(inverter, FrozenEstimator) else inverter[-1]
    return inverter


def _unwrapped(inverter: Any, X: Array) -> tuple[Any, Array]:
    """Return the last step of pipelines and its data: pipelines have no `sample_y`."""
    while isinstance(inverter, Pipeline | FrozenEstimator):
        if isinstance(inverter, FrozenEstimator):
            inverter = inverter.estimator
        else:
            X = inverter[:-1].transform(X) if len(inverter) > 1 else X
            inverter = inverter[-1]
    return inverter, X


def _second_argument(inverter: Any) -> Parameter | None:
    """Return the second positional argument of `fit`, if it takes one."""
    parameters = signature(inverter.fit).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    positional = [p for p in parameters if p.kind in kinds]
    if positional and positional[0].kind is Parameter.VAR_POSITIONAL:
        return positional[0]
    return positional[1] if len(positional) > 1 else None
