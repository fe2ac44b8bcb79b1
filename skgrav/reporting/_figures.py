"""Pictures of a report, drawn by matplotlib's Agg without its global state."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np

from skgrav._checks import import_optional
from skgrav._typing import Array
from skgrav.geometry import core_of
from skgrav.operators import CellValues
from skgrav.plotting import (
    DensityDisplay,
    GravityDisplay,
    LCurveDisplay,
    axis_label,
    set_ticks,
    units_along,
)
from skgrav.reporting._case import Case
from skgrav.reporting._document import Picture

_DPI = 110

#: Least chi factor on the curve of alpha.
_SHOWN = 1e-3

#: Slices of a volume, as shares of the depth that they stand for.
_SLICES = (0.1, 0.25, 0.45, 0.7)


def pictures_of_data(case: Case) -> Iterator[Picture]:
    """Draw data, fit and residuals of each part."""
    for before, (part, own) in zip(case.part_names, case.parts, strict=True):
        survey = getattr(part, "survey_", None)
        figure = _figure()
        if survey is None:
            _draw_values(figure, case, part, own)
            title = f"Data of {before}cells and their fit"
            yield _picture(figure, title, "Data as measured and as estimated.")
            continue
        sigma = None if case.sigma is None else case.sigma[own]
        display = GravityDisplay(
            case.g[own],
            {"estimate": case.explained[own]},
            survey=survey,
            uncertainty=sigma,
            units=case.units,
        ).plot(figure)
        for panel in display.axes_.flat:
            panel.locator_params(nbins=6)
        has_trend = case.trend is not None and case.noise.whitening.basis[own].any()
        trend = ", with the trend" if has_trend else ""
        band = " The grey band is one standard deviation of the noise." if survey.ndim == 2 else ""
        what = "profile" if survey.ndim == 2 else "map"
        components = ", ".join(f"g{c}" for c in survey.components)
        yield _picture(
            figure,
            f"Data, fit and residual, {what} of {before}{components}",
            f"Data as measured, the gravity of the estimated density{trend}, and what is left."
            f"{band if sigma is not None else ''}",
        )


def picture_of_density(case: Case) -> Picture:
    """Draw the density, in 3D also by slices."""
    assert case.mesh is not None
    figure = _figure()
    options = _options(case) | {"at": _cuts(case)}
    if case.mesh.ndim == 2:
        lines = _interfaces(case)
        options["interfaces"] = lines
        DensityDisplay({"estimate": case.rho}, std=case.std, **options).plot(figure)
        caption = "Estimated density. Triangles are stations."
        if "depth of investigation" in lines:
            caption += " Below the line of the depth of investigation the prior outweighs the data."
        return _picture(figure, "Section of the estimated density", caption + _further(case))
    DensityDisplay({"estimate": case.rho}, std=case.std, **options).plot(figure)
    caption = "Estimated density, cut where it differs most from its median. Dots are stations."
    return _picture(figure, "Slice and sections of the estimated density", caption + _further(case))


def picture_of_slices(case: Case) -> Picture:
    """Draw a volume by slices at several depths."""
    assert case.mesh is not None
    edges, layers = case.mesh.edges[0], case.mesh.centers[0]
    if case.mesh.active is not None:  # slices below the ground
        layers = layers[case.mesh.active.all(axis=(1, 2))]
    wanted = edges[0] + np.array(_SLICES) * (edges[-1] - edges[0])
    nearest = (layers[np.abs(layers - z).argmin()] for z in wanted) if layers.size else wanted
    depths = [*dict.fromkeys(float(z) for z in nearest)]
    figure = _figure()
    DensityDisplay({"estimate": case.rho}, depths=depths, **_options(case)).plot(figure)
    return _picture(figure, "Slices of the estimated density", "Slices at several depths.")


def pictures_of_doubt(case: Case) -> Iterator[Picture]:
    """Draw quantiles and draws, as far as the method has them."""
    options = _options(case) | {"at": _cuts(case)}
    if case.quantiles is not None:
        figure = _figure()
        names = ("5 %", "median", "95 %")
        shown = dict(zip(names, case.quantiles, strict=True))
        DensityDisplay(shown, **options).plot(figure)
        yield _picture(
            figure,
            "Quantiles of the density",
            f"One cell in ten is expected outside the interval of 5 to 95 %{_condition(case)}.",
        )
    if case.draws is not None:
        figure = _figure()
        shown = {f"draw {i}": rho for i, rho in enumerate(case.draws[:4], start=1)}
        DensityDisplay(shown, **options).plot(figure)
        yield _picture(
            figure,
            "Draws from the posterior",
            "Densities that also fit the data to their noise. What they have in common is "
            "determined by the data and the prior; what differs between them is not.",
        )


def _condition(case: Case) -> str:
    """Return under which condition quantiles hold."""
    is_calibrated = getattr(case.part_with("predict_quantiles"), "is_calibrated", None)
    if is_calibrated is None:
        return ""
    if is_calibrated:
        return ": the network was calibrated"
    return " if the network states its errors rightly: it was not calibrated"


def picture_of_interface(case: Case) -> Picture:
    """Draw the depth of an interface below an area, and its standard deviation."""
    assert case.mesh is not None
    y, x = case.mesh.edges[1:]
    rows, columns = core_of(case.mesh, case.stations)
    along = case.surveys[0].stations.T[1:] if case.surveys else (y, x)
    scale, unit, offsets = units_along(*along)
    name, sign = ("elevation", -1.0) if case.has_elevations else ("depth z", 1.0)
    depth, std = case.result.depth, case.result.depth_std
    maps = {f"{name} (m)": sign * depth, "standard deviation (m)": std}
    figure = _figure()
    figure.set_size_inches(9.0, 3.8)
    for panel, (label, values) in zip(
        figure.subplots(1, 2, sharey=True), maps.items(), strict=True
    ):
        image = values[0].reshape(len(y) - 1, len(x) - 1)[rows, columns]
        at = x[columns.start : columns.stop + 1] / scale, y[rows.start : rows.stop + 1] / scale
        figure.colorbar(panel.pcolormesh(*at, image), ax=panel, label=label)
        for axis, letter, offset in zip((panel.yaxis, panel.xaxis), "yx", offsets, strict=True):
            axis.set_label_text(axis_label(letter, offset, unit))
            set_ticks(axis, offset)
        panel.set_aspect("equal")
        panel.locator_params(nbins=5)
    return _picture(figure, "Map of the estimated interface", "Estimated interface.")


def picture_of_alpha(case: Case) -> Picture | None:
    """Draw the curve by which alpha was chosen."""
    if case.curve is None:
        return None
    alpha = float(case.result.alpha[0])
    misfit = case.curve.misfit[:, 0]
    known = np.isfinite(misfit) & (misfit > 0)  # it is 0 of data that the reference explains
    criterion: Any = case.criterion
    if criterion not in ("discrepancy", "gcv"):
        criterion = "lcurve"
    if known.sum() < 2:
        return None
    curve = type(case.curve)(**{name: v[known] for name, v in vars(case.curve).items()})
    figure = _figure()
    figure.set_size_inches(6.0, 3.6)
    mark = min(alpha, float(curve.alpha[-1, 0]))
    panel = figure.add_subplot()
    LCurveDisplay.from_predictions(curve, mark, criterion=criterion, ax=panel)
    if criterion == "discrepancy":  # far below are alphas that fit the noise
        near = curve.alpha[curve.chi_factor > _SHOWN]
        panel.set(xlim=(min(near.min(initial=mark), mark / 2), None), ylim=(_SHOWN, None))
    caption = {
        "discrepancy": "Chi factor against alpha; alpha is taken where it is 1.",
        "gcv": "Generalised cross-validation against alpha; alpha is taken at the minimum. Where "
        "the curve is flat, the data do not determine it.",
        "lcurve": "Model norm against misfit; an alpha at the corner keeps both small.",
    }[criterion]
    return _picture(figure, "Choice of alpha", caption)


def _options(case: Case) -> dict[str, Any]:
    """Return the keywords of density displays."""
    options: dict[str, Any] = {"mesh": case.mesh, "units": case.units}
    options["elevation"] = case.has_elevations
    if case.surveys:
        options["survey"] = case.surveys[0]
    return options


def _cuts(case: Case) -> tuple[float, ...] | None:
    """Return where all pictures of a volume are cut: at the strongest contrast of the core."""
    if case.mesh is None or case.mesh.ndim == 2:
        return None
    contrast = np.where(case.core, np.abs(case.rho - np.median(case.rho)), -1.0)
    return tuple(case.mesh.cell_centers[int(contrast.argmax())].tolist())


def _interfaces(case: Case) -> dict[str, tuple[Array, Array]]:
    """Return the depth of investigation and an estimated interface, by name."""
    assert case.mesh is not None
    lines = {}
    x = case.mesh.centers[1]
    if (depth := case.investigated) is not None and np.isfinite(depth).any():
        lines["depth of investigation"] = x, np.where(np.isfinite(depth), depth, np.nan)
    if hasattr(case.result, "depth"):
        lines["estimated interface"] = x, case.result.depth[0]
    return lines


def _further(case: Case) -> str:
    """Return what a caption adds."""
    text = "" if case.core.all() else " The padding of the mesh is not drawn."
    if case.std is None:
        return text
    return (
        f"{text} The standard deviation holds if densities are such as the method expects, by its "
        "prior or its training sections."
    )


def _draw_values(figure: Any, case: Case, part: Any, own: slice) -> None:
    """Draw densities of cells against their depth, other data without stations by number."""
    panel = figure.add_subplot()
    g, estimate = case.g[own], case.explained[own]
    sigma = None if case.sigma is None else case.sigma[own]
    if isinstance(part, CellValues):
        figure.set_size_inches(4.5, 4.5)
        name, sign = ("elevation", -1.0) if case.has_elevations else ("depth", 1.0)
        z = sign * part.transform(part.mesh_.cell_centers[:, :1].T)[0]  # the mean of each datum
        panel.errorbar(g, z, xerr=sigma, fmt="k.", label="observed", linewidth=0.8)
        panel.plot(estimate, z, "C0|", markersize=8, label="estimate")
        panel.set(xlabel=f"density ({case.density_unit})", ylabel=f"{name} (m)")
        if sign > 0:
            panel.invert_yaxis()
    else:
        figure.set_size_inches(6.5, 3.0)
        n = np.arange(g.size)
        panel.errorbar(n, g, sigma, fmt="k.", label="observed", linewidth=0.8)
        panel.plot(n, estimate, "C0_", markersize=8, label="estimate")
        panel.set(xlabel="datum", ylabel="value")
    panel.legend(fontsize="small")


def _figure() -> Any:
    """Return a figure that pyplot does not know."""
    return import_optional("matplotlib.figure", "report", "plot").Figure(layout="constrained")


def _picture(figure: Any, alt: str, caption: str) -> Picture:
    # No metadata, so that equal pictures are equal files.
    buffer = BytesIO()
    options = {"bbox_inches": "tight", "pad_inches": 0.05, "metadata": {"Software": None}}
    figure.savefig(buffer, format="png", dpi=_DPI, **options)
    return Picture(buffer.getvalue(), alt, caption)
