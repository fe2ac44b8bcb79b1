"""Observed and predicted gravity, and residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_uncertainty
from skgrav._constraints import HasMethods, checked
from skgrav._typing import Array
from skgrav.geometry import Survey
from skgrav.noise import Noise
from skgrav.plotting._drawing import (
    axis_label,
    canvas,
    check_units,
    colour_bar,
    colours,
    given_axes,
    gravity_unit,
    robust_range,
    set_ticks,
    units_along,
)
from skgrav.plotting._estimators import named, one_row, operator_of, row_of, survey_of, units_of

#: Share of their mean distance below which stations are at one place along a profile, and share of
#: such stations from which on a line through all would be a saw-tooth.
_NEAR, _MANY = 0.1, 0.25


class GravityDisplay:
    """Observed and predicted gravity, residuals, and the noise.

    Along a profile, each component has a panel with its residuals below, drawn as lines, or as dots
    where stations share their x; in 3D, each component has maps side by side. Use `from_estimator`
    or `from_predictions` to create it.

    Parameters
    ----------
    observed : array-like of shape (n_data,)
        Gravity, component-major; gz is positive toward a positive mass below.
    predicted : mapping of str to array-like of shape (n_data,), default=None
        Gravity of estimates by name.
    survey : Survey
        The stations and components.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of the noise; None takes the uncertainty of `survey`, if any.
    units : {"mGal", "normalized"}, default="mGal"
        Unit of gravity; with ``"mGal"`` gradients are in Eotvos.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Along a profile of shape (2, n_components), or (1, n_components) without predictions. In
        3D of shape (n_components, 1 + 2 n_predictions): observed, predictions, residuals.
    observed_ : list of matplotlib Line2D or PathCollection
        The observed data of each component.
    predicted_, residuals_ : dict of str to list of matplotlib Line2D or PathCollection
        Predictions and residuals by name, for each component.
    bands_ : list of matplotlib FillBetweenPolyCollection
        Bands of one standard deviation of the noise along a profile, for each component.
    colorbars_ : list of matplotlib Colorbar
        In 3D, for each component that of the data and that of the residuals.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If sizes differ from the survey, or `ax` has too many or too few axes.

    See Also
    --------
    DensityDisplay : The densities.
    skgrav.metrics.chi_factor : Misfit relative to the noise.

    Notes
    -----
    Labels give the chi factor of each prediction: 1 if data are fitted to their noise, less if
    the noise is fitted, too. If the survey has a trend, predictions contain the trend that fits the
    data best, so that the data are drawn as measured.

    Examples
    --------
    >>> from skgrav import BayesLinearInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.plotting import GravityDisplay
    >>> data = make_gravity_dataset(50, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = BayesLinearInverter(0.01, operator=data.operator).fit(data.data, data.target)
    >>> display = GravityDisplay.from_estimator(inverter, data.data, noise_level=0.01)
    >>> display.axes_.shape
    (2, 2)
    """

    @checked(predicted=[Mapping, None], survey=[Survey], units=[str])
    def __init__(
        self,
        observed: ArrayLike,
        predicted: Mapping[str, ArrayLike] | None = None,
        *,
        survey: Survey,
        uncertainty: ArrayLike | None = None,
        units: str = "mGal",
    ) -> None:
        self.observed = observed
        self.predicted = predicted
        self.survey = survey
        self.uncertainty = uncertainty
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample: int = 0,
        operator: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw one sample and the gravity of its estimate.

        Parameters
        ----------
        estimator : estimator
            A fitted inverter, or a Pipeline or search with one.
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells), default=None
            True densities, whose gravity is drawn as well.
        sample : int, default=0
            Row of `X` to draw.
        operator : ForwardOperator or MatrixOperator, default=None
            Fitted operator from density to gravity; None takes the estimator's.
        **kwargs : dict
            Keywords of `from_predictions`, such as `survey`, `noise_level` and `ax`, and of `plot`.

        Returns
        -------
        display : GravityDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        operator = operator_of(estimator) if operator is None else operator
        row = one_row(X, sample)
        densities = {"estimate": np.ravel(estimator.predict(row))}
        _check_operator(operator)
        if y is not None:
            densities["truth"] = row_of(y, sample, operator.n_cells_, "y")
        # The data of a refiner may follow its start.
        observed = row[0, -operator.n_data_ :]
        return cls.from_predictions(observed, densities, operator=operator, **kwargs)

    @classmethod
    @checked(operator=[HasMethods("transform")])
    def from_predictions(
        cls,
        X: ArrayLike,
        y_pred: ArrayLike | Mapping[str, ArrayLike],
        *,
        operator: Any,
        survey: Survey | None = None,
        sample: int = 0,
        noise_level: float | None = None,
        units: str | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw one sample and the gravity of one or several densities.

        Parameters
        ----------
        X : array-like of shape (n_data,) or (n_samples, n_data)
            Observed gravity, component-major.
        y_pred : array-like of shape (n_cells,) or (n_samples, n_cells), or mapping of str to it
            Estimated densities, several by name.
        operator : ForwardOperator, MatrixOperator or JointOperator
            Fitted operator from density to gravity.
        survey : Survey, default=None
            The stations; None takes the survey of the operator. Of a JointOperator of several
            surveys, the one to draw.
        sample : int, default=0
            Row to draw.
        noise_level : float, default=None
            Standard deviation of the noise relative to the rms of the sample's data; None takes
            the uncertainty of the survey, if any.
        units : {"mGal", "normalized"}, default=None
            Unit of gravity; None takes the unit of the operator, or ``"mGal"``.
        ax : array-like of Axes or Figure, default=None
            Axes to draw on, as in `axes_`, or a figure to fill; None makes one.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : GravityDisplay
            The display, drawn.
        """
        _check_operator(operator)
        observed = row_of(X, sample, operator.n_data_, "X")
        operator, own = _part_of(operator, survey)
        observed, survey = observed[own], survey_of(survey, operator)
        # The operator knows the sizes of gradients beside gravity.
        knows = survey == getattr(operator, "survey_", None)
        noise = Noise.of(operator if knows else survey, noise_level)
        predicted = {}
        for name, rho in named(y_pred, "estimate").items():
            g = operator.transform(row_of(rho, sample, operator.n_cells_, "y_pred")[None])
            predicted[name] = (g + noise.trend(observed - g).values)[0]
        uncertainty = None
        if noise_level is not None:
            if noise.level == "auto" or not noise_level > 0:
                raise ValueError(f"'noise_level' is {noise_level}; it must be positive, or None.")
            std = noise.std(observed[None])
            uncertainty = None if std is None else std[0]
        display = cls(
            observed,
            predicted,
            survey=survey,
            uncertainty=uncertainty,
            units=units_of(units, operator),
        )
        return display.plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        colorbar: bool = True,
        observed_kw: dict[str, Any] | None = None,
        predicted_kw: dict[str, Any] | None = None,
        residual_kw: dict[str, Any] | None = None,
        band_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : array-like of Axes or Figure, default=None
            Axes to draw on, as in `axes_`, or a figure to fill; None makes one.
        colorbar : bool, default=True
            Whether to draw colour bars, in 3D.
        observed_kw, predicted_kw, residual_kw : dict, default=None
            Keywords for matplotlib's `plot` along a profile, or `scatter` of maps in 3D.
        band_kw : dict, default=None
            Keywords for matplotlib's `fill_between` of the noise along a profile.

        Returns
        -------
        display : GravityDisplay
            The display itself, with its axes and artists.
        """
        check_units(self.units)
        plt, ax = canvas(self, ax)
        profiles = self._profiles(self.observed, "observed")
        predicted = {
            name: self._profiles(g, f"predicted[{name!r}]")
            for name, g in (self.predicted or {}).items()
        }
        sigma = self._sigma()
        self.observed_: list[Any] = []
        self.predicted_: dict[str, list[Any]] = {name: [] for name in predicted}
        self.residuals_: dict[str, list[Any]] = {name: [] for name in predicted}
        self.bands_: list[Any] = []
        self.colorbars_: list[Any] = []
        self.axes_: Any = self._axes(plt, ax, len(predicted))
        self.figure_: Any = self.axes_.flat[0].figure
        given = [dict(kw or {}) for kw in (observed_kw, predicted_kw, residual_kw)]
        if self.survey.ndim == 2:
            self._draw_lines(profiles, predicted, sigma, [*given, dict(band_kw or {})])
        else:
            self._draw_maps(profiles, predicted, sigma, given, colorbar)
        return self

    def _profiles(self, g: ArrayLike, argument: str) -> Array:
        return self.survey.unflatten(row_of(g, 0, self.survey.n_data, argument))

    def _sigma(self) -> Array | None:
        """Return the standard deviation of the noise of each datum, by component."""
        sigma = self.survey.uncertainty if self.uncertainty is None else self.uncertainty
        if sigma is None:
            return None
        return self.survey.unflatten(check_uncertainty(sigma, self.survey.n_data))

    def _axes(self, plt: Any, ax: Any, n_predicted: int) -> Any:
        n = len(self.survey.components)
        shape = (2 if n_predicted else 1, n)
        flat = self.survey.ndim == 2
        if not flat:
            shape = (n, 1 + 2 * n_predicted)
        if ax is not None:
            what = "panel, row by row" if flat else "map, row by row"
            return np.array(given_axes(ax, shape[0] * shape[1], what), dtype=object).reshape(shape)
        size = (4.2 * shape[1] + 0.6 if n > 1 else 6.5, 2.9 + 1.7 * (shape[0] - 1))
        options: dict[str, Any] = {"sharex": True, "layout": "constrained"}
        if flat and n_predicted:
            options["height_ratios"] = [2, 1]
        if not flat:
            options = {"sharex": True, "sharey": True, "layout": "compressed"}
            y, x = np.ptp(self.survey.stations[:, 1:], axis=0)
            size = 3.0 * shape[1] + 1.5, (2.8 * np.clip(y / (x or 1), 0.4, 2.0) + 0.7) * shape[0]
        return plt.subplots(*shape, figsize=size, squeeze=False, **options)[1]

    def _draw_lines(
        self,
        profiles: Array,
        predicted: dict[str, Array],
        sigma: Array | None,
        given: list[dict[str, Any]],
    ) -> None:
        order = np.argsort(self.survey.stations[:, 1], kind="stable")
        scale, length, (offset,) = units_along(self.survey.stations[:, 1])
        x = self.survey.stations[order, 1] / scale
        on_data, on_predicted, on_residual, on_band = given
        joined: dict[str, Any] = {}
        if _has_repeats(x):
            joined = {"linestyle": "none", "marker": ".", "markersize": 4}
        for k, component in enumerate(self.survey.components):
            unit = gravity_unit(component, self.units)
            top, bottom = self.axes_[0, k], self.axes_[-1, k]
            style = {"color": "k", "marker": ".", "markersize": 4, "linestyle": "none"} | on_data
            self.observed_ += top.plot(x, profiles[k, order], **{"label": "observed"} | style)
            for i, (name, g) in enumerate(predicted.items()):
                label, residual = self._label(name, profiles - g, sigma), (profiles - g)[k, order]
                style = {"color": f"C{i}", "linewidth": 1.2} | joined
                self.predicted_[name] += top.plot(
                    x, g[k, order], **style | {"label": label} | on_predicted
                )
                self.residuals_[name] += bottom.plot(
                    x, residual, **style | {"label": name} | on_residual
                )
            if predicted:
                self._draw_band(bottom, x, None if sigma is None else sigma[k, order], on_band)
                bottom.set_ylabel(f"residual\n({unit})")
            top.set(ylabel=f"g{component} ({unit})")
            for panel in (top, bottom):
                set_ticks(panel.xaxis, offset)
                if panel is bottom or not panel.get_shared_x_axes().joined(top, bottom):
                    panel.set_xlabel(axis_label("x", offset, length))
        if predicted:
            # Above the panel, where it covers no data.
            place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 2}
            self.axes_[0, 0].legend(fontsize="small", frameon=False, **place)

    def _draw_band(self, ax: Any, x: Array, sigma: Array | None, given: dict[str, Any]) -> None:
        ax.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
        if sigma is not None:
            style = {"color": "0.88", "linewidth": 0, "zorder": 0, "label": "noise"} | given
            self.bands_.append(ax.fill_between(x, -sigma, sigma, **style))

    def _draw_maps(
        self,
        profiles: Array,
        predicted: dict[str, Array],
        sigma: Array | None,
        given: list[dict[str, Any]],
        colorbar: bool,
    ) -> None:
        scale, length, offsets = units_along(*self.survey.stations.T[1:])
        y, x = self.survey.stations.T[1:] / scale
        north, east = (axis_label(n, o, length) for n, o in zip("yx", offsets, strict=True))
        # Circles that fill a map of three inches without overlap.
        size = float(np.clip(12e3 / x.size, 2.0, 60.0))
        circles = {"s": size, "edgecolors": "0.4", "linewidths": 0.3 if size > 10 else 0.0}
        residuals = {name: profiles - g for name, g in predicted.items()}
        titles = ["observed", *predicted]
        for name, residual in residuals.items():
            title = "residual" if len(residuals) == 1 else f"residual of {name}"
            titles.append(self._label(title, residual, sigma))
        for k, component in enumerate(self.survey.components):
            unit = gravity_unit(component, self.units)
            limits = robust_range([r[k] for r in residuals.values()])
            on_data = colours(robust_range([profiles[k]]), circles | given[0])
            off = colours(limits, circles | given[2], centred=True)
            first, *others = self.axes_[k]
            left, right = others[: len(predicted)], others[len(predicted) :]
            self.observed_.append(first.scatter(x, y, c=profiles[k], **on_data))
            for name, on_left, on_right in zip(predicted, left, right, strict=True):
                points = on_left.scatter(x, y, c=predicted[name][k], **on_data | given[1])
                self.predicted_[name].append(points)
                self.residuals_[name].append(on_right.scatter(x, y, c=residuals[name][k], **off))
            for ax, title in zip(self.axes_[k], titles, strict=True):
                ax.set_title(title, fontsize="medium")
                ax.set(xlabel=east, ylabel=north, aspect="equal")
                set_ticks(ax.yaxis, offsets[0])
                set_ticks(ax.xaxis, offsets[1])
                if ax.get_shared_x_axes().joined(ax, self.axes_[-1, 0]):
                    ax.label_outer()
            if colorbar:
                shown = [self.observed_[k], *(p[k] for p in self.predicted_.values())]
                bar = colour_bar(shown, [first, *left], f"g{component} ({unit})")
                self.colorbars_.append(bar)
            if colorbar and predicted:
                shown = [r[k] for r in self.residuals_.values()]
                self.colorbars_.append(colour_bar(shown, right, f"residual ({unit})"))

    def _label(self, name: str, residual: Array, sigma: Array | None) -> str:
        """Return a name with its chi factor, if the noise is known."""
        if sigma is None:
            return name
        with np.errstate(over="ignore"):  # noise far below the residuals
            noise = Noise.of(self.survey, uncertainty=self.survey.flatten(sigma))
            g = self.survey.flatten(residual)[None]
            chi = noise.chi_factor(g, g)
        return name if chi is None else f"{name}, chi factor {chi[0]:.2g}"


def _has_repeats(x: Array) -> bool:
    """Return whether sorted stations share their x, such as those on the ground and above it."""
    steps = np.diff(x) * len(x)
    near = steps < _NEAR * np.ptp(x)
    return bool(np.any(steps == 0) or near.sum() > _MANY * len(x))


def _part_of(operator: Any, survey: Survey | None) -> tuple[Any, slice]:
    """Return the part of a joint operator with a survey, and its data; else the operator."""
    parts = [
        (part, own)
        for part, own in getattr(operator, "parts_", [])
        if part is not operator and hasattr(part, "survey_")
    ]
    if not parts:
        return operator, slice(None)
    chosen = [(part, own) for part, own in parts if survey in (None, part.survey_)]
    if len(chosen) != 1:
        surveys = ", ".join(repr(part.survey_) for part, _ in parts)
        raise ValueError(f"'survey' is {survey!r}; give one of those of 'operator': {surveys}.")
    return chosen[0]


def _check_operator(operator: Any) -> None:
    if not hasattr(operator, "transform"):
        raise ValueError(
            f"'operator' is {operator!r}, and the estimator has no fitted one; give a fitted "
            "operator from density to gravity."
        )
    check_is_fitted(operator)
