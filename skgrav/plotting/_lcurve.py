"""How Tikhonov's alpha was chosen."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array
from skgrav.plotting._drawing import pyplot

#: Labels of both axes by criterion.
_LABELS = {
    "lcurve": (r"misfit $\|(g - A\rho)/\sigma\|$", r"model norm $\|W(\rho - \rho_0)\|$"),
    "gcv": (r"$\alpha$", "generalised cross-validation"),
    "discrepancy": (r"$\alpha$", "chi factor"),
}


class LCurveDisplay:
    """Curve by which Tikhonov's alpha was chosen for one sample, with the choice marked.

    It is best made by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    x, y : array-like of shape (n_alphas,)
        The curve: misfit and model norm, or alpha and the criterion.
    point : tuple of two floats
        Where on it the chosen alpha is.
    alpha : float
        The chosen alpha.
    criterion : {"lcurve", "gcv", "discrepancy"}, default="lcurve"
        What the curve is: misfit against model norm, the generalised cross-validation function,
        or the chi factor, of alpha.

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
        line_kw: dict[str, Any] | None = None,
        point_kw: dict[str, Any] | None = None,
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
            Curve to draw; None takes the one by which the inverter chooses, and the L-curve where
            its alpha is a number.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        line_kw, point_kw : dict, default=None
            Keywords for matplotlib's `plot` of the curve and the mark.

        Returns
        -------
        display : LCurveDisplay
            The display, drawn. Curves are those without bounds, the mark is the estimate's.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "alpha_curve"):
            raise ValueError(
                f"'estimator' is {estimator!r}, which has no curve of alphas; give a fitted "
                "TikhonovInverter."
            )
        X = check_array(X, "X")
        if not -len(X) <= sample < len(X):
            raise ValueError(f"'sample' is {sample}, but X has {len(X)} rows; give one of them.")
        if criterion is None:
            criterion = "lcurve" if isinstance(estimator.alpha, Real) else estimator.alpha
        _check_criterion(criterion)
        display = cls(**_drawn(estimator, X[[sample]], criterion))
        return display.plot(ax, line_kw=line_kw, point_kw=point_kw)

    @classmethod
    def from_predictions(
        cls,
        curve: Any,
        alpha: float,
        *,
        sample: int = 0,
        criterion: Literal["lcurve", "gcv", "discrepancy"] = "lcurve",
        ax: Any = None,
        line_kw: dict[str, Any] | None = None,
        point_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw a curve that has been computed.

        Parameters
        ----------
        curve : AlphaCurve
            What `TikhonovInverter.alpha_curve` returned.
        alpha : float
            The alpha to mark, such as one of ``invert(X).alpha``; its place is interpolated.
        sample : int, default=0
            Column of the curve to draw.
        criterion : {"lcurve", "gcv", "discrepancy"}, default="lcurve"
            Curve to draw.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        line_kw, point_kw : dict, default=None
            Keywords for matplotlib's `plot` of the curve and the mark.

        Returns
        -------
        display : LCurveDisplay
            The display, drawn.
        """
        _check_criterion(criterion)
        n_samples = curve.alpha.shape[1]
        if not -n_samples <= sample < n_samples:
            raise ValueError(
                f"'sample' is {sample}, but 'curve' has {n_samples} columns; give one of them."
            )
        if not alpha > 0:
            raise ValueError(f"'alpha' is {alpha}; it must be positive.")
        names = {"lcurve": ("misfit", "model_norm"), "gcv": ("alpha", "gcv")}
        x, y = (
            getattr(curve, name)[:, sample]
            for name in names.get(criterion, ("alpha", "chi_factor"))
        )
        order = np.log(curve.alpha[:, sample])
        point = [float(np.exp(np.interp(np.log(alpha), order, np.log(v)))) for v in (x, y)]
        display = cls(x, y, point=(point[0], point[1]), alpha=float(alpha), criterion=criterion)
        return display.plot(ax, line_kw=line_kw, point_kw=point_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: dict[str, Any] | None = None,
        point_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curve, on logarithmic axes, and the chosen alpha.

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
        plt = pyplot(self)
        from matplotlib.ticker import LogLocator

        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        self.line_: Any = ax.plot(self.x, self.y, **(line_kw or {}))[0]
        mark: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": "C1"}
        label = rf"$\alpha$ = {self.alpha:.3g}"
        mark |= {"label": label} | (point_kw or {})
        self.point_: Any = ax.plot([self.point[0]], [self.point[1]], **mark)[0]
        if self.criterion == "discrepancy":
            ax.axhline(1.0, color="0.5", linestyle="--", linewidth=1)
        xlabel, ylabel = _LABELS[self.criterion]
        ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        if self.criterion == "lcurve":
            # Misfits span a decade or less, in which labels of every digit run into each other.
            ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.legend()
        return self


def _drawn(estimator: Any, X: NDArray, criterion: str) -> dict[str, Any]:
    """Return what a display of the only row of `X` shows."""
    result, curve = estimator.invert(X), estimator.alpha_curve(X)
    alpha, alphas = float(result.alpha[0]), curve.alpha[:, 0]
    # An infinite alpha has no place on the axis; the curve is level by its end.
    shown = min(alpha, float(alphas[-1]))
    if shown < alphas[0]:
        alphas = np.geomspace(shown / 10, alphas[-1], len(alphas))
        curve = estimator.alpha_curve(X, alphas=alphas)
    at = estimator.alpha_curve(X, alphas=[shown])
    if criterion == "gcv":
        x, y, point = alphas, curve.gcv[:, 0], (shown, at.gcv[0, 0])
    elif criterion == "discrepancy":
        chi = result.misfit[0] ** 2 / X.shape[1]
        x, y, point = alphas, curve.chi_factor[:, 0], (shown, chi)
    else:
        x, y = curve.misfit[:, 0], curve.model_norm[:, 0]
        point = (result.misfit[0], result.model_norm[0])
        if not np.isfinite(alpha):
            point = (at.misfit[0, 0], at.model_norm[0, 0])
    point = (float(point[0]), float(point[1]))
    return {"x": x, "y": y, "point": point, "alpha": alpha, "criterion": criterion}


def _check_criterion(criterion: str) -> None:
    if criterion not in _LABELS:
        raise ValueError(
            f"'criterion' is {criterion!r}; allowed are {', '.join(map(repr, _LABELS))}."
        )
