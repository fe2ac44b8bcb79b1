"""Cells that the ground fills in part, or that stand for rock above them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.operators._sensitivity import DenseMatrix, sensitivity
from skgrav.operators._shared import shared
from skgrav.operators._svd import Products
from skgrav.operators._ways import Dense, Way

#: Fractions above which most of the cells cannot lie: few stand for the rock above them.
_PERCENT = 10.0


class FractionProducts:
    """Products of whole cells, applied to a fraction of each density."""

    def __init__(self, whole: Products, fraction: Array) -> None:
        self.whole, self.fraction = whole, fraction

    @property
    def shape(self) -> tuple[int, int]:
        return self.whole.shape

    def forward(self, rho: Array) -> Array:
        return self.whole.forward(rho * self.fraction)

    def adjoint(self, g: Array) -> Array:
        return self.whole.adjoint(g) * self.fraction

    def column_norms2(self, weights: Array) -> Array:
        return self.whole.column_norms2(weights) * self.fraction**2


def whole_cells(products: Any) -> Any:
    """Return the products of whole cells on which those of fractions rest."""
    return products.whole if isinstance(products, FractionProducts) else products


def checked_fraction(fraction: ArrayLike | None, mesh: Mesh) -> Array | None:
    """Return the fraction of each cell, read-only, None if all cells are whole."""
    if fraction is None:
        return None
    values = real_array(fraction, "fraction", copy=True)
    if values.shape != (mesh.n_cells,):
        raise ValueError(
            f"'fraction' has shape {values.shape}; it must have one number for each of the "
            f"{mesh.n_cells} active cells of 'mesh', as mesh.fraction_below(topography) gives."
        )
    if not (values > 0).all():
        raise ValueError(
            f"'fraction' has values from {values.min():g} to {values.max():g}; all must be "
            "positive. Make cells without rock inactive."
        )
    if np.median(values) > _PERCENT:
        raise ValueError(
            f"'fraction' has values from {values.min():g} to {values.max():g}, most of them above "
            f"{_PERCENT:g}: these seem to be percent. Give fractions, 1 for a whole cell."
        )
    values.setflags(write=False)
    return None if (values == 1.0).all() else values


def built(way: Way, fraction: Array | None) -> Any:
    """Build the products of a way with a fraction of each cell, or share them."""
    key = way.geometry.key, way.precision, *way.key
    if fraction is None:
        return shared(key, way.build)

    def build() -> Products:
        if not isinstance(way, Dense):
            return FractionProducts(shared(key, way.build), fraction)
        matrix = sensitivity(way.geometry, way.precision)
        np.multiply(matrix, fraction, out=matrix, casting="same_kind")
        return DenseMatrix(matrix)

    return shared((*key, fraction.tobytes()), build)
