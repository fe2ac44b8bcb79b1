"""Closed-form attraction of points, rectangles of infinite strike and prisms; NumPy only.

Functions take offsets source minus station in metres, z positive down. Multiplied by density and
`skgrav.operators.UNITS`, which contains the gravitational constant, they give gravity; a pair of
axes instead of one gives its gradient, the derivative of one component with respect to the other
coordinate of the station. The attraction of a cell is the mixed difference of a node function over
its corners, so node values are shared by all cells around a node.

Inside matter the trace of the gradients is ``-4 pi gamma rho``, so that they jump at the faces of a
cell; on its edges they are infinite. What is returned there is finite:

- zz at a horizontal face is that just above the face, as for stations on the ground;
- xx and yy at the faces across x and y are the mean of both sides, which keeps their symmetry;
- gradients of different axes on an edge parallel to the third are about those 1 m away from it.

Far away this difference cancels: for a prism of 10 m, gz has a relative error of about 2e-3 at
10 km, and at 100 km only rounding is left, always below 1e-14 mGal per kg/m3. There the shape of a
cell no longer matters, and `point`, which does not cancel, is more accurate.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np

from skgrav._checks import named, real_array
from skgrav._typing import Array

__all__ = ["NODE_FUNCTIONS", "Component", "parity", "point", "prism_node", "rectangle_node"]

#: Axis of a component of gravity, or the two axes of a gradient, the smaller first.
Component = int | tuple[int, int]


def parity(component: Component, axis: int) -> int:
    """Return the factor by which a component changes if the offsets along an axis change sign.

    Parameters
    ----------
    component : int or tuple of two int
        Axis of a component of gravity, or axes of a gradient.
    axis : int
        The axis.

    Returns
    -------
    sign : {-1, 1}
        -1 for a function that is odd along the axis, 1 for an even one.

    See Also
    --------
    point : The attraction of points.

    Examples
    --------
    >>> from skgrav.kernels import parity
    >>> parity(0, 0), parity((0, 0), 0), parity((0, 2), 0)
    (-1, 1, -1)
    """
    axes = (component,) if isinstance(component, int) else component
    return -1 if axes.count(axis) % 2 else 1


def point(offsets: tuple[Array, ...], component: Component) -> Array:
    """Compute the attraction of unit point masses; in 2D, of unit line masses.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets source minus station along ``(z, x)`` or ``(z, y, x)``, broadcastable.
    component : int or tuple of two int
        Axis of the component, an index into `offsets`, or both axes of a gradient, the smaller
        first.

    Returns
    -------
    attraction : ndarray
        ``d / r**ndim``, positive toward the mass, and for a gradient
        ``(ndim d_i d_j - delta_ij r**2) / r**(ndim + 2)``; 0 at the mass itself, as at the centre
        of a symmetric cell.

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
        if isinstance(component, int):
            return np.where(power > 0, offsets[component] / power, 0.0)
        i, j = component
        # Of quotients at most 1, since r**5 underflows where the gradient does not.
        r = np.sqrt(r2)
        shape = len(offsets) * (offsets[i] / r) * (offsets[j] / r) - float(i == j)
        return np.where(power > 0, shape / power, 0.0)


def rectangle_node(offsets: tuple[Array, ...], component: Component) -> Array:
    """Evaluate the node function of a rectangle of infinite strike.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets corner minus station along ``(z, x)``, broadcastable.
    component : int or tuple of two int
        0 for gz, 1 for gx, and (0, 0), (0, 1), (1, 1) for the gradients zz, xz, xx.

    Returns
    -------
    node : ndarray
        Function whose mixed difference over the corners is the integral of `point` over the
        rectangle; finite everywhere, corners included.

    See Also
    --------
    prism_node : The same in three dimensions.

    Notes
    -----
    With `a` along the component and `b` across it, ``b ln(r) + a arctan(b / a)``: [1]_, section
    2.5, for edges parallel to the axes. Gradients are its derivatives with the opposite sign,
    ``-arctan(b / a)`` along an axis and ``-ln(r)`` for xz.

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
    if component == (0, 1):
        return -0.5 * _log_or_zero(offsets[0] ** 2 + offsets[1] ** 2)
    if not isinstance(component, int):
        axis = component[0]
        a, b = offsets[axis], offsets[1 - axis]
        return -_side(a, axis) * np.arctan2(b, np.abs(a))
    a, b = offsets[component], offsets[1 - component]
    # |a| arctan(b / |a|) equals a arctan(b / a), and arctan2 is finite at a = 0.
    depth = np.abs(a)
    return 0.5 * b * _log(a * a + b * b) + depth * np.arctan2(b, depth)


def prism_node(offsets: tuple[Array, ...], component: Component) -> Array:
    """Evaluate the node function of a rectangular prism.

    Parameters
    ----------
    offsets : tuple of ndarray
        Offsets corner minus station along ``(z, y, x)``, broadcastable.
    component : int or tuple of two int
        0 for gz, 1 for gy, 2 for gx, and pairs of them for gradients, such as (0, 2) for xz.

    Returns
    -------
    node : ndarray
        Function whose mixed difference over the corners is the integral of `point` over the
        prism; finite everywhere, on edges, on faces and inside.

    See Also
    --------
    rectangle_node : The same in two dimensions.

    Notes
    -----
    With `a` along the component and `b`, `c` across it,
    ``-(b ln(c + r) + c ln(b + r) - a arctan(b c / (a r)))`` [1]_. Both logarithms are odd in
    their first argument, ``ln(b + r) = sgn(b) (ln(|b| + r) - ln(a**2 + c**2) / 2)`` plus a term
    that the difference removes; this avoids the cancellation of ``b + r`` for negative `b` [2]_.
    Gradients are its derivatives with the opposite sign: ``-arctan(b c / (a r))`` along an axis,
    and for two axes with `c` along the third ``ln(c + r)``, here ``arsinh(c / sqrt(a**2 + b**2))``.

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
    if not isinstance(component, int):
        return _prism_gradient(offsets, *component)
    a = offsets[component]
    b, c = (d for i, d in enumerate(offsets) if i != component)
    r = np.sqrt(a * a + b * b + c * c)
    logs = _odd_log(b, c, r, a * a + b * b)
    logs += _odd_log(c, b, r, a * a + c * c)
    # Even in a, as in `rectangle_node`; [...] makes arrays of scalars, for `out`.
    depth = np.abs(a)
    node = _positive_angle(b * c, (depth * r)[...])
    node *= depth
    node -= logs
    return node


def _prism_gradient(offsets: tuple[Array, ...], i: int, j: int) -> Array:
    """Return the node function of the gradient of axes `i` and `j`."""
    if i == j:
        a = offsets[i]
        b, c = (d for k, d in enumerate(offsets) if k != i)
        node = _positive_angle(b * c, (np.abs(a) * np.sqrt(a * a + b * b + c * c))[...])
        node *= -_side(a, i)
        return node
    c = offsets[3 - i - j]
    away = np.hypot(offsets[i], offsets[j])
    on_edge = away == 0
    # ln(c + r) less ln(away), which the difference removes, and where it would be infinite
    # ln(c + r) itself.
    node = np.arcsinh(c / np.where(on_edge, 1.0, away))
    if on_edge.any():
        node = np.where(on_edge, np.sign(c) * _log_or_zero(2.0 * np.abs(c)), node)
    return node


def _positive_angle(y: Array, x: Array) -> Array:
    """Return ``arctan2(y, x)`` in the place of `x`, at least 0, in half the time."""
    np.maximum(x, np.finfo(np.float64).tiny, out=x)
    with np.errstate(over="ignore"):
        np.divide(y, x, out=x)
    return np.arctan(x, out=x)


def _side(a: Array, axis: int) -> Array:
    """Return the sign of offsets along an axis; for 0, that above a horizontal face, else 0."""
    return np.where(a >= 0, 1.0, -1.0) if axis == 0 else np.sign(a)


def _checked(
    offsets: tuple[Array, ...], component: Component, ndims: tuple[int, ...]
) -> tuple[Array, ...]:
    """Return offsets as finite numbers, checked before they are broadcast, while they are small."""
    axes = range(len(offsets))
    allowed = {*axes, *combinations_with_replacement(axes, 2)}
    if len(offsets) not in ndims or component not in allowed:
        raise ValueError(
            f"'offsets' has {len(offsets)} axes and 'component' is {component!r}; there must be "
            f"{' or '.join(map(str, ndims))} axes, and 'component' be the index of one, or for a "
            "gradient those of two, the smaller first."
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


def _log_or_zero(values: Array) -> Array:
    """Return the logarithm, 0 at 0, for gradients, which are infinite there."""
    return np.log(values, out=np.zeros_like(values), where=values > 0)


#: Node function by number of dimensions.
NODE_FUNCTIONS: dict[int, Callable[[tuple[Array, ...], Component], Array]] = {
    2: rectangle_node,
    3: prism_node,
}
