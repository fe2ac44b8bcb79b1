"""Scorers for GridSearchCV and cross_val_score, with and without true densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import make_scorer
from sklearn.pipeline import Pipeline

from skgrav.metrics._coverage import interval_coverage
from skgrav.metrics._errors import chi_factor, relative_data_misfit, relative_l2_error
from skgrav.metrics._scores import crps, energy_score
from skgrav.operators import BaseOperator

#: Scorer of `relative_l2_error`, negated so that greater is better.
relative_l2_scorer = make_scorer(relative_l2_error, greater_is_better=False)


@dataclass(frozen=True)
class DataMisfitScorer:
    """Scorer for field data, where the true density is not known.

    Parameters
    ----------
    operator : ForwardOperator or MatrixOperator
        Operator of the survey. If it is not fitted, each call fits a clone.
    noise_level : float, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend; None takes the uncertainty of the operator's survey.
    metric : {"relative", "chi"}, default="relative"
        ``"relative"`` is the negative relative data misfit; ``"chi"`` is minus the distance of the
        chi factor from 1, which penalises fitting noise as well.

    See Also
    --------
    relative_l2_scorer : Scorer for pairs whose true density is known.

    Notes
    -----
    A small misfit does not mean a small error: many densities fit the same gravity.

    Examples
    --------
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.inverters import Refiner
    >>> from skgrav.metrics import DataMisfitScorer
    >>> data = make_gravity_dataset(n_samples=5, random_state=0)
    >>> refiner = Refiner("projection", init="zero", operator=data.operator, noise_level=0)
    >>> score = DataMisfitScorer(data.operator)(refiner.fit(data.data, data.target), data.data)
    >>> bool(-1e-6 < score <= 0)
    True
    """

    operator: BaseOperator
    noise_level: float | None = None
    metric: Literal["relative", "chi"] = "relative"

    def __post_init__(self) -> None:
        if not isinstance(self.operator, BaseOperator):
            raise TypeError(
                f"'operator' is {self.operator!r}; it must be an operator, as ForwardOperator(...)."
            )
        if str(self.metric) not in ("relative", "chi"):
            raise ValueError(f"'metric' is {self.metric!r}; allowed are 'relative' and 'chi'.")

    def __call__(self, estimator: BaseEstimator, X: ArrayLike, y: object = None) -> float:
        """Score a fitted estimator on gravity.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator from gravity to density.
        X : array-like of shape (n_samples, n_data)
            Observed gravity.
        y : object, default=None
            Ignored.

        Returns
        -------
        score : float
            At most 0; greater is better.
        """
        rho = estimator.predict(X)
        operator = self.operator
        if not operator.__sklearn_is_fitted__():
            operator = clone(operator).fit(rho)
        if self.metric == "chi":
            return -abs(float(chi_factor(operator, rho, X, noise_level=self.noise_level)) - 1.0)
        return -float(relative_data_misfit(operator, rho, X))


@dataclass(frozen=True)
class PosteriorScorer:
    """Scorer of predicted distributions, for pairs whose true density is known.

    Parameters
    ----------
    metric : {"crps", "energy", "coverage"}, default="crps"
        ``"crps"`` and ``"energy"`` are the negative scores of these names; ``"coverage"`` is minus
        the mean distance of the coverages of 50 and 90 % intervals from these levels, which does
        not penalise intervals that are wide for no reason.
    n_samples : int, default=100
        Number of draws by the estimator's `sample_y`, at least 19 for the coverage. None takes the
        standard deviations of ``predict(X, return_std=True)`` instead, as of a Gaussian, for
        estimators without draws; the energy score needs draws.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws.

    See Also
    --------
    relative_l2_scorer : Scorer of estimates without their uncertainty.
    crps, energy_score, interval_coverage : The metrics.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from skgrav import BayesLinearInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.metrics import PosteriorScorer
    >>> data = make_gravity_dataset(200, mesh=Mesh.square(8), noise_level=0.05, random_state=0)
    >>> inverter = BayesLinearInverter(0.05, operator=data.operator)
    >>> scores = cross_val_score(
    ...     inverter, data.data, data.target, scoring=PosteriorScorer(n_samples=None), cv=2
    ... )
    >>> bool((scores < 0).all())
    True
    """

    metric: Literal["crps", "energy", "coverage"] = "crps"
    n_samples: int | None = 100
    random_state: int | np.random.RandomState | None = 0

    def __post_init__(self) -> None:
        if str(self.metric) not in ("crps", "energy", "coverage"):
            raise ValueError(
                f"'metric' is {self.metric!r}; allowed are 'crps', 'energy' and 'coverage'."
            )
        if self.n_samples is None and self.metric == "energy":
            raise ValueError("'n_samples' is None, but metric='energy' needs draws; give 100.")

    def __call__(self, estimator: BaseEstimator, X: ArrayLike, y: ArrayLike) -> float:
        """Score a fitted estimator on pairs.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator from gravity to density, with `sample_y` or `return_std`, or a
            Pipeline that ends with one.
        X : array-like of shape (n_samples, n_data)
            Observed gravity.
        y : array-like of shape (n_samples, n_cells)
            True densities.

        Returns
        -------
        score : float
            Greater is better; those of coverage are at most 0.
        """
        if self.n_samples is None:
            forecast = estimator.predict(X, return_std=True)
        else:
            while isinstance(estimator, Pipeline):  # which predicts, but does not draw
                X = estimator[:-1].transform(X) if len(estimator) > 1 else X
                estimator = estimator[-1]
            if not hasattr(estimator, "sample_y"):
                raise ValueError(
                    f"'estimator' is {estimator!r}, which cannot draw densities; give "
                    "PosteriorScorer(n_samples=None) if its `predict` has 'return_std'."
                )
            forecast = (estimator.sample_y(X, self.n_samples, self.random_state),)
        if self.metric == "crps":
            return -float(crps(y, *forecast))
        if self.metric == "energy":
            return -float(energy_score(y, *forecast))
        levels = np.array([0.5, 0.9])
        return -float(np.mean(np.abs(interval_coverage(y, *forecast, levels=levels) - levels)))
