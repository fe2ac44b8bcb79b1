"""Stations and gravity in files of UBC-GIF's GRAV3D, and gradients in those of GG3D."""

from __future__ import annotations

import os
from decimal import Decimal
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_dummies
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.geometry import Survey
from skgrav.io._ubc_text import UBCLines, finite_array, write_lines

_COLUMNS = "easting, northing, elevation, then gravity and its uncertainty if they are known"
_GRADIENT_COLUMNS = (
    "easting, northing, elevation, then each gradient, followed by its uncertainty if it is known"
)

#: Our names of GG3D's components, whose x points north and y east.
_OUR_NAMES = {"xx": "yy", "xy": "xy", "xz": "yz", "yy": "xx", "yz": "xz", "zz": "zz"}


@checked(uncertainty=[Real, None])
def read_ubc_survey(
    path: str | os.PathLike[str], *, uncertainty: float | None = None
) -> tuple[Survey, Array | None]:
    r"""Read stations and their gravity or gradients from a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        The file, usually ``.grv``, ``.obs`` or ``.gg``: the number of stations, then a line for
        each with easting, northing and elevation in metres, gravity in mGal and its standard
        deviation in mGal. The last column or the last two may be missing. A file of gradients
        begins with ``datacomp=xx,xy,xz,yy,yz,zz`` or some of these, and has such columns in Eotvos
        for each of them. Everything from ``!`` or ``#`` to the end of a line is a comment.
    uncertainty : float, default=None
        Standard deviation, in mGal or Eotvos, of data for which the file has none or zero. With
        None, a file without uncertainties, or with zeros alone, gives a survey without
        uncertainty, and single zeros are refused.

    Returns
    -------
    survey : Survey
        The stations with columns ``(z, y, x)``, z minus the elevation, y the northing and x the
        easting; the component gz or the gradients, and the uncertainty.
    data : ndarray of shape (n_data,) or None
        Gravity gz in mGal as in the file, positive toward a positive mass below, or gradients in
        Eotvos, component-major; None if the file has locations only.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a count, a column or a number is wrong, a number marks missing data, or only some
        uncertainties are zero. The message names the file and the line.

    See Also
    --------
    write_ubc_survey : Its inverse.
    read_ubc_mesh : The cells below.

    Notes
    -----
    GRAV3D's z axis points down [1]_, so its data have skgrav's sign: a mass deficit gives negative
    gravity. SimPEG's sign is the opposite. In files of gradients x points north, y east and z down
    [2]_, so that their ``xx`` is the yy of the survey, and their ``xz`` its yz.

    References
    ----------
    .. [1] GRAV3D 6.0 manual, UBC Geophysical Inversion Facility,
       https://grav3d.readthedocs.io/en/v6.0/.
    .. [2] GG3D 6.0 manual, UBC Geophysical Inversion Facility, https://gg3d.readthedocs.io/.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_ubc_survey
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "gravity.grv")
    ...     _ = path.write_text("1 ! station\n362472.4 6008599.5 2185.5 -11.55 0.05\n")
    ...     survey, data = read_ubc_survey(path)
    >>> survey.stations[0].tolist(), data.tolist(), survey.uncertainty.tolist()
    ([-2185.5, 6008599.5, 362472.4], [-11.55], [0.05])
    """
    if uncertainty is not None and not 0 < uncertainty < np.inf:
        raise ValueError(
            f"'uncertainty' is {uncertainty!r}; it must be a positive number of mGal or Eotvos, or "
            "None."
        )
    lines = UBCLines(path)
    n_stations, components = _head(lines)
    table, numbers = _rows(lines, n_stations, components)
    (east, north, up), values = table.T[:3], table.T[3:]
    data, sigma = values, np.zeros((len(components), n_stations))
    if len(values) > len(components):
        data, sigma = values[::2], values[1::2]
    names = ["gravity"] if components == ("z",) else [f"g{c}" for c in components]
    for column, name in ((up, "elevation"), *zip(data, names, strict=False)):
        _refuse_dummies(lines, numbers, column, name)
    # Not -up, which is -0.0 at sea level: surveys are compared by bytes.
    stations = np.column_stack([0.0 - up, north, east])
    survey = Survey(stations, components, _filled(lines, numbers, sigma, uncertainty))
    return survey, (data.ravel() if len(data) else None)


def _head(lines: UBCLines) -> tuple[int, tuple[str, ...]]:
    """Return the number of stations and our names of the components."""
    wanted, components = "the number of stations", ("z",)
    words = lines.words(wanted)
    if not words[0].lower().startswith("datacomp"):
        return lines.counts_of(words, 1, wanted)[0], components
    names = ",".join(words).lower().replace("=", ",").split(",")[1:]
    given = [name for name in names if name]
    if not given or not set(given) <= set(_OUR_NAMES) or len(set(given)) < len(given):
        lines.fail(
            f"the components are {', '.join(given)!r}; give distinct ones out of "
            f"{', '.join(_OUR_NAMES)}, as in 'datacomp=xz,zz'."
        )
    (n_stations,) = lines.counts(1, wanted, "the line below the components")
    return n_stations, tuple(_OUR_NAMES[name] for name in given)


def _rows(lines: UBCLines, n_stations: int, components: tuple[str, ...]) -> tuple[Array, list[int]]:
    """Return the numbers of each station, and the lines that they are on."""
    columns = _COLUMNS if components == ("z",) else _GRADIENT_COLUMNS
    n = len(components)
    rows: list[list[Decimal]] = []
    numbers: list[int] = []
    while len(rows) < n_stations:
        words = lines.words(f"station {len(rows) + 1} of {n_stations}")
        row = [lines.decimal(word) for word in words]
        if len(row) not in (3, 3 + n, 3 + 2 * n):
            lines.fail(f"the station has {len(row)} numbers; give {columns}.")
        if rows and len(row) != len(rows[0]):
            lines.fail(
                f"the station has {len(row)} numbers but the first one has {len(rows[0])}; "
                f"give all of them the same columns: {columns}."
            )
        if len(row) == 3 + 2 * n:
            for word, sigma in zip(words[4::2], row[4::2], strict=True):
                if sigma < 0:
                    lines.fail(
                        f"the uncertainty is {word}; give a standard deviation above 0, or 0 in "
                        "all lines if it is unknown."
                    )
        rows.append(row)
        numbers.append(lines.number)
    lines.end(f"the {n_stations} stations")
    return np.array(rows, dtype=np.float64), numbers


def _filled(
    lines: UBCLines, numbers: list[int], sigma: Array, uncertainty: float | None
) -> Array | None:
    """Return the standard deviations, with `uncertainty` in place of zeros, which are unknown."""
    unknown = sigma == 0
    if uncertainty is not None:
        return np.where(unknown, uncertainty, sigma).ravel()
    if unknown.all():
        return None
    of_line = unknown.any(axis=0)
    if of_line.any():
        lines.fail_at(
            numbers[int(np.argmax(of_line))],
            f"the uncertainty is 0, as in {np.count_nonzero(of_line)} of {len(of_line)} lines; "
            "give a standard deviation above 0, or pass 'uncertainty' for these stations.",
        )
    return sigma.ravel()


def _refuse_dummies(lines: UBCLines, numbers: list[int], column: Array, name: str) -> None:
    try:
        check_dummies(column, name)
    except ValueError as error:
        # The dummy is the value farthest from the median.
        far = int(np.argmax(np.abs(column - np.median(column))))
        lines.fail_at(numbers[far], str(error))


def write_ubc_survey(
    path: str | os.PathLike[str], survey: Survey, data: ArrayLike | None = None
) -> None:
    """Write stations and their gravity or gradients to a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists.
    survey : Survey
        Stations ``(z, y, x)`` in metres with the component gz alone, or with gradients alone; z,
        positive down, becomes the elevation -z.
    data : array-like of shape (n_data,), default=None
        Gravity gz in mGal, positive toward a positive mass below, or gradients in Eotvos,
        component-major; None writes locations only.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the survey is not of gz or of gradients in 3D, the data do not match it, or it has
        uncertainties but `data` is None, which the format does not allow.

    See Also
    --------
    read_ubc_survey : Its inverse, which gives the same numbers.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Survey
    >>> from skgrav.io import write_ubc_survey
    >>> survey = Survey([[-10, 200, 100]], ("z",), uncertainty=0.05)
    >>> with TemporaryDirectory() as folder:
    ...     write_ubc_survey(Path(folder, "gravity.grv"), survey, [1.5])
    ...     print(Path(folder, "gravity.grv").read_text())
    1
    100.0 200.0 10.0 1.5 0.05
    """
    components = getattr(survey, "components", ())
    their_names = {ours: name for name, ours in _OUR_NAMES.items()}
    is_gradient = set(components) <= set(their_names)
    if getattr(survey, "ndim", None) != 3 or not (components == ("z",) or is_gradient):
        raise ValueError(
            f"'survey' is {survey!r}; a UBC-GIF file has gz alone at stations (z, y, x), or "
            "gradients alone. Build one with Survey(stations, ('z',))."
        )
    z, y, x = survey.stations.T
    columns = [x, y, 0.0 - z]
    if data is None and survey.uncertainty is not None:
        raise ValueError(
            "'data' is None, but the survey has uncertainties, which the format allows only "
            f"with data. Pass the data, or Survey(survey.stations, {components!r})."
        )
    if data is not None:
        profiles = survey.unflatten(finite_array(data, "data", (survey.n_data,)))
        sigma = None if survey.uncertainty is None else survey.unflatten(survey.uncertainty)
        for k, profile in enumerate(profiles):
            columns += [profile] if sigma is None else [profile, sigma[k]]
    head = [str(survey.n_stations)]
    if is_gradient:
        head.insert(0, f"datacomp={','.join(their_names[c] for c in components)}")
    rows = (" ".join(map(repr, row)) for row in np.column_stack(columns).tolist())
    write_lines(path, [*head, *rows])
