"""Convergence of training and refining."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.noise import Noise
from skgrav.plotting._drawing import given_axes, pyplot
from skgrav.plotting._estimators import named, parts_of

#: Attributes of networks with a value per epoch, and their labels.
_CURVES = {
    "loss_curve_": "training",
    "validation_loss_curve_": "validation",
    "generator_loss_curve_": "generator",
}


class ConvergenceDisplay:
    """Losses by epoch of networks, and residuals by iteration of solvers.

    Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    losses : mapping of str to array-like of shape (n_epochs,), default=None
        Loss curves by name.
    residuals : mapping of str to array-like of shape (n_iter + 1, n_samples), default=None
        Relative data misfits by name, at the start and after each iteration; of shape
        (n_iter + 1,) for a single sample.
    noise_level : float, default=None
        Noise relative to the data, at which solvers should stop; drawn with the residuals.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_panels,)
        Axes of losses and of residuals, if any.
    loss_lines_ : dict of str to matplotlib Line2D
        The loss curves.
    residual_lines_ : dict of str to matplotlib Line2D
        Medians of the residuals over samples.
    residual_bands_ : dict of str to matplotlib FillBetweenPolyCollection
        Bands from the 10th to the 90th percentile of several samples.
    noise_line_ : matplotlib Line2D or None
        The noise.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the estimator records nothing, or `ax` has too many or too few axes.

    See Also
    --------
    GravityDisplay : Residuals along the profile.
    LCurveDisplay : Choice of the damping.

    Examples
    --------
    >>> from skgrav import Mesh, Refiner
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.plotting import ConvergenceDisplay
    >>> data = make_gravity_dataset(20, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> refiner = Refiner("cgls", init="zero", operator=data.operator, noise_level=0.01)
    >>> display = ConvergenceDisplay.from_estimator(refiner.fit(data.data, data.target))
    >>> list(display.residual_lines_)
    ['cgls']
    """

    @checked(losses=[Mapping, None], residuals=[Mapping, None], noise_level=[Real, None])
    def __init__(
        self,
        losses: Mapping[str, ArrayLike] | None = None,
        residuals: Mapping[str, ArrayLike] | None = None,
        *,
        noise_level: float | None = None,
    ) -> None:
        self.losses = losses
        self.residuals = residuals
        self.noise_level = noise_level

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        y: Any = None,
        *,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the losses and residuals recorded by an estimator and its parts.

        Parameters
        ----------
        estimator : estimator
            A fitted network, generator or Refiner, or a Pipeline or search that contains some.
        X : array-like of shape (n_samples, n_data), default=None
            Gravity to refine; None takes the residuals that the Refiner recorded in `fit`, whose
            noise is known only by its `noise_level`.
        y : object, default=None
            Ignored, for the protocol.
        ax : Axes or array-like of Axes, default=None
            Axes to draw on, one for losses and one for residuals; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        losses, residuals, noise_level = {}, {}, 0.0
        parts = list(parts_of(estimator))
        several = sum(hasattr(part, "loss_curve_") for part in parts) > 1
        for part in parts:
            for attribute, name in _CURVES.items():
                curve = getattr(part, attribute, None)
                if curve is not None and len(curve):
                    losses[f"{type(part).__name__}, {name}" if several else name] = curve
            if hasattr(part, "residual_history_"):
                solver = part.solver if isinstance(part.solver, str) else type(part.solver).__name__
                residuals[solver] = part.residual_history_
                noise_level = part.noise_level or 0.0
        if X is not None:
            residuals = {"refined": _refine(estimator, X).residual_history}
            last = next(part for part in reversed(parts) if hasattr(part, "refine"))
            if last.noise_level is None:
                g = real_array(X, "X")[:, -last.operator_.n_data_ :]
                noise_level = Noise.of(last.operator_).relative(g) or 0.0
        if not losses and not residuals:
            raise ValueError(
                f"'estimator' is {estimator!r}, which recorded neither losses nor residuals; give "
                "a CNNInverter, a generator, a Refiner or a Pipeline with one."
            )
        return cls(losses, residuals, noise_level=noise_level).plot(ax, **plot_kw)

    @classmethod
    def from_predictions(
        cls,
        y_pred: Any,
        *,
        noise_level: float | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the convergence of one or several solvers.

        Parameters
        ----------
        y_pred : SolverResult, or mapping of str to SolverResult
            Result of `Refiner.refine` or a solver's `solve`, several by name.
        noise_level : float, default=None
            Noise relative to the data, drawn with the residuals.
        ax : Axes, default=None
            Axes to draw on; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            The display, drawn.
        """
        results = named(y_pred, "residual")
        without = [n for n, result in results.items() if not hasattr(result, "residual_history")]
        if without:
            raise ValueError(
                f"'y_pred' has no residual_history for {', '.join(map(repr, without))}; give the "
                "SolverResult that Refiner.refine or a solver's solve returns."
            )
        histories = {name: result.residual_history for name, result in results.items()}
        return cls(residuals=histories, noise_level=noise_level).plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        loss_kw: dict[str, Any] | None = None,
        residual_kw: dict[str, Any] | None = None,
        band_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves, on logarithmic axes if values are positive and far apart.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to draw on, one for losses and one for residuals; None makes a figure.
        loss_kw, residual_kw : dict, default=None
            Keywords for matplotlib's `plot` of losses and residuals.
        band_kw : dict, default=None
            Keywords for matplotlib's `fill_between` of the spread of residuals.

        Returns
        -------
        display : ConvergenceDisplay
            The display itself, with its axes and artists.
        """
        losses, residuals = dict(self.losses or {}), dict(self.residuals or {})
        n = bool(losses) + bool(residuals)
        if n == 0:
            raise ValueError("'losses' and 'residuals' are empty; give at least one curve.")
        plt = pyplot(self)
        if ax is None:
            _, ax = plt.subplots(1, n, figsize=(4.8 * n, 3.6), layout="constrained")
        axes = given_axes(ax, n, "kind of curve")
        self.axes_, self.figure_ = np.array(axes, dtype=object), axes[0].figure
        self.loss_lines_: dict[str, Any] = {}
        self.residual_lines_: dict[str, Any] = {}
        self.residual_bands_: dict[str, Any] = {}
        self.noise_line_: Any = None
        if losses:
            self._draw_losses(axes[0], losses, loss_kw or {})
        if residuals:
            self._draw_residuals(axes[-1], residuals, residual_kw or {}, band_kw or {})
        return self

    def _draw_losses(self, ax: Any, losses: dict[str, ArrayLike], keywords: dict[str, Any]) -> None:
        curves: list[Array] = []
        for name, values in losses.items():
            curve = real_array(values, f"losses[{name!r}]", finite=False)
            if curve.ndim != 1 or not curve.size:
                raise ValueError(
                    f"losses[{name!r}] has shape {curve.shape}; it must be (n_epochs,)."
                )
            style: dict[str, Any] = {"label": name, "marker": _marker(curve)} | keywords
            curves.append(curve)
            self.loss_lines_[name] = ax.plot(np.arange(1, curve.size + 1), curve, **style)[0]
        _finish(ax, "epoch", "loss", curves)

    def _draw_residuals(
        self,
        ax: Any,
        residuals: dict[str, ArrayLike],
        keywords: dict[str, Any],
        band_kw: dict[str, Any],
    ) -> None:
        medians: list[Array] = []
        for name, values in residuals.items():
            history = real_array(values, f"residuals[{name!r}]", finite=False)
            if history.ndim not in {1, 2} or not history.size:
                raise ValueError(
                    f"residuals[{name!r}] has shape {history.shape}; it must be "
                    "(n_iter + 1, n_samples)."
                )
            samples = history.reshape(len(history), -1)
            iteration = np.arange(len(samples))
            with np.errstate(invalid="ignore"):  # interpolation between infinite values
                median = np.median(samples, axis=1)
                low, high = np.percentile(samples, [10, 90], axis=1)
            style: dict[str, Any] = {"label": name, "marker": _marker(median)} | keywords
            line = self.residual_lines_[name] = ax.plot(iteration, median, **style)[0]
            medians.append(median)
            if samples.shape[1] > 1:
                style = {"color": line.get_color(), "alpha": 0.2, "linewidth": 0} | band_kw
                self.residual_bands_[name] = ax.fill_between(iteration, low, high, **style)
        if self.noise_level:
            style = {"color": "0.4", "linestyle": "--", "linewidth": 1, "label": "noise"}
            self.noise_line_ = ax.axhline(self.noise_level, **style)
        _finish(ax, "iteration", "relative data misfit", medians)


def _marker(curve: Array) -> str:
    """Return a marker for short curves, of which a line may show nothing."""
    return "." if curve.size < 20 else ""


def _finish(ax: Any, xlabel: str, ylabel: str, curves: list[Array]) -> None:
    from matplotlib.ticker import MaxNLocator

    least, most = min(map(np.min, curves)), max(map(np.max, curves))
    # Within a factor of three a logarithmic axis has no major ticks.
    logarithmic = least > 0 and most > 3 * least
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _refine(estimator: Any, X: ArrayLike) -> Any:
    """Return the result of a Refiner, or of the Refiner that a Pipeline or search ends with."""
    if isinstance(estimator, FrozenEstimator):
        return _refine(estimator.estimator, X)
    if hasattr(estimator, "best_estimator_"):
        return _refine(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        return _refine(estimator[-1], estimator[:-1].transform(X))
    if not hasattr(estimator, "refine"):
        raise ValueError(
            f"'X' is given, but {type(estimator).__name__} does not refine; leave 'X' out, or give "
            "a Refiner or a Pipeline that ends with one."
        )
    return estimator.refine(X)
