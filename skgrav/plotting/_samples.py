"""Galleries of sections: samples of a generator or a posterior, or several estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._constraints import COUNT, SEVERAL, checked
from skgrav._typing import Array
from skgrav.geometry import Mesh, core_of, cut_to
from skgrav.metrics import relative_l2_error
from skgrav.plotting._drawing import (
    DENSITY_UNITS,
    check_units,
    colours,
    is_contrast,
    limits_of,
    pyplot,
    shown,
    unless_constant,
    value_range,
)
from skgrav.plotting._estimators import (
    mesh_of,
    named,
    one_row,
    operator_of,
    parts_of,
    row_of,
    units_of,
)
from skgrav.plotting._layout import draw_sections
from skgrav.plotting._sections import Section, sections_of

_COLUMNS = 8  # panels in a row


class SampleGalleryDisplay:
    """Rows of density sections with common colours and physical axes, depth down.

    Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    sections : mapping of str to array-like of shape (n_sections, n_cells)
        Densities by row name, flattened in C order, top layer first.
    mesh : Mesh
        The cells, in 2D.
    titles : mapping of str to sequence of str, default=None
        Panel titles by row name.
    limits : tuple of two floats, "full" or None, default=None
        Range of the colours. ``"full"`` is the range of all sections, None the same without a few
        cells where these would widen it by half or more.
    padding : bool, default=False
        Whether to draw the padding: wider columns beside the core of the mesh.
    units : {"mGal", "normalized"}, default="mGal"
        Units of the operator; with ``"mGal"`` densities are in kg/m3.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_rows, n_columns)
        Axes of the sections; None at the end of shorter rows. Those of more than eight sections
        continue below all rows.
    images_ : ndarray of matplotlib QuadMesh, of the same shape
        The sections.
    colorbar_ : matplotlib Colorbar or None
        Colour bar of all sections.
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
    DensityDisplay : One sample, with differences, uncertainty, and in 3D.
    skgrav.metrics.sample_coverage : Share of true sections that samples cover.

    Examples
    --------
    >>> from skgrav import Mesh
    >>> from skgrav.datasets import make_density_models
    >>> from skgrav.plotting import SampleGalleryDisplay
    >>> mesh = Mesh.square(16)
    >>> rho = make_density_models(12, mesh=mesh, random_state=0)
    >>> display = SampleGalleryDisplay({"first": rho[:6], "others": rho[6:]}, mesh=mesh).plot()
    >>> display.axes_.shape
    (2, 6)
    """

    @checked(sections=[Mapping], mesh=[Mesh], titles=[Mapping, None], units=[str])
    def __init__(
        self,
        sections: Mapping[str, ArrayLike],
        *,
        mesh: Mesh,
        titles: Mapping[str, Sequence[str]] | None = None,
        limits: tuple[float, float] | Literal["full"] | None = None,
        padding: bool = False,
        units: str = "mGal",
    ) -> None:
        self.sections = sections
        self.mesh = mesh
        self.titles = titles
        self.limits = limits
        self.padding = padding
        self.units = units

    @classmethod
    @checked(n_samples=[COUNT], random_state=["random_state"])
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        n_samples: int = 6,
        sample: int = 0,
        random_state: Any = 0,
        padding: bool = False,
        mesh: Mesh | None = None,
        units: str | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw samples of a generator, or of the posterior of an inverter.

        Parameters
        ----------
        estimator : estimator
            A fitted generator with `sample`, or a fitted inverter with `sample_y`.
        X : array-like of shape (n_samples, n_cells) or (n_samples, n_data), default=None
            For a generator, sections to compare with, such as its training set; the first are
            drawn. For an inverter, gravity.
        y : array-like of shape (n_samples, n_cells), default=None
            For an inverter, true densities.
        n_samples : int, default=6
            Number of samples.
        sample : int, default=0
            For an inverter, the row of `X` and `y`.
        random_state : int, RandomState instance or None, default=0
            Seed of the samples.
        padding : bool, default=False
            Whether to draw the padding of the mesh.
        mesh : Mesh, default=None
            The cells; None takes the mesh of the estimator.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes the units of the estimator's operator, or ``"mGal"``.
        ax : array-like of Axes, default=None
            Axes to draw on, row by row; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : SampleGalleryDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        operator = operator_of(estimator)
        if mesh is None:
            meshes = [getattr(part, "mesh", None) for part in parts_of(estimator)]
            mesh = next((m for m in meshes if m is not None), None)
        mesh = mesh_of(mesh, operator)
        rows: dict[str, Array] = {}
        titles: dict[str, list[str]] = {}
        if hasattr(estimator, "sample"):
            if X is not None:
                rows["given"] = _rows(X, mesh, "X")[:n_samples]
            rows["drawn"] = estimator.sample(n_samples, random_state=random_state)
        elif hasattr(estimator, "sample_y"):
            known = _known(estimator, X, y, sample)
            name = f"sample {sample}"
            titles[name], rows[name] = list(known), np.stack([*known.values()])
            draws = estimator.sample_y(one_row(X, sample), n_samples, random_state=random_state)
            rows["drawn"] = draws[0].T
        else:
            raise ValueError(
                f"'estimator' is {estimator!r}, which cannot draw samples; give a generator, or an "
                "inverter that has `sample_y`, such as BayesLinearInverter or TikhonovInverter."
            )
        # Colours of the given sections show where samples exceed them.
        limits = unless_constant(value_range([rows["given"]])) if "given" in rows else None
        units = units_of(units, operator)
        display = cls(rows, mesh=mesh, titles=titles, limits=limits, padding=padding, units=units)
        return display.plot(ax, **plot_kw)

    @classmethod
    @checked(n_samples=[COUNT], titles=[*SEVERAL, None])
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_pred: ArrayLike | Mapping[str, ArrayLike],
        *,
        mesh: Mesh | None = None,
        operator: Any = None,
        n_samples: int = 6,
        titles: Sequence[str] | None = None,
        padding: bool = False,
        units: str | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the first samples in columns: the truth above the estimates.

        Parameters
        ----------
        y_true : array-like of shape (n_samples, n_cells), or None
            True densities. Colours have their range unless it is a single value, and titles of
            estimates the relative L2 error.
        y_pred : array-like of shape (n_samples, n_cells), or mapping of str to array-like
            Estimates, several by row name.
        mesh : Mesh, default=None
            The cells; None takes the mesh of `operator`.
        operator : ForwardOperator, default=None
            Fitted operator, for `mesh` and `units`.
        n_samples : int, default=6
            Largest number of samples.
        titles : sequence of str, default=None
            Titles of the first row.
        padding : bool, default=False
            Whether to draw the padding of the mesh.
        units : {"mGal", "normalized"}, default=None
            Units for the labels; None takes the units of `operator`, or ``"mGal"``.
        ax : array-like of Axes, default=None
            Axes to draw on, row by row; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : SampleGalleryDisplay
            The display, drawn.
        """
        mesh = mesh_of(mesh, operator)
        estimates = named(y_pred, "estimate").items()
        rows = {name: _rows(rho, mesh, "y_pred")[:n_samples] for name, rho in estimates}
        panel_titles: dict[str, Sequence[str]] = {}
        limits = None
        if y_true is not None:
            truth = _rows(y_true, mesh, "y_true")[:n_samples]
            for name, rho in rows.items():
                if len(rho) != len(truth):
                    raise ValueError(
                        f"'y_true' has {len(truth)} rows to draw and 'y_pred' {len(rho)}; give as "
                        "many of each."
                    )
                errors = relative_l2_error(truth, rho, multioutput="raw_values")
                panel_titles[name] = [f"error {error:.2f}" for error in np.atleast_1d(errors)]
            rows, limits = {"truth": truth, **rows}, unless_constant(value_range([truth]))
        if titles is not None:
            panel_titles[next(iter(rows))] = list(titles)[:n_samples]
        units = units_of(units, operator)
        display = cls(
            rows, mesh=mesh, titles=panel_titles, limits=limits, padding=padding, units=units
        )
        return display.plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        colorbar: bool = True,
        image_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the sections.

        Parameters
        ----------
        ax : array-like of Axes, default=None
            Axes to draw on, row by row; None makes a figure.
        colorbar : bool, default=True
            Whether to draw a colour bar.
        image_kw : dict, default=None
            Keywords for matplotlib's `pcolormesh`, such as ``cmap``, ``vmin`` and ``vmax``.

        Returns
        -------
        display : SampleGalleryDisplay
            The display itself, with its axes and artists.
        """
        check_units(self.units)
        if self.mesh.ndim != 2:
            raise ValueError("'mesh' has 3 axes; a gallery shows sections. Use DensityDisplay.")
        plt = pyplot(self)
        rows = {name: _rows(rho, self.mesh, "sections") for name, rho in self.sections.items()}
        mesh = self.mesh
        if not self.padding:
            mesh = cut_to(self.mesh, columns := core_of(self.mesh))
            rows = {
                name: mesh.flatten(self.mesh.unflatten(rho)[:, :, *columns])
                for name, rho in rows.items()
            }
        limits = limits_of(self.limits, list(rows.values()))
        whole = [self._row(mesh, name, rho) for name, rho in rows.items()]
        starts = range(0, max(map(len, whole)), _COLUMNS)
        grid = [row[k : k + _COLUMNS] for k in starts for row in whole if k < len(row)]
        drawn = draw_sections(plt, grid, ax, {"density": colours(limits, image_kw)}, share=True)
        label = "density contrast" if is_contrast(limits) else "density"
        label = f"{label} ({DENSITY_UNITS[self.units]})"
        self.colorbar_: Any = None
        if colorbar:
            self.colorbar_ = drawn.colour_bars({"density": label})["density"]
        shape = len(grid), max(map(len, grid))
        self.axes_: Any = np.full(shape, None, dtype=object)
        self.images_: Any = np.full(shape, None, dtype=object)
        places = [(i, j) for i, row in enumerate(grid) for j in range(len(row))]
        for place, panel, image in zip(places, drawn.axes, drawn.images, strict=True):
            self.axes_[place], self.images_[place] = panel, image
        self.figure_: Any = drawn.axes[0].figure
        return self

    def _row(self, mesh: Mesh, name: str, rho: Array) -> list[Section]:
        titles = list((self.titles or {}).get(name, [""] * len(rho)))
        if len(titles) != len(rho):
            raise ValueError(
                f"'titles' has {len(titles)} for {name!r}, which has {len(rho)} sections; give one "
                "for each."
            )
        return [
            sections_of(mesh, section, title, "density")[0].in_row(name)
            for section, title in zip(rho, titles, strict=True)
        ]


def _known(estimator: Any, X: Any, y: ArrayLike | None, sample: int) -> dict[str, Array]:
    """Return the truth of a sample, if given, and its estimate."""
    if X is None:
        raise ValueError("'X' is None; give the gravity to sample densities for.")
    estimate = np.ravel(estimator.predict(one_row(X, sample)))
    truth = {} if y is None else {"truth": row_of(y, sample, estimate.size, "y")}
    return truth | {"estimate": estimate}


def _rows(rho: ArrayLike, mesh: Mesh, argument: str) -> Array:
    rho = shown(rho, argument)
    if rho.ndim != 2 or rho.shape[1] != mesh.n_cells or not len(rho):
        raise ValueError(
            f"'{argument}' has shape {rho.shape}; it must be (n_sections, {mesh.n_cells})."
        )
    return rho
