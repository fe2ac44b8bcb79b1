"""Conversion of SimPEG's gravity simulations, models and data to those of skgrav, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array, import_optional
from skgrav._typing import Array, Indices
from skgrav._warnings import warn
from skgrav.geometry import Mesh, Survey
from skgrav.operators import ForwardOperator, MatrixOperator

#: SimPEG's unit of density, g/cm3, in kg/m3.
_DENSITY = 1e3


def from_simpeg(simulation: Any) -> SimPEGProblem:
    """Convert a gravity simulation of SimPEG.

    Parameters
    ----------
    simulation : simpeg.potential_fields.gravity.Simulation3DIntegral
        Simulation with a survey and stored sensitivities. Its mesh may be of any type; only a
        TensorMesh is converted to a `Mesh`.

    Returns
    -------
    problem : SimPEGProblem
        Operator, mesh and survey, and the conversion of models and data.

    Raises
    ------
    ImportError
        If SimPEG, part of ``skgrav[bridges]``, is missing.
    TypeError
        If `simulation` is of another type.
    ValueError
        If receivers have different components or guv, the mesh is rotated, or sensitivities are not
        stored.

    See Also
    --------
    to_simpeg : The reverse conversion.
    skgrav.ForwardOperator : Computes gravity without SimPEG.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.bridges import from_simpeg, to_simpeg
    >>> operator = ForwardOperator(Mesh.regular((2, 3, 4), 100.0)).fit()
    >>> problem = from_simpeg(to_simpeg(operator))
    >>> problem.mesh == operator.mesh_, problem.survey == operator.survey_
    (True, True)
    """
    return SimPEGProblem(simulation)


class SimPEGProblem:
    """A gravity simulation of SimPEG, in the axes, order and units of this library.

    In SimPEG, z and gz are positive up, densities are in g/cm3, cells are ordered from the bottom
    up, and data by station. In this library, z and gz are positive down, densities are in kg/m3,
    cells are ordered from the top down, and data by component. In both, gravity is in mGal and
    gradients are in Eotvos.

    Parameters
    ----------
    simulation : simpeg.potential_fields.gravity.Simulation3DIntegral
        Simulation with a survey and stored sensitivities.

    Attributes
    ----------
    operator : MatrixOperator
        The simulation's sensitivity to the density of its active cells, fitted.
    mesh : Mesh or None
        The mesh with its active cells; None if the mesh of the simulation is not a TensorMesh.
        Cells are then in SimPEG's order.
    survey : Survey
        Stations and components.

    See Also
    --------
    from_simpeg : Returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.bridges import SimPEGProblem, to_simpeg
    >>> operator = ForwardOperator(Mesh.regular((2, 3, 4), 100.0)).fit()
    >>> problem = SimPEGProblem(to_simpeg(operator, sensitivity_dtype=np.float64))
    >>> rho = np.linspace(-100.0, 300.0, 24)[None]
    >>> bool(np.allclose(problem.operator.transform(rho), operator.transform(rho)))
    True
    """

    operator: MatrixOperator
    mesh: Mesh | None
    survey: Survey

    def __init__(self, simulation: Any) -> None:
        gravity = import_optional("simpeg.potential_fields.gravity", "from_simpeg", "bridges")
        if not isinstance(simulation, gravity.simulation.Simulation3DIntegral):
            raise TypeError(
                f"'simulation' is of type {type(simulation).__name__}; give a "
                "simpeg.potential_fields.gravity.Simulation3DIntegral."
            )
        self._map = simulation.rhoMap
        self.survey, self._rows, self._signs = _survey(simulation.survey)
        self.mesh, self._cells = _mesh(simulation.mesh, simulation.active_cells)
        self.operator = MatrixOperator(self._matrix(simulation))
        self.operator.fit(np.zeros((1, len(self._cells))))

    def from_model(self, model: ArrayLike) -> Array:
        """Convert models of SimPEG to densities.

        Parameters
        ----------
        model : array-like of shape (n_params,) or (n_samples, n_params)
            Parameters of the simulation's ``rhoMap``, or densities of its active cells in g/cm3 if
            it has none.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells)
            Densities in kg/m3, top layer first.
        """
        width = len(self._cells) if self._map is None else self._map.shape[1]
        models = _rows_of("model", model, width)
        if self._map is not None:
            models = np.array([self._map * m for m in models]).reshape(len(models), -1)
        return _DENSITY * models[:, self._cells]

    def to_model(self, rho: ArrayLike) -> Array:
        """Convert densities to models of SimPEG.

        Parameters
        ----------
        rho : array-like of shape (n_cells,) or (n_samples, n_cells)
            Densities in kg/m3, top layer first.

        Returns
        -------
        model : ndarray of shape (n_samples, n_cells)
            Densities of the active cells in g/cm3, in SimPEG's order.

        Raises
        ------
        ValueError
            If parameters of the simulation's ``rhoMap`` are not densities.
        """
        maps = import_optional("simpeg.maps", "to_model", "bridges")
        if self._map is not None and type(self._map) is not maps.IdentityMap:
            raise ValueError(
                f"'rhoMap' of the simulation is a {type(self._map).__name__}, which is not "
                "inverted here. Give the simulation an IdentityMap, or invert the map yourself."
            )
        rho = _rows_of("rho", rho, len(self._cells))
        model = np.empty_like(rho)
        model[:, self._cells] = rho / _DENSITY
        return model

    def from_data(self, dobs: ArrayLike) -> Array:
        """Convert data of SimPEG.

        Parameters
        ----------
        dobs : array-like of shape (n_data,) or (n_samples, n_data)
            Data by station, gz positive up.

        Returns
        -------
        X : ndarray of shape (n_samples, n_data)
            Data by component, gz positive down.
        """
        return self._signs * _rows_of("dobs", dobs, len(self._rows))[:, self._rows]

    def to_data(self, X: ArrayLike) -> Array:
        """Convert data to the form of SimPEG.

        Parameters
        ----------
        X : array-like of shape (n_data,) or (n_samples, n_data)
            Data by component, gz positive down.

        Returns
        -------
        dobs : ndarray of shape (n_samples, n_data)
            Data by station, gz positive up.
        """
        X = _rows_of("X", X, len(self._rows))
        dobs = np.empty_like(X)
        dobs[:, self._rows] = self._signs * X
        return dobs

    def _matrix(self, simulation: Any) -> Array:
        if simulation.store_sensitivities == "forward_only":
            raise ValueError(
                "'simulation' has store_sensitivities='forward_only', without a matrix; give it "
                "'ram' or 'disk'."
            )
        matrix = np.asarray(simulation.G, dtype=np.float64)[np.ix_(self._rows, self._cells)]
        matrix *= self._signs[:, None] / _DENSITY
        return matrix

    def __repr__(self) -> str:
        where = self.mesh if self.mesh is not None else f"{len(self._cells)} cells in its order"
        return f"SimPEGProblem({where}, {self.survey})"


def to_simpeg(operator: ForwardOperator, **settings: Any) -> Any:
    """Convert an operator to a gravity simulation of SimPEG.

    Parameters
    ----------
    operator : ForwardOperator
        Fitted operator of a 3D mesh.
    **settings : dict
        Further arguments of the simulation, such as ``engine`` and ``sensitivity_dtype``.

    Returns
    -------
    simulation : simpeg.potential_fields.gravity.Simulation3DIntegral
        Simulation whose model is the density of the active cells in g/cm3. `from_simpeg` of this
        simulation converts models and data. It has no uncertainty, which in SimPEG is of the data:
        give ``abs(problem.to_data(survey.uncertainty)[0])`` as their ``standard_deviation``.

    Raises
    ------
    ImportError
        If SimPEG, part of ``skgrav[bridges]``, is missing.
    TypeError
        If `operator` is not a ForwardOperator.
    ValueError
        If the operator has no counterpart in SimPEG: 2D meshes, point masses, fractions of cells,
        or normalized units.

    Warns
    -----
    UserWarning
        If the survey has a trend, which is to be subtracted from the data of SimPEG.

    See Also
    --------
    from_simpeg : The reverse conversion.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.bridges import to_simpeg
    >>> simulation = to_simpeg(ForwardOperator(Mesh.regular((2, 3, 4), 100.0)).fit())
    >>> simulation.mesh.shape_cells, simulation.survey.nD
    ((4, 3, 2), 12)
    """
    gravity = import_optional("simpeg.potential_fields.gravity", "to_simpeg", "bridges")
    maps = import_optional("simpeg.maps", "to_simpeg", "bridges")
    discretize = import_optional("discretize", "to_simpeg", "bridges")
    if not isinstance(operator, ForwardOperator):
        raise TypeError(
            f"'operator' is of type {type(operator).__name__}; give a fitted ForwardOperator."
        )
    check_is_fitted(operator)
    mesh, survey = operator.mesh_, operator.survey_
    lacking = {
        "a 2D mesh": mesh.ndim == 2,
        "kernel='point'": operator.kernel == "point",
        "units='normalized'": operator.units == "normalized",
        "a 'fraction'": operator.fraction is not None,
    }
    if any(lacking.values()):
        which = " and ".join(name for name, has in lacking.items() if has)
        raise ValueError(
            f"'operator' has {which}, for which SimPEG has no counterpart; its gravity is that of "
            "whole cells of 3D meshes in mGal."
        )
    if survey.trend is not None:
        warn(
            "The survey of 'operator' has a trend, for which SimPEG has no counterpart: densities "
            "would explain it. Subtract it from the data, as the 'trend' of "
            "TikhonovInverter.invert(X)."
        )
    z, y, x = mesh.edges
    widths = [np.diff(x), np.diff(y), np.diff(z)[::-1]]
    block = discretize.TensorMesh(widths, origin=[x[0], y[0], -z[-1]])
    active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
    components = [f"g{component}" for component in survey.components]
    locations = survey.stations[:, ::-1] * [1.0, 1.0, -1.0]
    receivers = gravity.receivers.Point(locations, components=components)
    return gravity.Simulation3DIntegral(
        survey=gravity.Survey(gravity.sources.SourceField([receivers])),
        mesh=block,
        active_cells=active[::-1].ravel(),
        rhoMap=maps.IdentityMap(nP=mesh.n_cells),
        **settings,
    )


def _survey(survey: Any) -> tuple[Survey, Indices, Array]:
    """Return the survey, and the index in SimPEG and the sign of each of its data."""
    if survey is None:
        raise ValueError("'simulation' has no survey; give it one.")
    receivers = survey.source_field.receiver_list
    named = {tuple(receiver.components) for receiver in receivers}
    components = next(iter(named))
    if len(named) > 1 or "guv" in components:
        raise ValueError(
            f"'simulation' has receivers of {' and '.join(map(str, sorted(named)))}; all must "
            "have the same components, gx to gzz. Make one simulation for each set, and leave "
            "out guv."
        )
    locations = np.vstack([receiver.locations for receiver in receivers])
    stations = (locations * [1.0, 1.0, -1.0])[:, ::-1] + 0.0  # no -0
    rows = np.arange(stations.shape[0] * len(components)).reshape(len(stations), -1).T.ravel()
    signs = np.repeat([(-1.0) ** c.count("z") for c in components], len(stations))
    return Survey(stations, [c[1:] for c in components]), rows, signs


def _mesh(mesh: Any, active_cells: Any) -> tuple[Mesh | None, Indices]:
    """Return the mesh, None if it is no tensor mesh, and the index of its cells in SimPEG."""
    discretize = import_optional("discretize", "from_simpeg", "bridges")
    active = np.ones(mesh.n_cells, dtype=bool) if active_cells is None else active_cells
    order = np.full(mesh.n_cells, -1)
    order[active] = np.arange(np.count_nonzero(active))
    if not isinstance(mesh, discretize.TensorMesh):
        return None, order[active]
    if mesh.dim != 3 or mesh.reference_is_rotated:
        raise ValueError(
            f"'simulation' has a mesh of {mesh.dim} axes"
            f"{', rotated' if mesh.reference_is_rotated else ''}; it must be 3D with axes x, y, z."
        )
    edges = [-mesh.nodes_z[::-1] + 0.0, mesh.nodes_y, mesh.nodes_x]
    shape = mesh.shape_cells[::-1]
    block = order.reshape(shape)[::-1]
    return Mesh(edges, block >= 0), block[block >= 0]


def _rows_of(name: str, values: ArrayLike, width: int) -> Array:
    """Return vectors as rows, with errors that name the argument."""
    rows = np.atleast_2d(check_array(values, name, ensure_2d=False))
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(
            f"'{name}' has shape {np.shape(values)}; it must be ({width},) or (n_samples, {width})."
        )
    return rows
