"""What residuals say: their size, the largest one, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree
from scipy.stats import f as f_distribution

from skgrav._typing import Array

#: Least number of data of which correlation and trend are computed.
_LEAST = 8


@dataclass(frozen=True)
class Residuals:
    """Data of one component or kind, and their residuals.

    `places` are the stations, (n, ndim) with z first, None for other data; `sigma` is the standard
    deviation of each datum, None if it is not known; `left_out` the difference of each datum from
    what the others predict, in standard deviations, None if that is not known; `n_trend` the number
    of coefficients of a trend that were fitted to them.
    """

    name: str
    unit: str
    data: Array
    values: Array
    sigma: Array | None
    places: Array | None
    left_out: Array | None = None
    n_trend: float = 0.0

    @property
    def n_free(self) -> float:
        """Degrees of freedom, the data less the coefficients of their trend."""
        return len(self.values) - self.n_trend

    @property
    def scaled(self) -> Array:
        """Residuals in units of their noise where it is known."""
        return self.values if self.sigma is None else self.values / self.sigma

    @property
    def rms(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.values**2)))

    @property
    def chi_factor(self) -> float:
        """Mean square of the residuals in units of the noise, NaN if it is not known."""
        if self.sigma is None:
            return float("nan")
        return float(np.sum(self.scaled**2) / self.n_free)

    @property
    def largest(self) -> int:
        """Index of the largest residual, in units of the noise where it is known."""
        return int(np.argmax(np.abs(self.scaled)))

    @property
    def lag_correlation(self) -> tuple[float, float]:
        """Correlation with the next place of a profile, the nearest one of an area; NaN if few.

        Of independent residuals it is about 0, with the standard deviation that follows it.
        """
        if self.places is None:
            return float("nan"), float("nan")
        # What repeated stations have in common says nothing of their neighbours.
        across, of, n = np.unique(
            self.places[:, 1:], axis=0, return_inverse=True, return_counts=True
        )
        r = np.bincount(of.ravel(), self.scaled - self.scaled.mean()) / np.sqrt(n)
        if len(r) < _LEAST or not r.any():
            return float("nan"), float("nan")
        if across.shape[1] == 1:
            pairs = r[1:] * r[:-1]
        else:
            pairs = r * r[KDTree(across).query(across, k=2)[1][:, 1]]
        return float(np.mean(pairs) / np.mean(r**2)), 1.0 / float(np.sqrt(len(r)))

    @property
    def linear_trend(self) -> tuple[float, float]:
        """Share of the variance in a linear trend, and its probability by chance; NaN if few."""
        if self.places is None or len(self.values) < _LEAST:
            return float("nan"), float("nan")
        across = self.places[:, 1:] - self.places[:, 1:].mean(axis=0)
        across = across[:, np.ptp(across, axis=0) > 0]
        r = self.scaled - self.scaled.mean()
        k, total = across.shape[1], float(r @ r)
        if not k or not total:
            return float("nan"), float("nan")
        across = across / np.abs(across).max(axis=0)
        left = r - across @ np.linalg.lstsq(across, r, rcond=None)[0]
        share = max(0.0, 1.0 - float(left @ left) / total)  # rounding
        free = len(r) - k - 1
        ratio = (share / k) / max((1.0 - share) / free, 1e-12)
        return share, float(f_distribution.sf(ratio, k, free))

    def place(self, index: int) -> str:
        """Return where a datum was measured."""
        if self.places is None:
            return f"datum {index}"
        names = ("x",) if self.places.shape[1] == 2 else ("y", "x")
        at = zip(names, self.places[index, 1:], strict=True)
        return f"station {index}, " + ", ".join(f"{n} = {v:.8g} m" for n, v in reversed([*at]))
