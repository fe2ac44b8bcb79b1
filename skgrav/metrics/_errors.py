"""Errors of densities and misfits of data, per sample and averaged."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_array, named, real_array
from skgrav._constraints import HasMethods, checked
from skgrav._typing import Array
from skgrav.noise import Noise, Trend, no_noise
from skgrav.operators import BaseOperator

Output = Literal["uniform_average", "raw_values"]


def relative_l2_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: Output = "uniform_average",
) -> float | Array:
    """Compute the relative L2 error of densities, ``||rho - rhohat|| / ||rho||``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_cells) or (n_samples,)
        True densities; a vector has one cell for each sample.
    y_pred : array-like of the same shape
        Estimated densities, in the same unit.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the average.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples, or the error of each sample.

    Returns
    -------
    error : float or ndarray of shape (n_samples,)
        0 is perfect. Where the true density is zero everywhere, the error is 0 if the estimate is
        zero, too, and infinity otherwise.

    See Also
    --------
    relative_data_misfit : The same for the data.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632, Table I.

    Examples
    --------
    >>> from skgrav.metrics import relative_l2_error
    >>> relative_l2_error([[3.0, 4.0], [0.0, 2.0]], [[3.0, 4.0], [0.0, 1.0]])
    0.25
    """
    y_true, y_pred = _as_samples(y_true, "y_true"), _as_samples(y_pred, "y_pred")
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"'y_pred' has shape {y_pred.shape}, but 'y_true' {y_true.shape}; both must have the "
            "same samples and cells."
        )
    return _average(_relative(y_true - y_pred, y_true), sample_weight, multioutput)


@checked(operator=[HasMethods("transform")])
def relative_data_misfit(
    operator: BaseOperator,
    rho: ArrayLike,
    g: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: Output = "uniform_average",
) -> float | Array:
    """Compute the relative data misfit of densities, ``||A rho - g|| / ||g||``.

    Parameters
    ----------
    operator : ForwardOperator or MatrixOperator
        A fitted operator.
    rho : array-like of shape (n_samples, n_cells)
        Estimated densities.
    g : array-like of shape (n_samples, n_data)
        Observed gravity.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the average.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples, or the misfit of each sample.

    Returns
    -------
    misfit : float or ndarray of shape (n_samples,)
        0 is an exact fit; where `g` is zero everywhere, as for `relative_l2_error`. A trend of the
        operator's survey is removed from both. Data of several units, of a JointOperator, are
        compared in units of their uncertainties.

    See Also
    --------
    chi_factor : The misfit in units of the noise.
    DataMisfitScorer : The same as a scorer.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.metrics import relative_data_misfit
    >>> operator = ForwardOperator(Mesh.square(4)).fit()
    >>> rho = np.ones((1, 16))
    >>> relative_data_misfit(operator, rho, 2 * operator.transform(rho))
    0.5
    """
    g = _as_samples(g, "g")
    comparable = Noise.of(operator, n_data=g.shape[1]).comparable
    misfit = _relative(comparable(_residual(operator, rho, g)), comparable(g))
    return _average(misfit, sample_weight, multioutput)


@checked(operator=[HasMethods("transform")])
def chi_factor(
    operator: BaseOperator,
    rho: ArrayLike,
    g: ArrayLike,
    *,
    noise_level: ArrayLike | None = None,
    uncertainty: ArrayLike | None = None,
    multioutput: Output = "uniform_average",
) -> float | Array:
    """Compute the chi factor of densities, the mean of ``(residual / uncertainty)**2``.

    Parameters
    ----------
    operator : ForwardOperator or MatrixOperator
        A fitted operator.
    rho : array-like of shape (n_samples, n_cells)
        Estimated densities.
    g : array-like of shape (n_samples, n_data)
        Observed gravity.
    noise_level : float or array-like of shape (n_samples,), default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend. None takes the uncertainty.
    uncertainty : array-like of shape () or (n_data,), default=None
        Standard deviation of the noise of each datum; None takes that of the operator's survey.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples, or the chi factor of each sample.

    Returns
    -------
    chi : float or ndarray of shape (n_samples,)
        1 means that the data are fitted to their noise, less means that noise is fitted, too.
        Infinite where data are not fitted and their noise underflows. A trend of the operator's
        survey is first fitted to the residual, and its coefficients are subtracted from the number
        of data.

    Raises
    ------
    ValueError
        If neither the arguments nor the survey state the noise, or both arguments do.

    See Also
    --------
    relative_data_misfit : The misfit relative to the data.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.metrics import chi_factor
    >>> operator = ForwardOperator(Mesh.square(4)).fit()
    >>> rho = np.ones((1, 16))
    >>> chi_factor(operator, rho, operator.transform(rho) + 0.1, uncertainty=0.1)
    1.0
    """
    g = _as_samples(g, "g")
    residual = _residual(operator, rho, g)
    if isinstance(noise_level, str):  # "auto", the parameter of an inverter
        noise_level = None
    noise = Noise.of(operator, noise_level, uncertainty=uncertainty, n_data=g.shape[1])
    chi = noise.chi_factor(residual, g)
    if chi is None:
        raise ValueError(no_noise("the chi factor", "'uncertainty'"))
    return _average(chi, None, multioutput)


@checked(operator=[HasMethods("transform")])
def residual_trend(
    operator: BaseOperator, rho: ArrayLike, g: ArrayLike, *, noise_level: ArrayLike | None = None
) -> Trend:
    """Fit the trend of the operator's survey to the residual of densities.

    Parameters
    ----------
    operator : ForwardOperator
        A fitted operator whose survey has a trend.
    rho : array-like of shape (n_samples, n_cells)
        Estimated densities.
    g : array-like of shape (n_samples, n_data)
        Observed gravity.
    noise_level : float or array-like of shape (n_samples,), default=None
        Relative noise of each sample; None takes the uncertainty of the survey.

    Returns
    -------
    trend : Trend
        Coefficients, the trend at each datum, and standard deviations that hold for true densities
        only: a trend and broad densities have similar gravity, so that those of the trend of
        estimated densities are up to a thousand times larger.

    Raises
    ------
    ValueError
        If the survey has no trend.

    See Also
    --------
    skgrav.Survey : Has the trend as a parameter.
    skgrav.TikhonovInverter.invert : Includes the uncertainty of the density.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, Survey
    >>> from skgrav.metrics import residual_trend
    >>> stations = np.column_stack([np.full(9, -1.0), np.linspace(-4, 4, 9)])
    >>> operator = ForwardOperator(Mesh.square(4), Survey(stations, ("z",), trend=0)).fit()
    >>> rho = np.ones((1, 16))
    >>> residual_trend(operator, rho, operator.transform(rho) + 7.0).coefficients.round(6)
    array([[7.]])
    """
    g = _as_samples(g, "g")
    residual = -_residual(operator, rho, g)
    noise = Noise.of(operator, noise_level, n_data=g.shape[1])
    if not noise.has_trend:
        raise ValueError(
            f"'operator' is a {type(operator).__name__}, whose survey has no trend; give "
            "Survey(..., trend=0) or another degree."
        )
    return noise.trend(residual, noise.scale(g))


def _as_samples(values: ArrayLike, name: str) -> Array:
    values = check_array(values, name, ensure_2d=False)
    return values.reshape(-1, 1) if values.ndim == 1 else values


def _residual(operator: BaseOperator, rho: ArrayLike, g: Array) -> Array:
    rho = _as_samples(rho, "rho")
    with named("rho"):
        predicted = np.asarray(operator.transform(rho))
    if predicted.shape != g.shape:
        raise ValueError(
            f"'g' has shape {g.shape}, but the gravity of 'rho' {predicted.shape}; both must have "
            "the same samples and data."
        )
    return predicted - g


def _relative(error: Array, values: Array) -> Array:
    size, norm = np.linalg.norm(error, axis=1), np.linalg.norm(values, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size == 0, 0.0, size / norm)


def _average(values: Array, sample_weight: ArrayLike | None, multioutput: Output) -> float | Array:
    if str(multioutput) not in ("raw_values", "uniform_average"):
        raise ValueError(
            f"'multioutput' is {multioutput!r}; allowed are 'uniform_average' and 'raw_values'."
        )
    if multioutput == "raw_values":
        return values
    if sample_weight is None:
        return float(np.mean(values))
    weights = real_array(sample_weight, "sample_weight")
    if weights.shape != values.shape or not (weights >= 0).all() or not weights.any():
        raise ValueError(
            f"'sample_weight' has shape {weights.shape}; it must be one number of at least 0 for "
            f"each of {len(values)} samples, and not all of them 0."
        )
    # Scaled, as sums of weights near the largest float would overflow.
    return float(np.average(values, weights=weights / weights.max()))
