"""Choice of Tikhonov's alpha."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array
from skgrav._constraints import SEVERAL, WHOLE, checked
from skgrav.noise import Noise
from skgrav.plotting._drawing import pyplot
from skgrav.plotting._estimators import one_row

#: By criterion, the arrays of an AlphaCurve that are drawn, and the labels of both axes.
_AXES = {
    "lcurve": ("misfit", "model_norm"),
    "gcv": ("alpha", "gcv"),
    "discrepancy": ("alpha", "chi_factor"),
}
_LABELS = {
    "lcurve": (r"misfit $\|(g - A\rho)/\sigma\|$", r"model norm $\|W(\rho - \rho_0)\|$"),
    "gcv": (r"$\alpha$", "generalised cross-validation"),
    "discrepancy": (r"$\alpha$", "chi factor"),
}


class LCurveDisplay:
    """Curve by which Tikhonov's alpha was chosen for one sample, with the choice marked.

    Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    x, y : array-like of shape (n_alphas,)
        The curve: misfit and model norm, or alpha and the criterion.
    point : tuple of two floats
        Coordinates of the chosen alpha on the curve.
    alpha : float
        The chosen alpha.
    criterion : {"lcurve", "gcv", "discrepancy"}, default="lcurve"
        Kind of curve: the model norm against the misfit, or the generalised cross-validation
        function or the chi factor against alpha.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    point_ : matplotlib Line2D
        The mark of the chosen alpha.
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the criterion is unknown, or the estimator has no such curve.

    See Also
    --------
    skgrav.TikhonovInverter : Chooses an alpha for each sample.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.plotting import LCurveDisplay
    >>> data = make_gravity_dataset(
    ...     n_samples=5, mesh=Mesh.square(8), noise_level=0.01, random_state=0
    ... )
    >>> inverter = TikhonovInverter("lcurve", operator=data.operator).fit(data.data)
    >>> display = LCurveDisplay.from_estimator(inverter, data.data)
    >>> display.criterion
    'lcurve'
    """

    @checked(point=[*SEVERAL], alpha=[Real], criterion=[str])
    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        point: tuple[float, float],
        alpha: float,
        criterion: Literal["lcurve", "gcv", "discrepancy"] = "lcurve",
    ) -> None:
        self.x = x
        self.y = y
        self.point = point
        self.alpha = alpha
        self.criterion = criterion

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        sample: int = 0,
        criterion: Literal["lcurve", "gcv", "discrepancy"] | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the curve of one sample.

        Parameters
        ----------
        estimator : TikhonovInverter
            A fitted inverter.
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        sample : int, default=0
            Row of `X` to draw.
        criterion : {"lcurve", "gcv", "discrepancy"}, default=None
            Curve to draw; None takes the criterion of the inverter, or the L-curve if its alpha
            is a number.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : LCurveDisplay
            The display, drawn. Curves are without bounds, the mark is of the estimate.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "alpha_curve"):
            raise ValueError(
                f"'estimator' is {estimator!r}, which has no curve of alphas; give a fitted "
                "TikhonovInverter."
            )
        noise = Noise.of(estimator.operator_, estimator.noise_level)
        if criterion is None:
            criterion = "lcurve" if isinstance(estimator.alpha, Real) else estimator.alpha
        if criterion == "auto":
            criterion = "discrepancy" if noise.is_known else "gcv"
        _check_criterion(criterion)
        display = cls(**_curve_of(estimator, one_row(X, sample), criterion, noise))
        return display.plot(ax, **plot_kw)

    @classmethod
    @checked(alpha=[Real], sample=[WHOLE], criterion=[str])
    def from_predictions(
        cls,
        curve: Any,
        alpha: float,
        *,
        sample: int = 0,
        criterion: Literal["lcurve", "gcv", "discrepancy"] = "lcurve",
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw a computed curve.

        Parameters
        ----------
        curve : AlphaCurve
            Result of `TikhonovInverter.alpha_curve`.
        alpha : float
            The alpha to mark, such as one of ``invert(X).alpha``, at an interpolated point.
        sample : int, default=0
            Column of the curve to draw.
        criterion : {"lcurve", "gcv", "discrepancy"}, default="lcurve"
            Curve to draw.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : LCurveDisplay
            The display, drawn.
        """
        _check_criterion(criterion)
        if getattr(getattr(curve, "alpha", None), "ndim", 0) != 2:  # of an inverter, it is a number
            raise TypeError(f"'curve' is {curve!r}; it must be an AlphaCurve, as of alpha_curve.")
        n_samples = curve.alpha.shape[1]
        if not -n_samples <= sample < n_samples:
            raise ValueError(
                f"'sample' is {sample}, but 'curve' has {n_samples} columns; give one of them."
            )
        if not alpha > 0:
            raise ValueError(f"'alpha' is {alpha}; it must be positive.")
        x, y = (getattr(curve, name)[:, sample] for name in _AXES[criterion])
        order = np.log(curve.alpha[:, sample])
        with np.errstate(divide="ignore", invalid="ignore"):  # an exact reference has no misfit
            point = [float(np.exp(np.interp(np.log(alpha), order, np.log(v)))) for v in (x, y)]
        display = cls(x, y, point=(point[0], point[1]), alpha=float(alpha), criterion=criterion)
        return display.plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: dict[str, Any] | None = None,
        point_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curve on logarithmic axes, and the chosen alpha.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        line_kw, point_kw : dict, default=None
            Keywords for matplotlib's `plot` of the curve and the mark.

        Returns
        -------
        display : LCurveDisplay
            The display itself, with `line_`, `point_`, `ax_` and `figure_`.
        """
        _check_criterion(self.criterion)
        point = real_array(self.point, "point")
        if point.shape != (2,):
            raise ValueError(f"'point' is {self.point!r}; it must be the two coordinates.")
        plt = pyplot(self)
        from matplotlib.ticker import LogLocator

        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        self.line_: Any = ax.plot(self.x, self.y, **(line_kw or {}))[0]
        mark: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": "C1"}
        label = rf"$\alpha$ = {self.alpha:.3g}"
        mark |= {"label": label} | (point_kw or {})
        self.point_: Any = ax.plot(*point[:, None], **mark)[0]
        if self.criterion == "discrepancy":
            ax.axhline(1.0, color="0.5", linestyle="--", linewidth=1)
        xlabel, ylabel = _LABELS[self.criterion]
        ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        if self.criterion == "lcurve":
            # Misfits span a decade or less, where labels of every digit would overlap.
            ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.legend()
        return self


def _curve_of(estimator: Any, X: NDArray, criterion: str, noise: Noise) -> dict[str, Any]:
    """Return the parameters of the display for the only row of `X`."""
    result, curve = estimator.invert(X), estimator.alpha_curve(X)
    alpha, alphas = float(result.alpha[0]), curve.alpha[:, 0]
    # An infinite alpha has no place on the axis; the curve is level there.
    marked = min(alpha, float(alphas[-1]))
    if marked < alphas[0]:
        curve = estimator.alpha_curve(X, alphas=np.geomspace(marked / 10, alphas[-1], len(alphas)))
    x, y = _AXES[criterion]
    at = estimator.alpha_curve(X, alphas=[marked])
    point = {name: float(getattr(at, name)[0, 0]) for name in (x, y)}
    point["alpha"] = marked
    # With bounds the estimate is off the curve.
    if criterion == "discrepancy":
        point[y] = float(result.misfit[0] ** 2 / noise.whitening.n_white)
    elif criterion == "lcurve" and np.isfinite(alpha):
        point = {name: float(getattr(result, name)[0]) for name in (x, y)}
    return {
        "x": getattr(curve, x)[:, 0],
        "y": getattr(curve, y)[:, 0],
        "point": (point[x], point[y]),
        "alpha": alpha,
        "criterion": criterion,
    }


def _check_criterion(criterion: str) -> None:
    if criterion not in _LABELS:
        raise ValueError(
            f"'criterion' is {criterion!r}; allowed are {', '.join(map(repr, _LABELS))}."
        )
