"""Densities, their differences to the truth, and their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.geometry import Mesh, Survey, core_of, cut_to
from skgrav.metrics import relative_l2_error
from skgrav.plotting._drawing import (
    DENSITY_UNITS,
    canvas,
    check_units,
    colours,
    is_contrast,
    limits_of,
    robust_range,
    shown,
    unless_constant,
)
from skgrav.plotting._estimators import mesh_of, named, one_row, operator_of, row_of, units_of
from skgrav.plotting._layout import Grid, draw_sections, wrapped
from skgrav.plotting._sections import Section, cell_of, sections_of, strongest

_COLUMNS = 4  # panels in a row
_STYLES = ["-", "--", "-.", ":"]  # of interfaces


class DensityDisplay:
    """Density sections with physical axes, depth down, and common colours.

    In 3D each density is shown by a depth slice and two vertical sections, or by slices at several
    depths. Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    densities : mapping of str to array-like of shape (n_cells,)
        Densities by panel title, flattened in C order, top layer first. NaN is blank.
    mesh : Mesh
        The cells.
    differences : mapping of str to array-like of shape (n_cells,), default=None
        Differences to the truth by panel title, in separate colours centred on zero.
    std : array-like of shape (n_cells,), default=None
        Standard deviation, in separate colours from zero on.
    interfaces : mapping of str to pair of array-like, default=None
        Known interfaces by name, each ``(x, depth)`` in metres, drawn over sections in 2D.
    at : sequence of three floats, default=None
        Position of the cuts in 3D, ``(z, y, x)`` in metres; None cuts through the cell where the
        first density differs most from its median.
    depths : sequence of floats, default=None
        Depths z in metres of slices in 3D, in place of one slice and two vertical sections.
    limits : tuple of two floats, "full" or None, default=None
        Range of the colours. ``"full"`` is the range of all densities that are drawn, None the same
        without a few cells where these would widen it by half or more; the colour bar then ends in
        an arrow. Ranges of both signs are centred on zero.
    survey : Survey, default=None
        Stations to draw: in sections those above them, on their upper edge if they are higher.
    padding : bool, default=False
        Whether to draw the padding: wider columns beside the core of the mesh, without stations
        or cuts.
    elevation : bool, default=False
        Whether the vertical axis shows elevations, positive up, instead of depths.
    units : {"mGal", "normalized"}, default="mGal"
        Units of the operator; with ``"mGal"`` densities are in kg/m3.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_panels,) or in 3D (n_panels, n_slices)
        Axes of densities, differences and standard deviation, in this order.
    images_ : ndarray of matplotlib QuadMesh, of the same shape
        The cells.
    colorbar_, difference_colorbar_, std_colorbar_ : matplotlib Colorbar or None
        Colour bars of densities, differences and standard deviation.
    interface_lines_ : list of lists of matplotlib Line2D
        The interfaces in each panel.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If sizes differ from the mesh, `ax` has too many or too few axes, or the position of a
        slice is outside the mesh.

    See Also
    --------
    GravityDisplay : Data and their fit.
    SampleGalleryDisplay : Many sections.

    Notes
    -----
    Positive densities are drawn in viridis, contrasts of both signs and differences in coolwarm
    centred on zero, both perceptually uniform. Axes are to scale up to an aspect of 5; lengths
    are in km from an extent of 10 km on.

    Examples
    --------
    >>> from skgrav import BayesLinearInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.plotting import DensityDisplay
    >>> data = make_gravity_dataset(50, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = BayesLinearInverter(0.01, operator=data.operator).fit(data.data, data.target)
    >>> display = DensityDisplay.from_estimator(inverter, data.data, data.target, return_std=True)
    >>> [ax.get_title() for ax in display.axes_[-2:]]
    ['estimate − truth', 'standard deviation']
    """

    @checked(
        densities=[Mapping],
        mesh=[Mesh],
        differences=[Mapping, None],
        interfaces=[Mapping, None],
        survey=[Survey, None],
        units=[str],
    )
    def __init__(
        self,
        densities: Mapping[str, ArrayLike],
        *,
        mesh: Mesh,
        differences: Mapping[str, ArrayLike] | None = None,
        std: ArrayLike | None = None,
        interfaces: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
        at: Sequence[float] | None = None,
        depths: Sequence[float] | None = None,
        limits: tuple[float, float] | Literal["full"] | None = None,
        survey: Survey | None = None,
        padding: bool = False,
        elevation: bool = False,
        units: str = "mGal",
    ) -> None:
        self.densities = densities
        self.mesh = mesh
        self.differences = differences
        self.std = std
        self.interfaces = interfaces
        self.at = at
        self.depths = depths
        self.limits = limits
        self.survey = survey
        self.padding = padding
        self.elevation = elevation
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample: int = 0,
        return_std: bool = False,
        mesh: Mesh | None = None,
        survey: Survey | None = None,
        units: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the estimate of one sample, and the truth if given.

        Parameters
        ----------
        estimator : estimator
            A fitted inverter, or a Pipeline or search with one.
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells), default=None
            True densities.
        sample : int, default=0
            Row of `X` to draw.
        return_std : bool, default=False
            Whether to draw the standard deviation that ``predict(X, return_std=True)`` gives.
        mesh : Mesh, default=None
            The cells; None takes the mesh of the estimator's operator.
        survey : Survey, default=None
            Stations to draw; None takes the survey of the estimator's operator, if any.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes the units of the estimator's operator.
        **kwargs : dict
            Keywords of `from_predictions`, such as `difference`, `interfaces`, `depths` and `ax`,
            and of `plot`.

        Returns
        -------
        display : DensityDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        operator = operator_of(estimator)
        row, std = one_row(X, sample), None
        if return_std:
            estimate, std = _with_std(estimator, row)
        else:
            estimate = estimator.predict(row)
        mesh = mesh_of(mesh, operator)
        return cls.from_predictions(
            None if y is None else row_of(y, sample, mesh.n_cells, "y"),
            np.ravel(estimate),
            std=None if std is None else np.ravel(std),
            mesh=mesh,
            survey=getattr(operator, "survey_", None) if survey is None else survey,
            units=units_of(units, operator),
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_pred: ArrayLike | Mapping[str, ArrayLike],
        *,
        mesh: Mesh | None = None,
        operator: Any = None,
        survey: Survey | None = None,
        sample: int = 0,
        std: ArrayLike | None = None,
        units: str | None = None,
        difference: bool = True,
        interfaces: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
        at: Sequence[float] | None = None,
        depths: Sequence[float] | None = None,
        limits: tuple[float, float] | Literal["full"] | None = None,
        padding: bool = False,
        elevation: bool = False,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw one or several estimates of a sample, and the truth if given.

        Parameters
        ----------
        y_true : array-like of shape (n_cells,) or (n_samples, n_cells), or None
            True densities. Colours have their range unless it is a single value, and titles of
            estimates the relative L2 error.
        y_pred : array-like of the same shape, or mapping of str to array-like
            Estimates, several by name.
        mesh : Mesh, default=None
            The cells; None takes the mesh of `operator`.
        operator : ForwardOperator, default=None
            Fitted operator, for `mesh`, `survey` and `units`.
        survey : Survey, default=None
            Stations to draw; None takes those of `operator`, if any.
        sample : int, default=0
            Row to draw.
        std : array-like of the same shape, default=None
            Standard deviation of the estimate.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes the units of `operator`, or ``"mGal"``.
        difference : bool, default=True
            Whether to draw the differences of estimates to `y_true`.
        interfaces : mapping of str to pair of array-like, default=None
            Known interfaces by name, each ``(x, depth)`` in metres.
        at : sequence of three floats, default=None
            Position of the cuts in 3D, ``(z, y, x)`` in metres.
        depths : sequence of floats, default=None
            Depths z in metres of slices in 3D, in place of the cuts.
        limits : tuple of two floats, "full" or None, default=None
            Range of the colours; None takes that of the truth if given and not constant, otherwise
            of all densities, without a few cells where these would widen it by half or more.
        padding : bool, default=False
            Whether to draw the padding of the mesh.
        elevation : bool, default=False
            Whether the vertical axis shows elevations instead of depths.
        ax : Axes, array-like of Axes or Figure, default=None
            Axes to draw on, one for each panel, or a figure to fill; None makes one.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : DensityDisplay
            The display, drawn.
        """
        mesh = mesh_of(mesh, operator)
        estimates = {
            name: row_of(rho, sample, mesh.n_cells, "y_pred")
            for name, rho in named(y_pred, "estimate").items()
        }
        densities, differences = estimates, None
        if y_true is not None:
            truth = row_of(y_true, sample, mesh.n_cells, "y_true")
            densities = {"truth": truth}
            limits = unless_constant(robust_range([truth])) if limits is None else limits
            for name, rho in estimates.items():
                densities[_with_error(name, truth, rho)] = rho
            if difference:
                differences = {f"{name} − truth": rho - truth for name, rho in estimates.items()}
        display = cls(
            densities,
            mesh=mesh,
            differences=differences,
            std=None if std is None else row_of(std, sample, mesh.n_cells, "std"),
            interfaces=interfaces,
            at=at,
            depths=depths,
            limits=limits,
            survey=getattr(operator, "survey_", None) if survey is None else survey,
            padding=padding,
            elevation=elevation,
            units=units_of(units, operator),
        )
        return display.plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        colorbar: bool = True,
        image_kw: dict[str, Any] | None = None,
        difference_kw: dict[str, Any] | None = None,
        std_kw: dict[str, Any] | None = None,
        interface_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes, array-like of Axes or Figure, default=None
            Axes to draw on, one for each panel, or a figure to fill; None makes one.
        colorbar : bool, default=True
            Whether to draw colour bars.
        image_kw, difference_kw, std_kw : dict, default=None
            Keywords for matplotlib's `pcolormesh` of densities, differences and the standard
            deviation, such as ``cmap``, ``vmin`` and ``vmax``.
        interface_kw : dict, default=None
            Keywords for matplotlib's `plot` of the interfaces.

        Returns
        -------
        display : DensityDisplay
            The display itself, with its axes and artists.
        """
        check_units(self.units)
        if self.interfaces and self.mesh.ndim == 3:
            raise ValueError("'interfaces' are lines of a 2D section, but 'mesh' has 3 axes.")
        if self.depths is not None and (self.mesh.ndim == 2 or self.at is not None):
            other = "'mesh' has 2 axes" if self.mesh.ndim == 2 else "'at' is given, too"
            raise ValueError(f"'depths' are those of slices in 3D, but {other}. Leave them out.")
        if self.mesh.ndim == 3 and self.at is not None:  # before the padding is left out
            at = real_array(self.at, "at")
            if at.shape != (3,):
                raise ValueError(f"'at' is {self.at!r}; give (z, y, x) in metres.")
            for axis, value in enumerate(at):
                cell_of(self.mesh, axis, value)
        plt, ax = canvas(self, ax)
        mesh, blocks = self._core(self._blocks())
        limits = limits_of(self.limits, [*blocks["density"].values()])
        off = robust_range([*blocks["difference"].values()])
        spread = robust_range([*blocks["std"].values()])[1] or 1.0
        keywords = {
            "density": colours(limits, image_kw),
            "difference": colours(off, difference_kw, centred=True),
            "std": colours((0.0, spread), std_kw, centred=False),
        }
        share = mesh.ndim == 2
        drawn = draw_sections(plt, self._grid(mesh, blocks), ax, keywords, share=share)
        scale = drawn.sections[0].scale
        contrast = "density contrast" if is_contrast(limits) else "density"
        labels = {"density": contrast, "difference": "difference", "std": "standard deviation"}
        unit = DENSITY_UNITS[self.units]
        bars: dict[str, Any] = dict.fromkeys(labels)
        if colorbar:
            bars |= drawn.colour_bars(
                {kind: f"{label}\n({unit})" for kind, label in labels.items()}
            )
        self.colorbar_: Any = bars["density"]
        self.difference_colorbar_: Any = bars["difference"]
        self.std_colorbar_: Any = bars["std"]
        self.interface_lines_: list[list[Any]] = [
            self._draw_interfaces(panel, scale, interface_kw) for panel in drawn.axes
        ]
        if self.interfaces and ax is None:
            drawn.axes[0].figure.legend(
                handles=self.interface_lines_[0], loc="outside lower center", ncols=4
            )
        n_slices = 3 if self.depths is None else len(self.depths)
        shape = (-1,) if self.mesh.ndim == 2 else (-1, n_slices)
        self.axes_: Any = np.array(drawn.axes, dtype=object).reshape(shape)
        self.images_: Any = np.array(drawn.images, dtype=object).reshape(shape)
        self.figure_: Any = drawn.axes[0].figure
        return self

    def _blocks(self) -> dict[str, dict[str, Array]]:
        """Return the values to draw by kind and title."""
        given = {"densities": self.densities, "differences": self.differences or {}}
        densities, differences = (
            {
                title: row_of(rho, 0, self.mesh.n_cells, f"{name}[{title!r}]")
                for title, rho in block.items()
            }
            for name, block in given.items()
        )
        std = {}
        if self.std is not None:
            std = {"standard deviation": row_of(self.std, 0, self.mesh.n_cells, "std")}
        return {"density": densities, "difference": differences, "std": std}

    def _core(
        self, blocks: dict[str, dict[str, Array]]
    ) -> tuple[Mesh, dict[str, dict[str, Array]]]:
        """Return the mesh to draw and its values, without padding unless that is asked for."""
        if self.padding:
            return self.mesh, blocks
        kept = [] if self.survey is None else [self.survey.stations]
        if self.mesh.ndim == 3 and self.at is not None:
            kept.append(np.atleast_2d(self.at))
        columns = core_of(self.mesh, np.vstack(kept) if kept else None)
        core = cut_to(self.mesh, columns)
        if core.shape == self.mesh.shape:
            return self.mesh, blocks
        return core, {
            kind: {
                title: core.flatten(self.mesh.unflatten(rho)[:, *columns])
                for title, rho in block.items()
            }
            for kind, block in blocks.items()
        }

    def _grid(self, mesh: Mesh, blocks: dict[str, dict[str, Array]]) -> Grid:
        """Return the sections by row and column of the picture; None is a gap."""
        at = self.at
        if mesh.ndim == 3 and at is None:
            at = strongest(mesh, next(iter(blocks["density"].values())))
        options: dict[str, Any] = {
            "depths": self.depths,
            "elevation": self.elevation,
            "survey": self.survey,
        }
        panels = {
            kind: [sections_of(mesh, rho, title, kind, at, **options) for title, rho in b.items()]
            for kind, b in blocks.items()
        }
        if mesh.ndim == 3:
            return [list(panel) for block in panels.values() for panel in block]
        densities, differences, spread = ([*chain(*block)] for block in panels.values())
        flat: list[Section | None] = [*densities, *differences, *spread]
        n_columns = _COLUMNS
        if len(differences) > 1:
            # Each difference is below its estimate.
            n_gaps = len(densities) - len(differences) - len(spread)
            flat, n_columns = [*densities, *spread, *[None] * n_gaps, *differences], len(densities)
        return wrapped(flat, n_columns)

    def _draw_interfaces(self, ax: Any, scale: float, given: dict[str, Any] | None) -> list[Any]:
        if not self.interfaces:
            return []
        from matplotlib.patheffects import withStroke

        # A white border makes black lines visible on dark cells.
        border = [withStroke(linewidth=2.2, foreground="w")]
        lines = []
        for (name, line), style in zip(self.interfaces.items(), cycle(_STYLES), strict=False):
            keywords = {"color": "k", "linewidth": 1, "linestyle": style, "label": name}
            keywords |= {"path_effects": border, "scalex": False, "scaley": False} | (given or {})
            x, depth = (shown(values, f"interfaces[{name!r}]") for values in line)
            if x.shape != depth.shape:
                raise ValueError(
                    f"interfaces[{name!r}] has x of shape {x.shape} and depth of shape "
                    f"{depth.shape}; give arrays of the same shape."
                )
            up = -1 if self.elevation else 1
            lines += ax.plot(x / scale, up * depth / scale, **keywords)
        return lines


def _with_std(estimator: Any, X: NDArray) -> tuple[Any, Any]:
    try:
        return estimator.predict(X, return_std=True)
    except TypeError as error:
        raise ValueError(
            f"'return_std' is True, but {type(estimator).__name__} has no standard deviation; use "
            "TikhonovInverter, BayesLinearInverter or Refiner('bayes')."
        ) from error


def _with_error(name: str, truth: NDArray, rho: NDArray) -> str:
    known = np.isfinite(truth) & np.isfinite(rho)
    if not truth[known].any():
        return name
    return f"{name}, error {relative_l2_error(truth[None, known], rho[None, known]):.2f}"
