"""Scorers for GridSearchCV and cross_val_score, with and without true densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import make_scorer

from skgrav.metrics._errors import chi_factor, relative_data_misfit, relative_l2_error
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
        if self.metric not in ("relative", "chi"):
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
