"""Weights that fall with depth as the data's sensitivity does."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skgrav.noise import Whitening
from skgrav.operators import BaseOperator, DenseMatrix

Array = NDArray[np.float64]

#: Values of the parameter `depth_weighting`.
DEPTH_WEIGHTING: list[Any] = [
    StrOptions({"sensitivity"}),
    Interval(Real, 0, None, closed="left"),
    None,
]

#: Weights by sensitivity are at least this share of the largest: no cell may have none.
_LEAST_WEIGHT = 1e-3


def depth_weights(
    operator: Any, depth_weighting: float | str | None, whitening: Whitening | None = None
) -> Array:
    """Return the weight of each cell; `whitening` is that of the data."""
    volumes = relative_volumes(operator)
    if depth_weighting is None:
        return np.ones_like(volumes)
    if depth_weighting == "sensitivity":
        weights = np.sqrt(_column_norms(operator, whitening) / volumes)
        return np.maximum(weights, _LEAST_WEIGHT * weights.max()) if weights.any() else weights + 1
    mesh, survey = getattr(operator, "mesh_", None), getattr(operator, "survey_", None)
    if mesh is None or survey is None:
        raise ValueError(
            f"'depth_weighting' is {depth_weighting!r}, but {operator!r} has no mesh to tell "
            "depths. Give 'operator', a ForwardOperator with its mesh, or take 'sensitivity'."
        )
    depth = mesh.centers[0] - survey.stations[:, 0].mean()
    if depth[0] <= 0:
        raise ValueError(
            f"'depth_weighting' is {depth_weighting!r}, but the mesh begins {-depth[0]:g} m above "
            "the mean station, where depth means nothing. Take 'sensitivity'."
        )
    layers = depth ** (-float(depth_weighting) / 2)
    return np.repeat(layers, mesh.n_cells // len(layers))


def relative_volumes(operator: Any) -> Array:
    """Return the volume of each cell relative to their mean, one where there is no mesh."""
    mesh = getattr(operator, "mesh_", None)
    if mesh is None:
        return np.ones(operator.shape[1] if hasattr(operator, "shape") else operator.n_cells_)
    return mesh.volumes / mesh.volumes.mean()


def _column_norms(operator: Any, whitening: Whitening | None) -> Array:
    if isinstance(operator, BaseOperator):
        products = operator.products_
    elif isinstance(operator, np.ndarray):
        products = DenseMatrix(operator)
    else:
        raise ValueError(
            f"'depth_weighting' is 'sensitivity', but 'operator' is a {type(operator).__name__}, "
            "whose columns are not known. Take None, or weights of your own in the operator."
        )
    # The trend is left in: what it explains must not change where densities are put.
    weights = np.ones(products.shape[0]) if whitening is None else whitening.weights**-2
    return np.sqrt(products.column_norms2(weights))
