"""Whether predicted distributions hold: coverage of intervals, and ranks of the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array, real_array
from skgrav._constraints import COUNT, SEVERAL, checked
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.metrics import RankHistogram, interval_coverage, rank_histogram
from skgrav.plotting._drawing import given_axes, pyplot
from skgrav.plotting._estimators import mesh_of, named, operator_of

#: Properties of sections whose ranks are drawn.
_FUNCTIONALS = ("lower_half", "std", "centroid_depth")


class CalibrationDisplay:
    """Coverage of intervals against their level, and rank histograms of properties of sections.

    Use `from_estimator` or `from_predictions` to create it.

    Parameters
    ----------
    levels : array-like of shape (n_levels,)
        Nominal coverages.
    coverage : mapping of str to array-like of shape (n_levels,)
        Measured coverages, by the name of a method.
    histograms : mapping of str to RankHistogram
        Rank histograms of one method, by title.
    errors : mapping of str to array-like of shape (n_levels,), default=None
        Standard errors of the coverages, drawn as bands of twice that.
    confidence : float, default=0.99
        Probability of the band of each bin of a histogram.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (1 + n_histograms,)
        The coverages, and a histogram each.
    lines_ : list of matplotlib Line2D
        Coverage of each method.
    bars_ : list of matplotlib BarContainer
        The histograms.
    figure_ : matplotlib Figure
        Figure with the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If sizes differ, or the estimator draws no samples.

    See Also
    --------
    skgrav.metrics.interval_coverage, skgrav.metrics.rank_histogram : What is drawn.
    PosteriorDisplay : The posterior of one sample.

    Notes
    -----
    A coverage below the diagonal shows intervals that are too short. Of a histogram few bins leave
    the band by chance: 1 % of them at a confidence of 0.99.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Mesh
    >>> from skgrav.plotting import CalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> rho, draws = rng.normal(size=(100, 16)), rng.normal(size=(100, 16, 39))
    >>> display = CalibrationDisplay.from_predictions(rho, draws, mesh=Mesh.square(4))
    >>> len(display.axes_)
    4
    """

    @checked(coverage=[Mapping], histograms=[Mapping], errors=[Mapping, None], confidence=[Real])
    def __init__(
        self,
        levels: ArrayLike,
        coverage: Mapping[str, ArrayLike],
        histograms: Mapping[str, RankHistogram],
        *,
        errors: Mapping[str, ArrayLike] | None = None,
        confidence: float = 0.99,
    ) -> None:
        self.levels = levels
        self.coverage = coverage
        self.histograms = histograms
        self.errors = errors
        self.confidence = confidence

    @classmethod
    @checked(n_samples=[COUNT], functionals=[*SEVERAL], random_state=["random_state"])
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_samples: int = 99,
        functionals: Sequence[Any] = _FUNCTIONALS,
        random_state: Any = 0,
        mesh: Mesh | None = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the calibration of an inverter on pairs that it has not seen.

        Parameters
        ----------
        estimator : estimator
            A fitted inverter with `sample_y`.
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells)
            True densities.
        n_samples : int, default=99
            Number of draws for each sample, which the largest level depends on.
        functionals : sequence of str or callable, default=("lower_half", "std", "centroid_depth")
            Properties, as in `skgrav.metrics.sbc_ranks`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        mesh : Mesh, default=None
            The cells; None takes the mesh of the estimator's operator.
        ax : array-like of Axes, default=None
            Axes to draw on, one more than functionals; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : CalibrationDisplay
            The display, drawn.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "sample_y"):
            raise ValueError(
                f"'estimator' is {estimator!r}, which cannot draw samples; give an inverter that "
                "has `sample_y`, such as AnalogueInverter or BayesLinearInverter."
            )
        mesh = mesh_of(mesh, operator_of(estimator))
        draws = estimator.sample_y(X, n_samples, random_state=random_state)
        name = type(estimator).__name__
        return cls.from_predictions(
            y, {name: draws}, mesh=mesh, functionals=functionals, ax=ax, **plot_kw
        )

    @classmethod
    @checked(functionals=[*SEVERAL])
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike | Mapping[str, ArrayLike],
        *,
        functionals: Sequence[Any] = _FUNCTIONALS,
        mesh: Mesh | None = None,
        operator: Any = None,
        ax: Any = None,
        **plot_kw: Any,
    ) -> Self:
        """Draw the calibration of draws.

        Parameters
        ----------
        y_true : array-like of shape (n_samples, n_cells)
            True densities.
        y_pred : array-like of shape (n_samples, n_cells, n_draws), or mapping of str to array-like
            Draws, as `sample_y` returns them; several by name. Histograms are of the first.
        functionals : sequence of str or callable, default=("lower_half", "std", "centroid_depth")
            Properties, as in `skgrav.metrics.sbc_ranks`.
        mesh : Mesh, default=None
            The cells; None takes the mesh of `operator`.
        operator : ForwardOperator, default=None
            Fitted operator, for `mesh`.
        ax : array-like of Axes, default=None
            Axes to draw on, one more than functionals; None makes a figure.
        **plot_kw : dict
            Further keywords of `plot`.

        Returns
        -------
        display : CalibrationDisplay
            The display, drawn.
        """
        mesh = mesh_of(mesh, operator)
        y_true, methods = check_array(y_true, "y_true"), named(y_pred, "draws")
        if len(y_true) < 2:
            raise ValueError("'y_true' has 1 sample; a calibration takes many, 10 at least.")
        n_draws = min(np.shape(draws)[-1] for draws in methods.values() if np.ndim(draws))
        # The largest interval is that between the least and the greatest draw.
        levels = np.linspace(0.05, 0.95, 19)
        levels = levels[levels <= (n_draws - 1) / (n_draws + 1) + 1e-9]
        if not levels.size:
            levels = np.array([0.05])  # refused below, by name
        coverage, errors = {}, {}
        for name, draws in methods.items():
            rows = np.arange(len(y_true))
            each = interval_coverage(y_true, draws, levels=levels, labels=rows)
            assert isinstance(each, dict)  # as there are labels
            shares = np.stack([*each.values()])
            coverage[name] = shares.mean(axis=0)
            # Cells of a section depend on one another, sections do not.
            errors[name] = shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
        first = next(iter(methods.values()))
        histograms = {_title(f): rank_histogram(y_true, first, f, mesh=mesh) for f in functionals}
        return cls(levels, coverage, histograms, errors=errors).plot(ax, **plot_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: dict[str, Any] | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the coverages and the histograms.

        Parameters
        ----------
        ax : array-like of Axes, default=None
            Axes to draw on, one more than there are histograms; None makes a figure.
        line_kw, bar_kw : dict, default=None
            Keywords for matplotlib's `plot` of coverages and `bar` of histograms.

        Returns
        -------
        display : CalibrationDisplay
            The display itself, with `axes_`, `lines_`, `bars_` and `figure_`.
        """
        levels = real_array(self.levels, "levels")
        for title, histogram in self.histograms.items():
            if not isinstance(histogram, RankHistogram):
                raise TypeError(
                    f"'histograms' has {histogram!r} as {title!r}; it must be a RankHistogram, as "
                    "of rank_histogram."
                )
        plt = pyplot(self)
        n = 1 + len(self.histograms)
        if ax is None:
            _, ax = plt.subplots(1, n, figsize=(3.1 * n, 3.2), layout="constrained")
        axes = given_axes(ax, n, "panel")
        axes[0].plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        self.lines_: list[Any] = []
        for name, values in self.coverage.items():
            found = self._of_levels(values, levels, "coverage")
            keywords: dict[str, Any] = {"marker": ".", "label": name} | (line_kw or {})
            line = axes[0].plot(levels, found, **keywords)[0]
            if self.errors is not None and name in self.errors:
                error = 2 * self._of_levels(self.errors[name], levels, "errors")
                style = {"color": line.get_color(), "alpha": 0.2, "linewidth": 0}
                axes[0].fill_between(levels, found - error, found + error, **style)
            self.lines_.append(line)
        axes[0].set(
            xlim=(0, 1), ylim=(0, 1), xlabel="level of the interval", ylabel="share of cells within"
        )
        axes[0].set_aspect("equal")
        axes[0].legend(fontsize="small")
        self.bars_: list[Any] = [
            self._draw_histogram(panel, title, histogram, bar_kw or {})
            for panel, (title, histogram) in zip(axes[1:], self.histograms.items(), strict=True)
        ]
        if len(axes) > 1:
            axes[1].set_ylabel("samples")
        self.axes_: Any = np.array(axes, dtype=object)
        self.figure_: Any = axes[0].figure
        return self

    def _draw_histogram(
        self, ax: Any, title: str, histogram: RankHistogram, given: dict[str, Any]
    ) -> Any:
        counts, expected = histogram.counts, histogram.expected
        edges = np.r_[0.0, np.cumsum(expected)] / expected.sum()
        n = int(counts.sum())
        low, high = binom.interval(self.confidence, n, expected / expected.sum())
        style = {"step": "post", "color": "0.85", "linewidth": 0}
        ax.fill_between(edges, np.r_[low, low[-1]], np.r_[high, high[-1]], **style)
        keywords: dict[str, Any] = {"align": "edge", "color": "C0", "alpha": 0.7}
        keywords |= {"edgecolor": "w"} | given
        bars = ax.bar(edges[:-1], counts, np.diff(edges), **keywords)
        ax.stairs(expected, edges, color="k", linewidth=1, linestyle="--")
        p = histogram.p_value
        shown = f"p = {p:.2g}" if p >= 1e-3 else "p < 0.001"
        ax.set_title(f"{title}, {shown}", fontsize="medium")
        ax.set(xlim=(0, 1), xlabel="rank of the truth / number of draws")
        return bars

    @staticmethod
    def _of_levels(values: ArrayLike, levels: Array, argument: str) -> Array:
        found = real_array(values, argument)
        if found.shape != levels.shape or levels.ndim != 1:
            raise ValueError(
                f"'{argument}' has shape {found.shape}, but 'levels' {levels.shape}; both must be "
                "(n_levels,)."
            )
        return found


def _title(functional: Any) -> str:
    if callable(functional):
        return str(getattr(functional, "__name__", "functional")).replace("_", " ")
    return {"lower_half": "mean of the lower half", "std": "standard deviation"}.get(
        functional, str(functional).replace("_", " ")
    )
