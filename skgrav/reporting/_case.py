"""One row of data, its estimate, and all that the inverter says of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array
from skgrav._typing import Array, Mask
from skgrav.geometry import Mesh, Survey, component_unit, core_of
from skgrav.noise import Noise, Trend
from skgrav.operators import CellValues, is_lazy
from skgrav.plotting import has_elevations, one_row, operator_of, parts_of
from skgrav.reporting._statistics import Residuals

#: Index of the depth of investigation from which on the prior outweighs the data.
PRIOR = 0.5

#: Draws from which a standard deviation is computed where the method gives none.
_LEAST_DRAWS = 19


@dataclass(frozen=True)
class Case:
    """One row of data and its estimate.

    What the method does not give is None. `absent` says why, by name, where it refused.
    """

    estimator: Any
    operator: Any
    g: Array
    rho: Array
    noise: Noise
    #: Gravity of the density, and the trend of the residual.
    predicted: Array
    trend: Trend | None
    #: Standard deviation of each datum, stated or assumed by the choice of alpha; None also if 0.
    sigma: Array | None = None
    #: What `invert` returned.
    result: Any = None
    std: Array | None = None
    #: Quantiles of 5, 50 and 95 %, (3, n_cells).
    quantiles: Array | None = None
    #: (n_draws, n_cells).
    draws: Array | None = None
    #: Index of the depth of investigation of each cell.
    investigation: Array | None = None
    curve: Any = None
    #: Each datum less what the others predict of it, in standard deviations, (n_data,).
    left_out: Array | None = None
    #: Probability of data as unlike the training data as these.
    applicability: float | None = None
    absent: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def mesh(self) -> Mesh | None:
        """The mesh, if the operator has one."""
        return getattr(self.operator, "mesh_", None)

    @property
    def surveys(self) -> list[Survey]:
        """The surveys, several of a joint operator."""
        return [survey for survey, _ in self.operator.surveys_]

    @property
    def units(self) -> str:
        """Units of the operator."""
        return str(getattr(self.operator, "units", "mGal"))

    @property
    def density_unit(self) -> str:
        """Unit of density."""
        return "kg/m³" if self.units == "mGal" else "normalized units"

    @property
    def stations(self) -> Array | None:
        """Stations of all surveys, (n_stations, ndim)."""
        return np.vstack([s.stations for s in self.surveys]) if self.surveys else None

    @property
    def parts(self) -> list[tuple[Any, slice]]:
        """The parts of a joint operator and their data, otherwise the operator and all data."""
        return list(self.operator.parts_)

    @property
    def part_names(self) -> list[str]:
        """What is put before the names of the data of each part, as these repeat; else nothing."""
        surveys = [getattr(part, "survey_", None) for part, _ in self.parts]
        names = [c for s in surveys for c in (("",) if s is None else s.components)]
        repeated = len(set(names)) < len(names)
        return [f"operator{i} " if repeated else "" for i in range(len(surveys))]

    @property
    def explained(self) -> Array:
        """Gravity of the density with the trend, (n_data,)."""
        return self.predicted if self.trend is None else self.predicted + self.trend.values[0]

    @property
    def is_exact(self) -> bool:
        """Whether the data have no noise by what is stated."""
        std = self.noise.std(self.g[None])
        return std is not None and not std.any()

    @property
    def chi_factor(self) -> float | None:
        """Mean square of the residual in units of the noise, without the trend, if there is one."""
        if self.is_exact:
            return None
        chi = self.noise.chi_factor((self.g - self.predicted)[None], self.g[None])
        return None if chi is None else float(chi[0])

    def part_with(self, name: str) -> Any:
        """Return the last part of the estimator that has an attribute, None if there is none."""
        parts = reversed(list(parts_of(self.estimator)))
        return next((part for part in parts if hasattr(part, name)), None)

    @property
    def criterion(self) -> str | None:
        """How alpha was chosen, None if it was given."""
        alpha = getattr(self.part_with("alpha"), "alpha", None)
        if isinstance(alpha, str) and alpha == "auto":
            return "discrepancy" if self.noise.is_known else "gcv"
        return alpha if isinstance(alpha, str) else None

    @property
    def core(self) -> Mask:
        """Which cells are no padding, (n_cells,)."""
        if self.mesh is None:
            return np.ones(len(self.rho), dtype=bool)
        inside = np.zeros(self.mesh.shape, dtype=bool)
        inside[:, *core_of(self.mesh, self.stations)] = True
        return inside.ravel()[self.mesh.cells]

    @property
    def has_elevations(self) -> bool:
        """Whether vertical positions are told as elevations, not as depths."""
        return self.mesh is not None and has_elevations(self.mesh)

    @property
    def investigated(self) -> Array | None:
        """Depth z in each column below which the prior outweighs the data, as a layer; else None.

        The depth below the lowest cell whose index is below `PRIOR`: infinity where that is the
        bottom of the mesh, NaN where there is none.
        """
        if self.investigation is None or self.mesh is None:
            return None
        index = self.mesh.unflatten(self.investigation, fill=1.0)
        known = index < PRIOR
        lowest = len(index) - 1 - np.argmax(known[::-1], axis=0)
        below = np.append(self.mesh.edges[0][1:-1], np.inf)
        return np.where(known.any(axis=0), below[lowest], np.nan)

    def residuals(self) -> list[Residuals]:
        """Return the residuals of each component of each part."""
        found, residual, white = [], self.g - self.explained, self.noise.whitening
        leverage = 1.0 - white.adjoint_norms2 * white.weights**2  # of the coefficients of the trend
        for before, (part, own) in zip(self.part_names, self.parts, strict=True):
            survey = getattr(part, "survey_", None)
            if survey is None:
                name, unit = ("density", "kg/m3") if isinstance(part, CellValues) else ("data", "")
                blocks, names, places = [own], [(name, unit)], None
            else:
                n, first = survey.n_stations, own.start
                blocks = [slice(i, i + n) for i in range(first, own.stop, n)]
                names = [
                    (f"g{c}", component_unit(c) if self.units == "mGal" else "normalized")
                    for c in survey.components
                ]
                places = survey.stations
            for block, (name, unit) in zip(blocks, names, strict=True):
                sigma = None if self.sigma is None else self.sigma[block]
                left_out = None if self.left_out is None else self.left_out[block]
                of = self.g[block], residual[block], sigma, places, left_out
                found.append(Residuals(before + name, unit, *of, float(leverage[block].sum())))
        return found


def case_of(
    inverter: Any,
    X: Any,
    *,
    sample: int,
    noise_level: ArrayLike | None,
    operator: Any,
    estimate: Any,
    uncertainty: bool,
    n_draws: int,
    random_state: Any,
) -> Case:
    """Estimate the density of one row, and ask the inverter for all that it says."""
    if is_lazy(X):
        raise TypeError(
            "'X' is a dask array, of which one row is reported; give X[i : i + 1].compute()."
        )
    if not hasattr(inverter, "predict"):
        raise TypeError(
            f"'inverter' is {inverter!r}, which has no `predict`; give a fitted inverter."
        )
    if hasattr(inverter, "__sklearn_tags__"):  # a user's own class need not be an estimator
        check_is_fitted(inverter)
    operator = operator_of(inverter) if operator is None else operator
    if not hasattr(operator, "parts_"):
        raise ValueError(
            f"'operator' is {operator!r}, and 'inverter' has no fitted one; give the fitted "
            "operator from density to data."
        )
    check_is_fitted(operator)
    row = real_array(one_row(X, sample), "X")
    n_data, n_cells = operator.n_data_, operator.n_cells_
    if row.shape[1] not in (n_data, n_cells + n_data):  # the data of a refiner follow its start
        raise ValueError(f"'X' has {row.shape[1]} columns, but the operator has {n_data} data.")
    with _collected() as messages:
        case = _estimated(inverter, operator, row, noise_level, estimate)
        case = _doubted(case, row, noise_level, uncertainty, n_draws, random_state)
    return replace(case, warnings=tuple(dict.fromkeys(messages)))


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Collect the texts of warnings."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught]


def _estimated(inverter: Any, operator: Any, row: Array, noise_level: Any, estimate: Any) -> Case:
    """Return the case with the density and its fit."""
    result = None
    if estimate is None and hasattr(inverter, "invert"):
        estimate = _call(inverter.invert, row, noise_level=noise_level)
    elif estimate is None:
        estimate = _call(inverter.predict, row, noise_level=noise_level)
    if hasattr(estimate, "rho"):
        result, estimate = estimate, estimate.rho
    rho = np.ravel(real_array(estimate, "estimate"))
    if rho.size != operator.n_cells_:
        raise ValueError(
            f"'estimate' has {rho.size} densities, but the operator has {operator.n_cells_} cells."
        )
    g = row[0, -operator.n_data_ :]
    level = _level(inverter) if noise_level is None else noise_level
    noise = Noise.of(operator, None if isinstance(level, str) else level)
    predicted = operator.transform(rho[None])[0]
    sigma = noise.std(g[None])
    if sigma is None and np.isfinite(found := getattr(result, "sigma", np.array([np.nan]))).all():
        sigma = found[:, None] * noise.whitening.weights
    trend = getattr(result, "trend", None)
    if trend is None or trend.values.shape != (1, g.size):
        trend = noise.trend((g - predicted)[None])
        # The standard deviations would hold only for an exact density.
        trend = replace(trend, std=np.full_like(trend.std, np.nan))
    return Case(
        inverter,
        operator,
        g,
        rho,
        noise,
        predicted,
        trend if noise.has_trend else None,
        sigma[0] if sigma is not None and sigma.any() else None,
        result,
    )


def _level(inverter: Any) -> Any:
    """Return the noise level of the last part of an estimator that has one."""
    for part in reversed(list(parts_of(inverter))):
        level = getattr(part, "noise_level", None)
        if isinstance(level, Real | str):
            return level
    return None


def _doubted(
    case: Case,
    row: Array,
    noise_level: Any,
    uncertainty: bool,
    n_draws: int,
    random_state: Any,
) -> Case:
    """Return the case with how sure its densities are, as far as the method says."""
    inverter, absent = case.estimator, dict(case.absent)

    def asked(name: str, method: str, of: Any = inverter, X: Array = row, **options: Any) -> Any:
        if not hasattr(of, method):
            return None
        try:
            return _call(getattr(of, method), X, **{"noise_level": noise_level} | options)
        except (ValueError, NotImplementedError, MemoryError) as error:
            absent[name] = str(error)
            return None

    # In a Pipeline, or as the start of a refiner, the part that was trained says it.
    trained = [part for part in parts_of(inverter) if hasattr(part, "applicability")]
    if trained:
        options = {}
        if noise_level is None and getattr(trained[0], "noise_level", None) is None:
            options["noise_level"] = _level(inverter)  # which the others hand on to it
        name = "likeness to the training data"
        p = asked(name, "applicability", trained[0], case.g[None], **options)
        case = replace(case, applicability=None if p is None else float(np.ravel(p)[0]))
    if not uncertainty:
        return replace(case, absent=absent)
    std = None
    if "return_std" in signature(inverter.predict).parameters:
        found = asked("standard deviation", "predict", return_std=True)
        std = None if found is None else np.ravel(found[1])
    quantiles = asked("quantiles", "predict_quantiles", quantiles=(0.05, 0.5, 0.95))
    if quantiles is not None:
        quantiles = np.asarray(quantiles).reshape(len(case.rho), 3).T
    draws = None
    if n_draws:
        draws = asked("draws", "sample_y", n_samples=n_draws, random_state=random_state)
    if draws is not None:
        draws = np.asarray(draws).reshape(len(case.rho), n_draws).T
        if std is None and n_draws >= _LEAST_DRAWS:
            std = draws.std(axis=0, ddof=1)
    resolution = asked("depth of investigation", "resolution")
    left_out = asked("prediction of each datum by the others", "leave_one_out")
    curve = None
    if getattr(case.result, "alpha", None) is not None:
        curve = asked("curve of alpha", "alpha_curve")
    return replace(
        case,
        std=std,
        quantiles=quantiles,
        draws=draws,
        investigation=None if resolution is None else resolution.depth_of_investigation[0],
        curve=curve,
        left_out=None if left_out is None else left_out[0],
        absent=absent,
    )


def _call(method: Any, row: Array, **options: Any) -> Any:
    """Call a method with those options that it takes, and that are given."""
    known = signature(method).parameters
    return method(row, **{k: v for k, v in options.items() if k in known and v is not None})
