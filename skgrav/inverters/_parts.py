"""Fit of the parts of a joint operator: none may be missed while all data together are fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

from skgrav._typing import Array, Mask
from skgrav._warnings import warn
from skgrav.noise import Noise
from skgrav.operators import BaseOperator

#: Probabilities of the chi factor of a part by chance, below which a smaller alpha is looked for,
#: and below which a warning says that there is none.
_CHANCE, _CONTRADICTED = 0.05, 1e-6

#: Smallest share of alpha that is tried, number of trials, and accuracy of log chi.
_SMALLEST, _TRIALS, _CLOSE = 1e-4, 10, 0.1


@dataclass(frozen=True)
class PartsFit:
    """Chi factors of the parts of a joint operator, and the alpha at which all are fitted.

    Few data, as those of a log beside a survey, hardly count in the misfit of all data: the model
    norm would take most of the noise of all for them.
    """

    operator: BaseOperator
    noise: Noise

    @property
    def applies(self) -> bool:
        """Whether the operator has several parts."""
        return len(self.operator.parts_) > 1

    def chi(self, residual: Array, sigma: Array) -> Array:
        """Return the chi factor of each part, (n_samples, n_parts)."""
        whitening = self.noise.whitening
        scaled = whitening.detrended(residual) / (whitening.weights * sigma[:, None])
        means = [np.mean(scaled[:, data] ** 2, axis=1) for _, data in self.operator.parts_]
        return np.column_stack(means)

    def missed(self, chi: Array, chance: float = _CHANCE) -> Mask:
        """Return where chi factors of parts are too large to be chance."""
        sizes = np.array([data.stop - data.start for _, data in self.operator.parts_])
        missed: Mask = chi > chdtri(sizes, chance) / sizes
        return missed

    def warn(self, missed: Mask, chi: Array) -> None:
        """Warn of parts that remain `missed` although all data together are fitted."""
        missed = missed & self.missed(chi, _CONTRADICTED)
        for k in np.flatnonzero(missed.any(axis=0)):
            name = type(self.operator.parts_[k][0]).__name__
            warn(
                f"{missed[:, k].sum()} of {len(missed)} samples leave part {k} of 'operator', a "
                f"{name}, with a chi factor of up to {chi[missed[:, k], k].max():.3g}, although "
                "all data together are fitted to their noise: it contradicts the other data, or "
                "its 'uncertainty' is too small. Check its values and units, and whether they are "
                "contrasts as the densities are."
            )

    def search(self, alpha: float, chi: float, trial: Callable[[float], tuple[Any, float]]) -> Any:
        """Return the trial of the largest alpha that fits all parts, None if there is none.

        `chi` is the worst chi factor at `alpha`; `trial` returns an estimate and its own.
        """
        low, high = None, (np.log(alpha), np.log(chi))
        least, best = high[0] + np.log(_SMALLEST), None
        t = high[0] - high[1]
        for _ in range(_TRIALS):
            t = max(t, least)
            found, chi = trial(float(np.exp(t)))
            y = float(np.log(max(chi, 1e-12)))
            if y <= 0:
                best, low = found, (t, y)
                if y > -_CLOSE:
                    break
            elif t == least:
                return None
            else:
                high = t, y
            if low is None:
                t = high[0] - max(high[1], 0.5)
            else:  # the logarithm is nearly linear; aims a little below zero
                share = (high[1] + _CLOSE / 2) / (high[1] - low[1])
                t = high[0] + float(np.clip(share, 0.05, 0.95)) * (low[0] - high[0])
        return best
