"""Posterior of one sample: what is known of the density, and what else could be down there."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array, real_array
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array
from skgrav.geometry import Mesh, core_of
from skgrav.plotting._drawing import (
    DENSITY_UNITS,
    canvas,
    check_units,
    colour_bar,
    colours,
    given_axes,
    is_contrast,
    robust_range,
    unless_constant,
)
from skgrav.plotting._estimators import mesh_of, one_row, operator_of, row_of, units_of
from skgrav.plotting._sections import Section, coordinate, sections_of, strongest

#: Panels in a row, and inches of a panel.
_COLUMNS, _WIDTH = 4, 2.7

#: Quantiles of the profile, the median and the bounds of the 50 and 90 % intervals, and the least
#: number of draws that have them.
_PROFILE, _LEAST_DRAWS = (0.05, 0.25, 0.5, 0.75, 0.95), 19


class PosteriorDisplay:
    """Mean, standard deviation and draws of a posterior, with a profile of quantiles with depth.

    Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    draws : array-like of shape (n_cells, n_draws)
        Densities drawn from the posterior of one sample.
    mesh : Mesh
        The cells, in 2D.
    truth : array-like of shape (n_cells,), default=None
        True density, drawn beside the draws and in the profile.
    threshold : float, default=None
        Threshold whose probability of being exceeded is drawn; None takes the middle of the range
        of the mean.
    x : float, default=None
        Horizontal position of the profile, in metres; None takes that of the cell whose mean
        differs most from the median.
    padding : bool, default=False
        Whether to draw the padding: wider columns beside the core of the mesh.
    units : {"mGal", "normalized"}, default="mGal"
        Units of the operator; with ``"mGal"`` densities are in kg/m3.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (2, 4)
        Mean, standard deviation, probability and profile, and below them the truth, if given, and
        draws.
    images_ : list of matplotlib QuadMesh
        The sections, without the profile.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the mesh has three axes, sizes differ from it, or the estimator draws no samples.

    See Also
    --------
    CalibrationDisplay : Calibration of such posteriors.
    SampleGalleryDisplay : More draws.
    DensityDisplay : Estimates without their uncertainty, also in 3D.

    Notes
    -----
    The profile is what a borehole at `x` is expected to find: one cell in ten should lie outside
    the band of 90 %.

    Examples
    --------
    >>> from skgrav import AnalogueInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.plotting import PosteriorDisplay
    >>> data = make_gravity_dataset(500, mesh=Mesh.square(16), random_state=0)
    >>> inverter = AnalogueInverter(30, operator=data.operator, noise_level=0.01)
    >>> inverter = inverter.fit(data.data[1:], data.target[1:])
    >>> display = PosteriorDisplay.from_estimator(inverter, data.data[:1], data.target[:1])
    >>> display.axes_.shape
    (2, 4)
    """

    @checked(mesh=[Mesh], threshold=[Real, None], x=[Real, None], units=[str])
    def __init__(
        self,
        draws: ArrayLike,
        *,
        mesh: Mesh,
        truth: ArrayLike | None = None,
        threshold: float | None = None,
        x: float | None = None,
        padding: bool = False,
        units: str = "mGal",
    ) -> None:
        self.draws = draws
        self.mesh = mesh
        self.truth = truth
        self.threshold = threshold
        self.x = x
        self.padding = padding
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample: int = 0,
        n_samples: int = 100,
        threshold: float | None = None,
        x: float | None = None,
        padding: bool = False,
        random_state: Any = 0,
        mesh: Mesh | None = None,
        units: str | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the posterior of an inverter for one sample.

        Parameters
        ----------
        estimator : estimator
            A fitted inverter with `sample_y`.
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells), default=None
            True densities.
        sample : int, default=0
            Row of `X` and `y`.
        n_samples : int, default=100
            Number of draws, at least 19 for the band of 90 %.
        threshold : float, default=None
            Threshold whose probability of being exceeded is drawn.
        x : float, default=None
            Horizontal position of the profile, in metres.
        padding : bool, default=False
            Whether to draw the padding of the mesh.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        mesh : Mesh, default=None
            The cells; None takes the mesh of the estimator's operator.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes those of the estimator's operator, or ``"mGal"``.
        ax : array-like of Axes or Figure, default=None
            Eight axes to draw on, or a figure to fill; None makes one.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : PosteriorDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "sample_y"):
            raise ValueError(
                f"'estimator' is {estimator!r}, which cannot draw samples; give an inverter that "
                "has `sample_y`, such as AnalogueInverter or BayesLinearInverter."
            )
        operator = operator_of(estimator)
        mesh = mesh_of(mesh, operator)
        draws = estimator.sample_y(one_row(X, sample), n_samples, random_state=random_state)[0]
        truth = None if y is None else row_of(y, sample, mesh.n_cells, "y")
        display = cls(
            draws,
            mesh=mesh,
            truth=truth,
            threshold=threshold,
            x=x,
            padding=padding,
            units=units_of(units, operator),
        )
        return display.plot(ax, **plot_kw)

    @classmethod
    @checked(sample=[WHOLE], threshold=[Real, None], x=[Real, None])
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_pred: ArrayLike,
        *,
        sample: int = 0,
        threshold: float | None = None,
        x: float | None = None,
        padding: bool = False,
        mesh: Mesh | None = None,
        operator: Any = None,
        units: str | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the posterior of one sample from given draws.

        Parameters
        ----------
        y_true : array-like of shape (n_samples, n_cells), or None
            True densities.
        y_pred : array-like of shape (n_samples, n_cells, n_draws)
            Draws, as `sample_y` returns them.
        sample : int, default=0
            Row of `y_true` and `y_pred`.
        threshold : float, default=None
            Threshold whose probability of being exceeded is drawn.
        x : float, default=None
            Horizontal position of the profile, in metres.
        padding : bool, default=False
            Whether to draw the padding of the mesh.
        mesh : Mesh, default=None
            The cells; None takes the mesh of `operator`.
        operator : ForwardOperator, default=None
            Fitted operator, for `mesh` and `units`.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes the units of `operator`, or ``"mGal"``.
        ax : array-like of Axes or Figure, default=None
            Eight axes to draw on, or a figure to fill; None makes one.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : PosteriorDisplay
            The display, drawn.
        """
        mesh = mesh_of(mesh, operator)
        draws = check_array(y_pred, "y_pred", allow_nd=True, ensure_2d=False)
        if draws.ndim != 3 or draws.shape[1] != mesh.n_cells or draws.shape[2] < _LEAST_DRAWS:
            raise ValueError(
                f"'y_pred' has shape {draws.shape}; it must be (n_samples, {mesh.n_cells}, "
                f"n_draws), as `sample_y` returns it, with at least {_LEAST_DRAWS} draws."
            )
        if not -len(draws) <= sample < len(draws):
            raise ValueError(
                f"'sample' is {sample}, but 'y_pred' has {len(draws)} rows; give one of them."
            )
        truth = None if y_true is None else row_of(y_true, sample, mesh.n_cells, "y_true")
        display = cls(
            draws[sample],
            mesh=mesh,
            truth=truth,
            threshold=threshold,
            x=x,
            padding=padding,
            units=units_of(units, operator),
        )
        return display.plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        colorbar: bool = True,
        image_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : array-like of Axes or Figure, default=None
            Eight axes to draw on, or a figure to fill; None makes one.
        colorbar : bool, default=True
            Whether to draw colour bars.
        image_kw : dict, default=None
            Keywords for matplotlib's `pcolormesh` of densities, such as ``cmap``.

        Returns
        -------
        display : PosteriorDisplay
            The display itself, with `axes_`, `images_` and `figure_`.
        """
        check_units(self.units)
        if self.mesh.ndim != 2:
            raise ValueError("'mesh' has 3 axes; this display is of sections. Use DensityDisplay.")
        draws, truth = self._checked()
        plt, ax = canvas(self, ax)
        mean, std = draws.mean(axis=1), draws.std(axis=1, ddof=1)
        # Without the padding, on either side of the core.
        core = slice(None) if self.padding else core_of(self.mesh)[0]
        within = np.isin(self.mesh.cells % self.mesh.shape[1], np.arange(self.mesh.shape[1])[core])
        low, high = robust_range([mean[within]])
        threshold = (low + high) / 2 if self.threshold is None else float(self.threshold)
        at = (
            strongest(self.mesh, np.where(within, mean, np.nan))[1]
            if self.x is None
            else float(self.x)
        )
        column = self._column(at)
        # Colours have the range of the truth or the mean, so that draws may exceed it.
        known = mean if truth is None else truth
        limits = robust_range([known[within]])
        limits = unless_constant(limits) or robust_range([known[within], mean[within]])
        spread = robust_range([std[within]])[1] or 1.0
        unit = DENSITY_UNITS[self.units]
        shown = {} if truth is None else {"truth": truth}
        n_draws = _COLUMNS - len(shown)
        shown |= {f"draw {k + 1}": draws[:, k] for k in range(min(n_draws, draws.shape[1]))}
        above = np.mean(draws > threshold, axis=1)
        rows = {"mean": mean, "standard deviation": std, f"P(density > {threshold:.4g})": above}
        axes = self._axes(plt, ax)
        scale = self._section("", mean).scale
        keywords = [
            colours(limits, image_kw),
            colours((0.0, spread), {"cmap": "magma"}, centred=False),
            colours((0.0, 1.0), {"cmap": "cividis"}, centred=False),
        ]
        self.images_: list[Any] = [
            self._section(title, values).draw(axes[k], **keywords[k])
            for k, (title, values) in enumerate(rows.items())
        ]
        self._draw_profile(axes[3], draws, truth, column, scale, unit)
        places = axes[_COLUMNS:]
        for panel, (title, values) in zip(places, shown.items(), strict=False):
            self.images_.append(self._section(title, values).draw(panel, **keywords[0]))
        for panel in places[len(shown) :]:
            panel.set_visible(False)
        axes[0].axvline(at / scale, color="k", linewidth=1, linestyle="--")
        self._label(axes)
        x = self.mesh.edges[1][:-1][core], self.mesh.edges[1][1:][core]
        for panel in (*axes[:3], *places):
            panel.set_xlim(x[0][0] / scale, x[1][-1] / scale)
        if colorbar:
            contrast = "density contrast" if is_contrast(limits) else "density"
            # Below the panels, so that those of a column have the same width.
            below = {"location": "bottom", "shrink": 0.9}
            label = f"{contrast} ({unit})"
            colour_bar(self.images_[3:], places, label, **below | {"shrink": 0.4, "aspect": 40})
            for k, name in enumerate((label, f"standard deviation ({unit})", "probability")):
                colour_bar([self.images_[k]], [axes[k]], name, **below)
        self.axes_: Any = np.array(axes, dtype=object).reshape(2, _COLUMNS)
        self.figure_: Any = axes[0].figure
        return self

    def _checked(self) -> tuple[Array, Array | None]:
        n_cells = self.mesh.n_cells
        draws = real_array(self.draws, "draws")
        if draws.ndim != 2 or draws.shape[0] != n_cells or draws.shape[1] < _LEAST_DRAWS:
            raise ValueError(
                f"'draws' has shape {draws.shape}; it must be ({n_cells}, n_draws) with at least "
                f"{_LEAST_DRAWS} draws, which intervals of 90 % need."
            )
        truth = None if self.truth is None else real_array(self.truth, "truth")
        if truth is not None and truth.shape != (n_cells,):
            raise ValueError(f"'truth' has shape {truth.shape}; it must be ({n_cells},).")
        return draws, truth

    def _column(self, at: float) -> int:
        edges = self.mesh.edges[1]
        if not edges[0] <= at <= edges[-1]:
            raise ValueError(
                f"'x' is {at:.10g}, but the mesh extends from {edges[0]:.10g} to {edges[-1]:.10g} "
                "m; give a position within it."
            )
        return min(int(np.searchsorted(edges, at, side="right")) - 1, edges.size - 2)

    def _axes(self, plt: Any, ax: Any) -> list[Any]:
        if ax is not None:
            return given_axes(ax, 2 * _COLUMNS, "panel")
        ratio = self._section("", np.zeros(self.mesh.n_cells)).ratio
        height = 2 * (min(max(ratio, 0.4), 1.5) * _WIDTH + 1.4)
        size = _COLUMNS * _WIDTH + 1.0, height
        return list(plt.subplots(2, _COLUMNS, figsize=size, layout="constrained")[1].ravel())

    def _section(self, title: str, values: Array) -> Section:
        return sections_of(self.mesh, values, title, "density")[0]

    def _draw_profile(
        self, ax: Any, draws: Array, truth: Array | None, column: int, scale: float, unit: str
    ) -> None:
        """Draw quantiles of the density in a column against depth, as steps from cell to cell."""
        edges = self.mesh.edges[0] / scale
        # Two numbers for each cell, at its top and its bottom.
        depth = np.repeat(edges, 2)[1:-1]

        def steps(values: Array) -> Array:
            return np.repeat(self.mesh.unflatten(values)[:, column], 2)

        low, left, middle, right, high = (
            steps(q) for q in np.quantile(draws, _PROFILE, axis=1, method="weibull")
        )
        ax.fill_betweenx(depth, low, high, color="C0", alpha=0.25, linewidth=0, label="90 %")
        ax.fill_betweenx(depth, left, right, color="C0", alpha=0.45, linewidth=0, label="50 %")
        ax.plot(middle, depth, color="C0", linewidth=1.5, label="median")
        if truth is not None:
            ax.plot(steps(truth), depth, color="k", linewidth=1.2, label="truth")
        ax.set_ylim(edges[-1], edges[0])
        ax.set_xlabel(f"density ({unit})")
        x = self.mesh.centers[1][column]
        at = coordinate(x, self.mesh.edges[1], scale)
        ax.set_title(f"at x = {at} {'km' if scale > 1 else 'm'}", fontsize="medium")
        ax.legend(fontsize="x-small")

    def _label(self, axes: Sequence[Any]) -> None:
        section = self._section("", np.zeros(self.mesh.n_cells))
        for k, panel in enumerate(axes):
            first = k % _COLUMNS == 0
            panel.set_ylabel(section.ylabel if first else "")
            if k != _COLUMNS - 1:  # the profile
                panel.tick_params(labelleft=first)
                panel.set_xlabel(section.xlabel)
