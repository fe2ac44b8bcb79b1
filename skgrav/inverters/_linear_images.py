"""Best linear estimates of density as images on a mesh, from a stationary prior."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.base import clone

from skgrav._typing import Array
from skgrav.geometry import Mesh, Survey
from skgrav.inverters._stationary import StationaryCovariance, StationaryPrior
from skgrav.networks import ImageFrame
from skgrav.noise import Whitening
from skgrav.operators import ForwardOperator, require

#: Rows of data computed together, and data from which their typical size is found.
_BLOCK, _N_TYPICAL = 128, 64


def map_operator(operator: ForwardOperator, height: float) -> ForwardOperator:
    """Return the operator of gz in mGal above the centre of each column."""
    mesh = operator.mesh_
    survey = (
        Survey.grid(mesh, height=height)
        if mesh.ndim == 3
        else Survey.line(mesh, n_stations=mesh.shape[1], height=height, components=("z",))
    )
    return clone(operator).set_params(mesh=mesh, survey=survey, units="mGal", method="auto").fit()


def central_gravity(prior: StationaryPrior, mesh: Mesh, mapped: ForwardOperator) -> float:
    """Return the standard deviation of mapped gz at the centre of a mesh."""
    columns = mesh.shape[1:]
    middle = np.zeros(columns)
    middle[tuple(n // 2 for n in columns)] = 1.0
    return _std(mapped, StationaryCovariance(prior, mesh), middle.reshape(1, -1))


def typical_size(operator: ForwardOperator, whitening: Whitening, prior: StationaryPrior) -> float:
    """Return the standard deviation of whitened data, of some of them evenly chosen."""
    chosen = np.linspace(0, whitening.n_white - 1, min(_N_TYPICAL, whitening.n_white)).astype(int)
    rows = np.zeros((len(chosen), whitening.n_white))
    rows[np.arange(len(chosen)), chosen] = 1.0
    covariance = StationaryCovariance(prior, operator.mesh_)
    return _std(operator, covariance, whitening.adjoint(rows))


def image_frame(
    operator: ForwardOperator,
    whitening: Whitening,
    prior: StationaryPrior,
    data_rms: float,
    mapped: ForwardOperator,
    map_scale: float,
) -> ImageFrame:
    """Compute the linear estimates of density, and the gz that they have, from whitened data.

    The estimate of density is ``C A^T (A C A^T + sigma**2 I)^-1`` times the data, C the covariance
    of density, A the map to whitened data.
    """
    mesh, n = operator.mesh_, whitening.n_white
    n_maps = mesh.shape[0] + 1
    columns = mesh.shape[1:]
    n_bytes = 4 * n * n_maps * int(np.prod(columns)) + 24 * n * n
    require(
        n_bytes,
        f"the linear images of {n} data on a mesh of shape {mesh.shape}",
        "give a survey of fewer stations or a mesh of fewer columns",
    )
    covariance = StationaryCovariance(prior, mesh)
    matrix = np.empty((n, n))
    for place, rows in _blocks(np.eye(n)):
        images = covariance(operator.products_.adjoint(whitening.adjoint(rows)))
        matrix[place] = whitening(operator.products_.forward(images))
    matrix = (matrix + matrix.T) / (2 * data_rms**2)
    variance, rotation = np.linalg.eigh(matrix)
    del matrix
    variance, rotation = np.maximum(variance[::-1], 0.0), np.ascontiguousarray(rotation[:, ::-1])
    gain = np.empty((n, n_maps, *columns), dtype=np.float32)
    # Row by row in the coordinates, as rounding errors of large ones would cover small ones.
    for place, rows in _blocks(rotation.T):
        images = covariance(operator.products_.adjoint(whitening.adjoint(rows))) / data_rms
        gain[place, :-1] = mesh.unflatten(images, fill=0.0) / prior.scale
        gain[place, -1] = mapped.products_.forward(images).reshape(-1, *columns) / map_scale
    active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
    return ImageFrame(rotation, variance, gain, np.array(mesh.cells), np.array(active))


def _std(operator: ForwardOperator, covariance: StationaryCovariance, rows: Array) -> float:
    """Return the rms standard deviation of combinations of data, (n, n_data)."""
    images = operator.products_.adjoint(rows)
    variance = np.einsum("ij,ij->i", images, covariance(images))
    return float(np.sqrt(np.maximum(variance, 0.0).mean())) or 1.0


def _blocks(rows: Array) -> Iterator[tuple[slice, Array]]:
    for start in range(0, len(rows), _BLOCK):
        place = slice(start, start + _BLOCK)
        yield place, rows[place]
