"""Predicted distributions of density: Gaussian, by quantiles, or by draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from skgrav._checks import check_array, real_array
from skgrav._typing import Array

#: Numbers of draws that are computed at once.
_BLOCK = 4_000_000

#: Slack of probabilities that are fractions of a number of draws.
_SLACK = 1e-9


@dataclass(frozen=True)
class Forecast:
    """Distribution of the density of each cell, with the true density."""

    y_true: Array
    #: Means, of shape (n_samples, n_cells), or quantiles or draws, with another axis.
    y_pred: Array
    #: Standard deviations of a Gaussian.
    std: Array | None = None
    #: Probabilities of the last axis of `y_pred`; draws if both are None.
    probabilities: Array | None = None

    @classmethod
    def of(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        std: ArrayLike | None = None,
        quantiles: ArrayLike | None = None,
    ) -> Forecast:
        """Check the arguments of a score."""
        true = _as_cells(y_true, "y_true")
        if std is not None and quantiles is not None:
            raise ValueError(
                "'std' and 'quantiles' are both given; give the first for a Gaussian and the "
                "other for quantiles."
            )
        if std is not None:
            mean, spread = _as_cells(y_pred, "y_pred"), _as_cells(std, "std")
            for name, values in {"y_pred": mean, "std": spread}.items():
                if values.shape != true.shape:
                    raise ValueError(
                        f"'{name}' has shape {values.shape}, but 'y_true' {true.shape}; both must "
                        "have the same samples and cells."
                    )
            if not (spread >= 0).all():
                raise ValueError(f"'std' has a minimum of {spread.min():g}; it must be at least 0.")
            return cls(true, mean, spread)
        if quantiles is None:
            return cls(true, draws_of(y_pred, true))
        p = probabilities_of(quantiles, "quantiles")
        if len(p) < 2 or (np.diff(p) <= 0).any():
            raise ValueError(
                f"'quantiles' is {np.array2string(p, threshold=6)}; give at least two increasing "
                "probabilities, those of the last axis of 'y_pred'."
            )
        values = draws_of(y_pred, true, least=len(p))
        if values.shape[2] != len(p):
            raise ValueError(
                f"'y_pred' has shape {values.shape}, but 'quantiles' has {len(p)} probabilities; "
                "its last axis must have one for each."
            )
        return cls(true, values, probabilities=p)

    def quantiles(self, probabilities: Array, argument: str) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of samples and their quantiles, (n_probabilities, n_block, n_cells)."""
        p = probabilities
        if self.std is None:
            least, greatest = self._reach()
            if p.min() < least - _SLACK or p.max() > greatest + _SLACK:
                what = f"{self.y_pred.shape[2]} draws reach"
                if self.probabilities is not None:
                    what = "'quantiles' extend"
                raise ValueError(
                    f"'{argument}' has the probabilities {p.min():.4g} to {p.max():.4g}, but "
                    f"{what} from {least:.4g} to {greatest:.4g}. Ask for less, or give more."
                )
        for block in self.blocks():
            if self.std is not None:
                z = ndtri(p)[:, None, None]
                yield block, self.y_pred[block] + z * self.std[block]
            elif self.probabilities is None:
                # The k-th of M draws has probability k / (M + 1), which a new draw from the same
                # distribution is below; other definitions make intervals too short.
                yield block, np.quantile(self.y_pred[block], p, axis=2, method="weibull")
            else:
                yield block, _interpolated(self.probabilities, self.y_pred[block], p)

    def _reach(self) -> tuple[float, float]:
        """Return the smallest and the greatest probability whose quantile is known."""
        if self.probabilities is not None:
            return float(self.probabilities[0]), float(self.probabilities[-1])
        n_draws = self.y_pred.shape[2]
        return 1.0 / (n_draws + 1), n_draws / (n_draws + 1.0)

    def blocks(self) -> Iterator[slice]:
        """Yield slices of samples that fit into memory."""
        size = max(1, _BLOCK // max(1, self.y_pred[0].size))
        for start in range(0, len(self.y_pred), size):
            yield slice(start, start + size)


def draws_of(values: ArrayLike, true: Array, least: int = 2) -> Array:
    """Return draws, (n_samples, n_cells, n_draws); those of a vector have one cell."""
    array = check_array(
        values, "y_pred", dtype=(np.float64, np.float32), allow_nd=True, ensure_2d=False
    )
    if array.ndim == 2 and true.shape[1] == 1:
        array = array[:, None]
    if array.ndim != 3 or array.shape[:2] != true.shape or array.shape[2] < least:
        raise ValueError(
            f"'y_pred' has shape {array.shape}; it must be {(*true.shape, 'n')}, the samples and "
            f"cells of 'y_true', and n of at least {least}: draws, as `sample_y` returns them, or "
            "quantiles with 'quantiles'. For a Gaussian give 'std'."
        )
    return array


def probabilities_of(values: Any, argument: str) -> Array:
    """Return probabilities between 0 and 1, both excluded."""
    p = np.atleast_1d(real_array(values, argument))
    if p.ndim != 1 or not p.size or not ((p > 0) & (p < 1)).all():
        raise ValueError(
            f"'{argument}' is {values!r}; it must be a number between 0 and 1, or a list of them."
        )
    return p


def truth_of(y_true: ArrayLike) -> Array:
    """Return true densities, (n_samples, n_cells)."""
    return _as_cells(y_true, "y_true")


def _as_cells(values: ArrayLike, name: str) -> Array:
    array = check_array(values, name, ensure_2d=False)
    if array.ndim == 1:
        return array.reshape(-1, 1)
    if array.ndim != 2:
        raise ValueError(f"'{name}' has shape {array.shape}; it must be (n_samples, n_cells).")
    return array


def _interpolated(given: Array, values: Array, wanted: Array) -> Array:
    """Interpolate quantiles between the given probabilities, linearly."""
    right = np.clip(np.searchsorted(given, wanted), 1, len(given) - 1)
    share = (wanted - given[right - 1]) / (given[right] - given[right - 1])
    between = values[..., right - 1] * (1.0 - share) + values[..., right] * share
    return np.moveaxis(between, -1, 0)
