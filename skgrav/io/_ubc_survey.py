"""Stations and gravity in files of UBC-GIF's GRAV3D."""

from __future__ import annotations

import os
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_dummies
from skgrav._typing import Array
from skgrav.geometry import Survey
from skgrav.io._ubc_text import UBCLines, finite_array, write_lines

_COLUMNS = "easting, northing, elevation, then gravity and its uncertainty if they are known"


def read_ubc_survey(
    path: str | os.PathLike[str], *, uncertainty: float | None = None
) -> tuple[Survey, Array | None]:
    r"""Read stations and their gravity from a UBC-GIF file, usually ``.grv`` or ``.obs``.

    Parameters
    ----------
    path : str or path-like
        The file: the number of stations, then a line for each with easting, northing and
        elevation in metres, gravity in mGal and its standard deviation in mGal. The last column
        or the last two may be missing. Everything from ``!`` or ``#`` to the end of a line is a
        comment.
    uncertainty : float, default=None
        Standard deviation in mGal of stations for which the file has none or zero. With None, a
        file without uncertainties, or with zeros alone, gives a survey without uncertainty, and
        single zeros are refused.

    Returns
    -------
    survey : Survey
        The stations with columns ``(z, y, x)``, z minus the elevation, y the northing and x the
        easting; the component gz, and the uncertainty.
    data : ndarray of shape (n_stations,) or None
        Gravity gz in mGal as in the file, positive toward a positive mass below; None if the file
        has locations only.

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
    gravity. SimPEG's sign is the opposite.

    References
    ----------
    .. [1] GRAV3D 6.0 manual, UBC Geophysical Inversion Facility,
       https://grav3d.readthedocs.io/en/v6.0/.

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
            f"'uncertainty' is {uncertainty!r}; it must be a positive number of mGal, or None."
        )
    lines = UBCLines(path)
    (n_stations,) = lines.counts(1, "the number of stations")
    rows: list[list[Decimal]] = []
    numbers: list[int] = []
    while len(rows) < n_stations:
        words = lines.words(f"station {len(rows) + 1} of {n_stations}")
        row = [lines.decimal(word) for word in words]
        if not 3 <= len(row) <= 5:
            lines.fail(f"the station has {len(row)} numbers; give {_COLUMNS}.")
        if rows and len(row) != len(rows[0]):
            lines.fail(
                f"the station has {len(row)} numbers but the first one has {len(rows[0])}; "
                f"give all of them the same columns: {_COLUMNS}."
            )
        if len(row) == 5 and float(row[4]) < 0:
            lines.fail(
                f"the uncertainty is {words[4]}; give a standard deviation above 0, or 0 in all "
                "lines if it is unknown."
            )
        rows.append(row)
        numbers.append(lines.number)
    lines.end(f"the {n_stations} stations")
    east, north, up, *rest = np.array(rows, dtype=np.float64).T
    for column, name in ((up, "elevation"), *((g, "gravity") for g in rest[:1])):
        _refuse_dummies(lines, numbers, column, name)
    # Not -up, which is -0.0 at sea level: surveys are compared by bytes.
    stations = np.column_stack([0.0 - up, north, east])
    sigma = rest[1] if len(rest) == 2 else np.zeros(n_stations)
    survey = Survey(stations, ("z",), _filled(lines, numbers, sigma, uncertainty))
    return survey, (rest[0].copy() if rest else None)


def _filled(
    lines: UBCLines, numbers: list[int], sigma: Array, uncertainty: float | None
) -> Array | None:
    """Return the standard deviations, with `uncertainty` in place of zeros, which are unknown."""
    unknown = sigma == 0
    if uncertainty is not None:
        return np.where(unknown, uncertainty, sigma)
    if unknown.all():
        return None
    if unknown.any():
        lines.fail_at(
            numbers[int(np.argmax(unknown))],
            f"the uncertainty is 0, as in {np.count_nonzero(unknown)} of {len(sigma)} lines; give "
            "a standard deviation above 0, or pass 'uncertainty' for these stations.",
        )
    return sigma


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
    """Write stations and their gravity to a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists.
    survey : Survey
        Stations ``(z, y, x)`` in metres with the component gz alone; z, positive down, becomes
        the elevation -z.
    data : array-like of shape (n_stations,), default=None
        Gravity gz in mGal, positive toward a positive mass below; None writes locations only.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the survey is not of gz in 3D, the data do not match it, or it has uncertainties but
        `data` is None, which the format does not allow.

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
    if getattr(survey, "ndim", None) != 3 or survey.components != ("z",):
        raise ValueError(
            f"'survey' is {survey!r}; a UBC-GIF file has gz alone at stations (z, y, x). Build "
            "one with Survey(stations, ('z',))."
        )
    z, y, x = survey.stations.T
    columns = [x, y, 0.0 - z]
    if data is not None:
        columns.append(finite_array(data, "data", (survey.n_data,)))
    if survey.uncertainty is not None:
        if data is None:
            raise ValueError(
                "'data' is None, but the survey has uncertainties, which the format allows only "
                "with data. Pass the data, or Survey(survey.stations, ('z',))."
            )
        columns.append(survey.uncertainty)
    rows = (" ".join(map(repr, row)) for row in np.column_stack(columns).tolist())
    write_lines(path, [str(survey.n_stations), *rows])
