"""Closed-form attraction of points, rectangles of infinite strike and prisms; NumPy only.

Functions take offsets source minus station in metres, z positive down. Multiplied by density and
`skgrav.operators.UNITS`, which contains the gravitational constant, they give gravity. The
attraction of a cell is the mixed difference of a node function over its corners, so node values are
shared by all cells around a node.

Far away this difference cancels: for a prism of 10 m, gz has a relative error of about 2e-3 at
10 km, and at 100 km only rounding is left, always below 1e-14 mGal per kg/m3. There the shape of a
cell no longer matters, and `point`, which does not cancel, is more accurate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skgrav._checks import named, real_array
from skgrav._typing import Array

__all__ = ["NODE_FUNCTIONS", "point", "prism_node", "rectangle_node"]


def point(offsets: tuple[Array, ...], component: int) -> Array:
    """Compute the attraction of unit point masses; in 2D, of unit line masses.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets source minus station along ``(z, x)`` or ``(z, y, x)``, broadcastable.
    component : int
        Axis of the component, an index into `offsets`.

    Returns
    -------
    attraction : ndarray
        ``d / r**ndim``, positive toward the mass; 0 at the mass itself, as at the centre of a
        symmetric cell.

    See Also
    --------
    rectangle_node : The exact attraction of a rectangle.
    prism_node : The exact attraction of a prism.

    Notes
    -----
    Equation 8 of [1]_, without gamma.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.kernels import point
    >>> float(point((np.array(2.0), np.array(0.0)), 0))
    0.5
    """
    offsets = _checked(offsets, component, (2, 3))
    r2 = sum(d * d for d in offsets)
    power = r2 if len(offsets) == 2 else r2 * np.sqrt(r2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, offsets[component] / power, 0.0)


def rectangle_node(offsets: tuple[Array, ...], component: int) -> Array:
    """Evaluate the node function of a rectangle of infinite strike.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets corner minus station along ``(z, x)``, broadcastable.
    component : int
        0 for gz, 1 for gx.

    Returns
    -------
    node : ndarray
        Function whose mixed difference over the corners is the integral of ``d / r**2`` over
        the rectangle; finite everywhere, corners included.

    See Also
    --------
    prism_node : The same in three dimensions.

    Notes
    -----
    With `a` along the component and `b` across it, ``b ln(r) + a arctan(b / a)``: [1]_, section
    2.5, for edges parallel to the axes.

    References
    ----------
    .. [1] Blakely (1995), Potential Theory in Gravity and Magnetic Applications, Cambridge.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.kernels import rectangle_node
    >>> float(rectangle_node((np.array(0.0), np.array(0.0)), 0))
    0.0
    """
    offsets = _checked(offsets, component, (2,))
    a, b = offsets[component], offsets[1 - component]
    # |a| arctan(b / |a|) equals a arctan(b / a), and arctan2 is finite at a = 0.
    depth = np.abs(a)
    return 0.5 * b * _log(a * a + b * b) + depth * np.arctan2(b, depth)


def prism_node(offsets: tuple[Array, ...], component: int) -> Array:
    """Evaluate the node function of a rectangular prism.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets corner minus station along ``(z, y, x)``, broadcastable.
    component : int
        0 for gz, 1 for gy, 2 for gx.

    Returns
    -------
    node : ndarray
        Function whose mixed difference over the corners is the integral of ``d / r**3`` over
        the prism; finite everywhere, on edges, on faces and inside.

    See Also
    --------
    rectangle_node : The same in two dimensions.

    Notes
    -----
    With `a` along the component and `b`, `c` across it,
    ``-(b ln(c + r) + c ln(b + r) - a arctan(b c / (a r)))`` [1]_. Both logarithms are odd in
    their first argument, ``ln(b + r) = sgn(b) (ln(|b| + r) - ln(a**2 + c**2) / 2)`` plus a term
    that the difference removes; this avoids the cancellation of ``b + r`` for negative `b` [2]_.

    References
    ----------
    .. [1] Nagy, Papp and Benedek (2000), Journal of Geodesy 74, 552-560.
    .. [2] Fukushima (2020), Geophysical Journal International 223(3), 2179-2195.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.kernels import prism_node
    >>> zero = np.array(0.0)
    >>> float(prism_node((zero, zero, zero), 0))
    0.0
    """
    offsets = _checked(offsets, component, (3,))
    a = offsets[component]
    b, c = (d for i, d in enumerate(offsets) if i != component)
    r = np.sqrt(a * a + b * b + c * c)
    logs = _odd_log(b, c, r, a * a + b * b)
    logs += _odd_log(c, b, r, a * a + c * c)
    # Even in a, as in `rectangle_node`; [...] makes arrays of scalars, for `out`.
    depth = np.abs(a)
    node = (depth * r)[...]
    np.arctan2(b * c, node, out=node)
    node *= depth
    node -= logs
    return node


def _checked(
    offsets: tuple[Array, ...], component: int, ndims: tuple[int, ...]
) -> tuple[Array, ...]:
    """Return offsets as finite numbers, checked before they are broadcast, while they are small."""
    if len(offsets) not in ndims or component not in range(len(offsets)):
        raise ValueError(
            f"'offsets' has {len(offsets)} axes and 'component' is {component!r}; there must be "
            f"{' or '.join(map(str, ndims))} axes, and 'component' be the index of one."
        )
    offsets = tuple(real_array(d, "offsets") for d in offsets)
    with named("offsets"):
        np.broadcast_shapes(*(d.shape for d in offsets))
    return offsets


def _odd_log(factor: Array, b: Array, r: Array, rest: Array) -> Array:
    """Return ``factor ln((|b| + r) / sqrt(rest))`` with the sign of `b`; rest is ``r**2 - b**2``.

    In place, since writing temporaries to memory takes longer than the functions.
    """
    # |b| + r does not cancel, and is zero only at the station itself.
    values = (np.abs(b) + r)[...]
    np.maximum(values, np.finfo(np.float64).tiny, out=values)
    np.log(values, out=values)
    values -= 0.5 * _log(rest)
    values *= factor * np.copysign(1.0, b)
    return values


def _log(values: Array) -> Array:
    """Return the logarithm, finite at 0, where the node functions multiply it by 0."""
    return np.log(np.maximum(values, np.finfo(np.float64).tiny))


#: Node function by number of dimensions.
NODE_FUNCTIONS: dict[int, Callable[[tuple[Array, ...], int], Array]] = {
    2: rectangle_node,
    3: prism_node,
}
