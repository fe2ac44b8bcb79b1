"""Densities measured in cells: borehole logs, outcrops, samples."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse

from skgrav._checks import check_uncertainty, real_array, validate_data
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array, Indices
from skgrav.geometry import Mesh
from skgrav.io import FEATURES, Field, saved
from skgrav.noise import StatedNoise
from skgrav.operators._base import BaseOperator, Held
from skgrav.operators._forward import default_mesh
from skgrav.operators._log import averaged, crossed_cells, log_ends, log_values
from skgrav.operators._plan import OperatorPlan, inversion_bytes
from skgrav.operators._sensitivity import DenseMatrix

if TYPE_CHECKING:
    from skgrav.operators._torch import TorchOperator

#: By how much the weights of an average may differ from 1 in sum.
_ROUNDING = 1e-6


class SparseMatrix:
    """Sparse matrix with the methods of `Products`."""

    def __init__(self, matrix: csr_array) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def n_bytes(self) -> int:
        return sum(a.nbytes for a in (self.matrix.data, self.matrix.indices, self.matrix.indptr))

    def forward(self, rho: Array) -> Array:
        return np.ascontiguousarray((self.matrix @ rho.T).T)

    def adjoint(self, g: Array) -> Array:
        return np.ascontiguousarray((self.matrix.T @ g.T).T)

    def column_norms2(self, weights: Array) -> Array:
        return self.matrix.power(2).T @ weights

    def dense(self) -> DenseMatrix:
        """Return the matrix with zeros."""
        return DenseMatrix(self.matrix.toarray())


@saved
class CellValues(BaseOperator):
    """Densities measured in cells, such as those of a borehole, as data of their own.

    Joined with gravity by `JointOperator`, they are columns of X like others, with an uncertainty
    in the unit of density. They must mean what the densities of the inversion mean: if these are
    contrasts, subtract the background.

    Parameters
    ----------
    mesh : Mesh, default=None
        The cells. None takes the paper's section for the number of columns seen in `fit`, as
        `ForwardOperator` does.
    cells : array-like of shape (n_data,) or (n_data, n_cells), or sparse, default=None
        Index of the active cell of each datum, or a mask of shape (n_cells,), or a matrix of
        averages, with weights of at least 0 that sum to 1 in each row. None takes every cell.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of each datum in the unit of density, of the measurement and of the
        difference between a sample and the average of its cell, which is usually larger.

    Attributes
    ----------
    mesh_ : Mesh
        The mesh in use.
    plan_ : OperatorPlan
        Memory of the averages.
    n_cells_, n_features_in_ : int
        Number of cells.
    n_data_ : int
        Number of data.

    Raises
    ------
    ValueError
        If cells are not those of the mesh, or a row of weights is no average.

    See Also
    --------
    JointOperator : Joins them with gravity.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import CellValues, Mesh
    >>> mesh = Mesh.regular((4, 3), 50.0)
    >>> outcrop = CellValues(mesh, [0, 1], uncertainty=30.0).fit()
    >>> outcrop.transform(np.arange(12.0)[None])
    array([[0., 1.]])

    Samples of a vertical hole in the middle column, three of them in the second cell:

    >>> log, data = CellValues.along(
    ...     mesh, [10, 60, 70, 80], values=[100, 300, 330, 300], at=0.0, uncertainty=20.0
    ... )
    >>> data
    array([100., 310.])
    >>> log.fit().transform(np.arange(12.0)[None])
    array([[1., 4.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mesh": [Mesh, None],
        "cells": ["array-like", "sparse matrix", None],
        "uncertainty": ["array-like", float, int, None],
    }
    _file_fields: ClassVar = (
        *FEATURES,
        Field("mesh_", Mesh),
        Field("_uncertainty", Array | None, ("n_data",)),
        Field("weights", Array, ("n_entries",)),
        Field("columns", Indices, ("n_entries",)),
        Field("starts", Indices, ("n_rows",)),
    )
    _file_left_out: ClassVar = {"_held", "plan_"}

    _held: Held
    _uncertainty: Array | None

    def __init__(
        self,
        mesh: Mesh | None = None,
        cells: ArrayLike | None = None,
        *,
        uncertainty: ArrayLike | None = None,
    ) -> None:
        self.mesh = mesh
        self.cells = cells
        self.uncertainty = uncertainty

    @classmethod
    def along(
        cls,
        mesh: Mesh,
        start: ArrayLike,
        end: ArrayLike | None = None,
        *,
        values: ArrayLike,
        at: ArrayLike | None = None,
        uncertainty: ArrayLike | None = None,
    ) -> tuple[Self, Array]:
        """Average a log over the cells that it crosses.

        A sample of an interval is the average of the cells that it crosses, weighted by length.
        Samples mostly in the same cell are averaged to one datum, by length as well.

        Parameters
        ----------
        mesh : Mesh
            The cells.
        start : array-like of shape (n_samples,) or (n_samples, ndim)
            Depths z of the samples of a vertical hole in metres, positive down from the datum of
            the mesh, or points ``(z, x)`` or ``(z, y, x)`` along any hole.
        end : array-like of the same shape, default=None
            Other ends of straight intervals; None takes samples as points.
        values : array-like of shape (n_samples,)
            Densities of the samples.
        at : float or array-like of shape (ndim - 1,), default=None
            Position ``x`` or ``(y, x)`` of a vertical hole.
        uncertainty : float or array-like of shape (n_samples,), default=None
            Standard deviation of each sample. That of a datum is the rms of its samples: averages
            are not taken as more certain, since samples of one cell have common errors.

        Returns
        -------
        operator : CellValues
            The operator, with one datum for each cell.
        data : ndarray of shape (n_data,)
            Averaged densities, in the order of the hole.

        Raises
        ------
        ValueError
            If samples lie outside the mesh or in inactive cells.
        """
        if not isinstance(mesh, Mesh):
            raise TypeError(f"'mesh' is {mesh!r}; give a Mesh.")
        first, last = log_ends(mesh, start, end, at)
        samples = log_values(values, len(first))
        length = np.linalg.norm(last - first, axis=1)
        if not length.all():
            length = np.ones(len(first))
        weights, means = averaged(crossed_cells(mesh, first, last), length)
        if uncertainty is not None:
            sigma = real_array(uncertainty, "uncertainty")
            if sigma.ndim:
                sigma = log_values(sigma, len(first), "uncertainty")
                uncertainty = np.sqrt(means @ check_uncertainty(sigma, len(first)) ** 2)
        return cls(mesh, weights, uncertainty=uncertainty), means @ samples

    def fit(self, X: ArrayLike | None = None, y: object = None) -> Self:
        """Check the cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells), default=None
            Densities, of which only the shape is used; optional if `mesh` is given.
        y : object, default=None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        self : CellValues
            The fitted operator.
        """
        self._validate_params()
        if X is not None:
            validate_data(self, X)
        elif self.mesh is None:
            raise ValueError("'X' is None and so is 'mesh': give densities to fit, or a mesh.")
        else:
            self.n_features_in_ = self.mesh.n_cells
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        mesh = default_mesh(self.n_features_in_) if self.mesh is None else self.mesh
        if mesh.n_cells != self.n_features_in_:
            raise ValueError(
                f"'X' has {self.n_features_in_} columns, but 'mesh' of shape {mesh.shape} has "
                f"{mesh.n_cells} active cells. Flatten each section in C order, depth first."
            )
        matrix = _averages(self.cells, mesh.n_cells)
        sigma = self.uncertainty
        self._uncertainty = (
            None if sigma is None else check_uncertainty(sigma, matrix.shape[0]).copy()
        )
        self.mesh_ = mesh
        self._hold(matrix)
        return self

    def _hold(self, matrix: csr_array) -> None:
        products = SparseMatrix(matrix)
        self._held = Held(products, products.dense)
        (n_data, n_cells), n_bytes = products.shape, products.n_bytes
        reason = f"{matrix.nnz} weights of {n_data} data x {n_cells} cells"
        self.plan_ = OperatorPlan(
            "sparse", n_bytes, inversion_bytes(n_data, n_cells, n_bytes), reason
        )

    @checked(n_samples=[WHOLE])
    def plan(self, n_samples: int = 1) -> OperatorPlan:
        """Plan the memory, as `ForwardOperator.plan` does.

        Parameters
        ----------
        n_samples : int, default=1
            Number of densities passed to `transform` at a time.

        Returns
        -------
        plan : OperatorPlan
            The memory.
        """
        return type(self)(**self.get_params(deep=False)).fit().plan_

    @property
    def stated_noise(self) -> StatedNoise | None:
        if not hasattr(self, "_held"):
            return None
        return StatedNoise(self.n_data_, self._uncertainty, units=("density",))

    @property
    def _weights(self) -> csr_array:
        products = self._held.products
        assert isinstance(products, SparseMatrix)
        return products.matrix

    @property
    def identity_(self) -> tuple[object, ...]:
        matrix = self._weights
        # SciPy chooses the integers of the indices by their size.
        indices = np.concatenate([matrix.indptr, matrix.indices]).astype(np.int64)
        digest = hashlib.blake2b(matrix.data.tobytes() + indices.tobytes()).digest()
        return "cells", matrix.shape, digest

    def to_torch(self, *, device: Any = "cpu", dtype: Any = None) -> TorchOperator:
        from skgrav.operators._torch import TorchCells, made_on

        return made_on(device, lambda: TorchCells(self, dtype))

    to_torch.__doc__ = BaseOperator.to_torch.__doc__

    def _kept(self) -> Held:
        return self._held

    def _data_names(self) -> list[str]:
        return [f"log{i}" for i in range(self.n_data_)]

    def _file_parameters(self) -> dict[str, Any]:
        cells: Any = self.cells
        sigma = self.uncertainty
        if issparse(cells):
            cells = cells.toarray()
        return {
            "mesh": self.mesh,
            "cells": None if cells is None else np.asarray(cells),
            "uncertainty": sigma if sigma is None or not np.ndim(sigma) else np.asarray(sigma),
        }

    def _file_state(self) -> dict[str, Any]:
        matrix = self._weights
        return vars(self) | {
            "weights": matrix.data,
            "columns": matrix.indices.astype(np.intp),
            "starts": matrix.indptr.astype(np.intp),
        }

    def _file_restore(self, state: dict[str, Any]) -> None:
        parts = tuple(state.pop(name) for name in ("weights", "columns", "starts"))
        self.__dict__.update(state)
        if self.mesh_.n_cells != self.n_features_in_:
            raise ValueError(f"its {self.mesh_!r} does not have {self.n_features_in_} cells")
        matrix = csr_array(parts, shape=(len(parts[2]) - 1, self.n_features_in_))
        matrix.check_format()
        self._hold(_checked(matrix))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_held")


def _averages(cells: Any, n_cells: int) -> csr_array:
    """Return the weights of cells in each datum, or raise ValueError."""
    if cells is None:
        cells = np.arange(n_cells)
    if issparse(cells):
        matrix = csr_array(cells, dtype=np.float64)
        real_array(matrix.data, "cells")
    elif np.ndim(cells) == 2:
        matrix = csr_array(real_array(cells, "cells"))
    else:
        columns = _indices(cells, n_cells)
        ones, n = np.ones(len(columns)), len(columns)
        return csr_array((ones, columns, np.arange(n + 1)), shape=(n, n_cells))
    if matrix.shape[1] != n_cells or not matrix.shape[0]:
        raise ValueError(
            f"'cells' has shape {matrix.shape}; a matrix of averages has a row for each datum and "
            f"a column for each of {n_cells} active cells of the mesh."
        )
    return _checked(matrix)


def _indices(cells: Any, n_cells: int) -> Indices:
    values = real_array(cells, "cells")
    if np.asarray(cells).dtype == bool:
        if values.shape != (n_cells,) or not values.any():
            raise ValueError(
                f"'cells' is a mask of shape {values.shape} with {int(values.sum())} True; it must "
                f"have a value for each of {n_cells} active cells of the mesh, at least one True."
            )
        return np.flatnonzero(values)
    wrong = (values != np.round(values)) | (values < 0) | (values >= n_cells)
    if values.ndim != 1 or not values.size or wrong.any():
        given = f"has shape {values.shape}"
        if values.ndim == 1 and values.size:
            given = f"contains {values[wrong][0]:g}"
        raise ValueError(
            f"'cells' {given}; it must be indices of active cells, whole numbers from 0 to "
            f"{n_cells - 1}, top layer first, or a matrix of averages of shape (n_data, {n_cells})."
        )
    return values.astype(np.intp)


def _checked(matrix: csr_array) -> csr_array:
    """Return averages in canonical form, or raise ValueError if rows are no averages."""
    matrix = matrix.copy()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    sums = matrix.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1.0) > _ROUNDING)
    if matrix.data.min(initial=0.0) < 0 or wrong.size:
        given = f"row {wrong[0]} sums to {sums[wrong[0]]:.6g}" if wrong.size else "one is negative"
        raise ValueError(
            "'cells' as a matrix must have weights of at least 0 that sum to 1 in each row, but "
            f"{given}. Divide each row by its sum; for indices of cells give a vector."
        )
    return matrix
