"""Gravity of densities on a mesh at the stations of a survey."""

from __future__ import annotations

import logging
from math import isqrt
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import WHOLE, Interval, StrOptions, checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import Mesh, Survey
from skgrav.io import FEATURES, Field, saved
from skgrav.operators._base import BaseOperator, Held
from skgrav.operators._cells import UNITS, Geometry
from skgrav.operators._fraction import built, checked_fraction
from skgrav.operators._geometry import CheckedGeometry
from skgrav.operators._plan import OperatorPlan, make_plan
from skgrav.operators._scales import data_scales
from skgrav.operators._shared import shared
from skgrav.operators._ways import Way

_logger = logging.getLogger(__name__)


@saved
class ForwardOperator(BaseOperator):
    """Gravity of densities on a tensor mesh, as a scikit-learn transformer.

    In 2D cells extend infinitely along strike. z is positive down and gz is positive toward a
    positive mass below. Gradients are derivatives with respect to the coordinates of the station,
    so that their trace is zero outside matter; for their values at faces see `skgrav.kernels`.

    Parameters
    ----------
    mesh : Mesh, default=None
        The cells. None takes the paper's section for the number of columns seen in `fit`:
        ``Mesh.square(n)`` for n * n cells, otherwise the grid of that many cells closest to a
        square, with a warning.
    survey : Survey, default=None
        The stations and components. None takes ``Survey.line(mesh)`` in 2D, gx and gz at three
        stations per column, and in 3D gz at ``Survey.grid(mesh)``, half a layer above the top.
    kernel : {"cell", "point"}, default="cell"
        Closed form of a cell: the exact rectangle or prism, or a point mass at its centre.
    method : {"auto", "dense", "fft", "anywhere", "rows"}, default="auto"
        How the operator is applied. ``"dense"`` stores the matrix. ``"fft"`` stores spectra, for
        columns of equal width, layers of any thickness and stations that differ by whole columns,
        sorted into lattices by height and offset. ``"anywhere"`` stores spectra, too, for stations
        at any places and heights, and interpolates between nodes to the error `tol`; columns
        around those of equal width may be wider. ``"rows"`` stores nothing and computes the rows
        for each product, on all cores. ``"auto"`` chooses by size, samples seen in `fit` and
        memory; `plan` gives the choice and its reason.
    units : {"mGal", "normalized"}, default="mGal"
        ``"mGal"`` takes densities in kg/m3 and lengths in metres, and gives gradients in Eotvos;
        ``"normalized"`` omits the gravitational constant and the factor 2 of infinite strike, as
        in the paper.
    precision : {"float64", "float32"}, default="float64"
        Precision of matrix or spectra and of products with them; results are float64.
    tol : float, default=1e-6
        Largest error of gravity by ``method="anywhere"``, relative to the largest datum of a
        component, 1e-8 or more. The other methods are exact but for rounding.
    memory_limit : int, default=None
        Bytes that the operator may take; None allows half of the free memory.
    fraction : array-like of shape (n_cells,), default=None
        Mass of each cell relative to that of a full one, positive; densities remain those of the
        rock. ``mesh.fraction_below(topography)`` gives the highest active cells the mass of the
        rock up to the ground. None takes whole cells.

    Attributes
    ----------
    mesh_ : Mesh
        The mesh in use.
    survey_ : Survey
        The survey in use.
    plan_ : OperatorPlan
        How the operator is applied, its memory, and the reason.
    fraction_ : ndarray of shape (n_cells,) or None
        The fraction in use, None if all cells are whole.
    matrix_ : ndarray of shape (n_data, n_cells)
        Sensitivity matrix, read-only; built at first use, unless `method` is ``"dense"``.
    svd_ : SVD
        Thin singular value decomposition of the matrix, computed at first use: full if the smaller
        side is at most 4,000 and the matrix is in memory or takes at most 1 GiB, otherwise the 200
        largest singular values.
    n_cells_, n_features_in_ : int
        Number of cells.
    n_data_ : int
        Number of data.

    Raises
    ------
    ValueError
        If the densities or `fraction` do not match the mesh, the survey's dimension differs from
        it, the mesh lies wholly above the stations, stations lie inside active cells of a mesh that
        has inactive ones, the columns of the stations are swapped,
        ``method="fft"`` is given for stations off any lattice, or ``method="anywhere"`` for
        columns of too many widths.
    MemoryError
        If the operator does not fit into memory; raised before anything is built.

    Warns
    -----
    PhysicsWarning
        If stations lie inside a mesh without inactive cells or far off it, or one of both seems to
        be in kilometres.
    UserWarning
        If ``method="anywhere"`` misses `tol` at ten stations whose rows `fit` computes.

    See Also
    --------
    MatrixOperator : An operator given as a matrix, or identified from pairs.

    Notes
    -----
    ``g_c = gamma * sum_j rho_j * integral_j d_c / r**ndim dV`` with offsets `d` from station to
    source and gamma = G in 3D, 2 G in 2D (equation 8 of [1]_); gradients have
    ``(ndim d_c d_e - delta_ce r**2) / r**(ndim + 2)`` in the integral. Setting parameters does not
    change a fitted operator until the next `fit`. Operators of equal geometry share their arrays,
    which are read-only. Layers of a regular mesh are Toeplitz blocks, multiplied by FFTs in N log N
    operations. Stations anywhere are interpolated from planes of nodes at the corners of the
    columns, by weights fitted to harmonic fields, and cells near a station are corrected to their
    exact entries: a particle-mesh method [2]_, whose adjoint is the exact transpose.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632.
    .. [2] Hockney and Eastwood (1988), Computer Simulation Using Particles, Hilger.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, Survey
    >>> mesh = Mesh.regular((20, 40), 50.0)
    >>> operator = ForwardOperator(mesh, Survey.line(mesh)).fit()
    >>> slab = np.full((1, mesh.n_cells), 300.0)
    >>> gx, gz = operator.survey_.unflatten(operator.transform(slab))[0]
    >>> round(float(gz.max()), 1)
    8.9
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "mesh": [Mesh, None],
        "survey": [Survey, None],
        "kernel": [StrOptions({"cell", "point"})],
        "method": [StrOptions({"auto", "dense", "fft", "anywhere", "rows"})],
        "units": [StrOptions(set(UNITS))],
        "precision": [StrOptions({"float64", "float32"})],
        "tol": [Interval(Real, 1e-8, 1, closed="left")],
        "memory_limit": [Interval(Real, 0, None, closed="neither"), None],
        "fraction": ["array-like", None],
    }
    #: Kernel, units, precision and tol of the last `fit`.
    _recipe: tuple[str, str, str, float]
    _held: Held | None
    _checked: CheckedGeometry | None
    _file_fields: ClassVar = (
        *FEATURES,
        Field("mesh_", Mesh),
        Field("survey_", Survey),
        Field("fraction_", Array | None, ("n_features_in_",), optional=True),
        Field("method_", str),
    )
    _file_left_out: ClassVar = {"plan_", "_held", "_recipe", "_checked"}

    def __init__(
        self,
        mesh: Mesh | None = None,
        survey: Survey | None = None,
        *,
        kernel: Literal["cell", "point"] = "cell",
        method: Literal["auto", "dense", "fft", "anywhere", "rows"] = "auto",
        units: Literal["mGal", "normalized"] = "mGal",
        precision: Literal["float64", "float32"] = "float64",
        tol: float = 1e-6,
        memory_limit: float | None = None,
        fraction: ArrayLike | None = None,
    ) -> None:
        self.mesh = mesh
        self.survey = survey
        self.kernel = kernel
        self.method = method
        self.units = units
        self.precision = precision
        self.tol = tol
        self.memory_limit = memory_limit
        self.fraction = fraction

    def fit(self, X: ArrayLike | None = None, y: object = None) -> Self:
        """Build the operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells), default=None
            Densities, of which only the shape is used; optional if `mesh` is given.
        y : object, default=None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        self : ForwardOperator
            The fitted operator.
        """
        self._validate_params()
        n_samples = 1
        if X is not None:
            n_samples = len(validate_data(self, X))
        elif self.mesh is None:
            raise ValueError("'X' is None and so is 'mesh': give densities to fit, or a mesh.")
        else:
            self.n_features_in_ = self.mesh.n_cells
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        mesh = default_mesh(self.n_features_in_) if self.mesh is None else self.mesh
        if mesh.n_cells != self.n_features_in_:
            raise ValueError(
                f"'X' has {self.n_features_in_} columns, but 'mesh' of shape {mesh.shape} "
                f"has {mesh.n_cells} cells. Flatten each section in C order, depth first."
            )
        survey = _default_survey(mesh) if self.survey is None else self.survey
        if survey.ndim != mesh.ndim:
            raise ValueError(
                f"'survey' has {survey.ndim} coordinates, but 'mesh' has "
                f"{mesh.ndim} axes; both must be (z, x) or both (z, y, x)."
            )
        fraction = checked_fraction(self.fraction, mesh)
        geometry = Geometry(mesh, survey, self.kernel, self.units)
        # Shared, so that inverters that clone an operator do not repeat its warning.
        checked = shared(("checked", mesh, survey), lambda: CheckedGeometry(mesh, survey))
        plan, way = self._planned(geometry, self.method, self.precision, self.tol, n_samples)
        _logger.info("%s", plan)
        self.mesh_, self.survey_, self.plan_, self.fraction_ = mesh, survey, plan, fraction
        self._recipe = self.kernel, self.units, self.precision, self.tol
        self._held, self._checked = _hold(way, self.memory_limit, fraction), checked
        return self

    @checked(n_samples=[WHOLE])
    def plan(self, n_samples: int = 1) -> OperatorPlan:
        """Plan how the operator is applied and what it needs, before it is built.

        Parameters
        ----------
        n_samples : int, default=1
            Number of densities passed to `transform` at a time.

        Returns
        -------
        plan : OperatorPlan
            The method, its memory and the reason.
        """
        self._validate_params()
        mesh = self.mesh if self.mesh is not None else getattr(self, "mesh_", None)
        if mesh is None:
            raise ValueError("'mesh' is None, and the memory depends on it. Give the mesh.")
        survey = self.survey or _default_survey(mesh)
        checked_fraction(self.fraction, mesh)
        geometry = Geometry(mesh, survey, self.kernel, self.units)
        return self._planned(geometry, self.method, self.precision, self.tol, n_samples)[0]

    def memory_usage(self) -> int:
        """Return the memory that the operator needs, before it is built.

        Returns
        -------
        n_bytes : int
            Size in bytes of the matrix, the spectra, or the rows in memory at a time. For that of
            an inversion see `inversion_bytes` of `plan`.
        """
        return self.plan().n_bytes

    @property
    def data_scales_(self) -> Array:
        """Typical size of each datum relative to gravity, 1 unless the survey has gradients, too.

        Noise levels of gravity and gradients are relative to data in these sizes.
        """
        check_is_fitted(self)
        return data_scales(self._fitted_geometry())

    def _data_names(self) -> list[str]:
        stations = range(self.survey_.n_stations)
        return [f"g{c}{i}" for c in self.survey_.components for i in stations]

    def _planned(
        self, geometry: Geometry, method: str, precision: str, tol: float, n_samples: int = 1
    ) -> tuple[OperatorPlan, Way]:
        return make_plan(
            geometry,
            method,
            precision=precision,
            memory_limit=self.memory_limit,
            n_samples=n_samples,
            tol=tol,
        )

    def _kept(self) -> Held:
        # Not pickled, since rebuilding is faster than reading.
        if self._held is None:
            way = self._planned(self._fitted_geometry(), self.plan_.method, *self._recipe[2:])[1]
            self._held = _hold(way, self.memory_limit, self.fraction_)
        return self._held

    def _fitted_geometry(self) -> Geometry:
        # Parameters may have been set since `fit`.
        return Geometry(self.mesh_, self.survey_, *self._recipe[:2])

    @property
    def identity_(self) -> tuple[object, ...]:
        fraction = None if self.fraction_ is None else self.fraction_.tobytes()
        key, plan = self._fitted_geometry().key, self.plan_
        return key, plan.method, plan.error, self._recipe[2], fraction

    def _file_parameters(self) -> dict[str, Any]:
        given = self.get_params(deep=False)
        return given | {"fraction": None if self.fraction is None else np.asarray(self.fraction)}

    def _file_state(self) -> dict[str, Any]:
        if self._recipe != (self.kernel, self.units, self.precision, self.tol):
            raise ValueError(
                f"'kernel', 'units', 'precision' or 'tol' of {self!r} were changed after `fit`, "
                "when they were {}, {}, {} and {}. Fit it again before saving it.".format(
                    *self._recipe
                )
            )
        return vars(self) | {"method_": self.plan_.method}

    def _file_restore(self, state: dict[str, Any]) -> None:
        method = state.pop("method_")
        self.__dict__.update(state, _held=None)
        self._recipe = self.kernel, self.units, self.precision, self.tol
        if self.mesh_.n_cells != self.n_features_in_ or self.survey_.ndim != self.mesh_.ndim:
            raise ValueError(
                f"its {self.mesh_!r} and {self.survey_!r} do not have {self.n_features_in_} cells"
            )
        self.fraction_ = checked_fraction(state.get("fraction_"), self.mesh_)
        # The same method, since rounding depends on it.
        self.plan_, _ = self._planned(self._fitted_geometry(), method, self.precision, self.tol)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_held")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | dict.fromkeys({"_held", "_checked"} & state.keys())


def _hold(way: Way, memory_limit: float | None, fraction: Array | None) -> Held:
    """Build or share the products of an operator, and its matrix at first use."""
    geometry, precision = way.geometry, way.precision

    def dense() -> Any:
        plan = make_plan(geometry, "dense", precision=precision, memory_limit=memory_limit)
        return built(plan[1], fraction)

    return Held(built(way, fraction), dense)


def default_mesh(n_cells: int) -> Mesh:
    n = isqrt(n_cells)
    if n * n == n_cells:
        return Mesh.square(n)
    nz = next(k for k in range(n, 0, -1) if n_cells % k == 0)
    warn(
        f"'mesh' is None and {n_cells} cells do not make a square section: a grid of "
        f"{nz} x {n_cells // nz} cells is assumed. Give the mesh."
    )
    return Mesh.regular((nz, n_cells // nz), 0.8)


def _default_survey(mesh: Mesh) -> Survey:
    if mesh.ndim == 2:
        return Survey.line(mesh)
    return Survey.grid(mesh, height=float(mesh.widths[0][0]) / 2)
