"""Tools shared by the geological families: random numbers, smooth curves, layer stacks, bodies.

A section is drawn backwards in time. Geometry maps every cell to its *stratigraphic coordinate*
``s``, the depth its rock had before it was folded, faulted or dragged; a stack of layers then
says what lies at ``s``. So layers stay continuous through any deformation, and one function,
`strata`, paints them all.

Parameters of the samples are arrays of shape (n_samples, 1, 1); sections (n_samples, nz, nx).
"""

import numpy as np


def uniform(rng, n_samples, low, high):
    """Draw one number per sample, shaped to broadcast over sections."""
    return rng.uniform(low, high, (n_samples, 1, 1))


def chance(rng, n_samples, probability):
    """Draw one boolean per sample, true with the given probability."""
    return rng.random((n_samples, 1, 1)) < probability


def sign(rng, n_samples):
    """Draw -1.0 or 1.0 per sample."""
    return np.where(chance(rng, n_samples, 0.5), 1.0, -1.0)


def plane(x, z, aspect=1.0):
    """Return x (1, 1, nx) in units of the section's depth, from its middle, and z (1, nz, 1)."""
    return (np.asarray(x)[None, None, :] - 0.5) * aspect, np.asarray(z)[None, :, None]


def curve(rng, n_samples, x, n_modes=6, decay=1.5):
    """Draw smooth random curves over x in [0, 1], of zero mean and unit variance.

    Cosines of random phase with half-periods per width up to `n_modes`: they don't repeat within
    the section, and a finer mesh sees the same curve.
    """
    x = np.asarray(x).ravel()
    modes = np.arange(1, n_modes + 1)
    weights = modes**-decay
    weights *= np.sqrt(2 / np.sum(weights**2))
    phases = rng.uniform(0, 2 * np.pi, (n_samples, n_modes, 1))
    weights = weights * rng.uniform(0.5, 1.3, (n_samples, n_modes))
    waves = np.cos(np.pi * modes[:, None] * x + phases)
    return np.einsum("nm,nmx->nx", weights, waves)


def _stack(rng, n_samples, n_layers, lightest, contrast):
    """Draw interfaces in (0, 1), layer densities and their gradients, each (n_samples, layers)."""
    low, high = n_layers
    count = rng.integers(low, high + 1, (n_samples, 1))
    layer = np.arange(high)
    # From stacks of alike beds (shape 6) to a few thick units among thin ones (shape 0.7).
    shape = np.exp(rng.uniform(np.log(0.7), np.log(6), (n_samples, 1)))
    thickness = rng.gamma(shape, 1 / shape, (n_samples, high)) + 0.12
    thickness[layer >= count] = 0
    bottom = np.cumsum(thickness, axis=1)
    bottom /= bottom[:, -1:]

    trend = bottom ** np.exp(rng.uniform(-0.7, 0.7, (n_samples, 1)))
    # How unruly the stack is; 0 would be a strict growth of density with depth.
    unruly = rng.uniform(0.03, 0.5, (n_samples, 1))
    raw = trend + unruly * rng.standard_normal((n_samples, high))
    present = layer < count
    least = np.min(raw, axis=1, where=present, initial=np.inf, keepdims=True)
    most = np.max(raw, axis=1, where=present, initial=-np.inf, keepdims=True)
    base = rng.uniform(*lightest, (n_samples, 1))
    span = (1 - base) * rng.uniform(*contrast, (n_samples, 1))
    # A stack of one layer has no contrast of its own: it takes any density of the span.
    lone = rng.uniform(0, 1, (n_samples, 1))
    scaled = np.divide(raw - least, most - least, out=np.zeros_like(raw), where=most > least)
    density = base + span * np.where(count > 1, scaled, lone)

    graded = rng.random((n_samples, 1)) < 0.45
    gradient = graded * span * rng.uniform(0, 1.2, (n_samples, high))
    return bottom, density, gradient


def strata(rng, s, *, n_layers=(3, 12), lightest=(0.03, 0.4), contrast=(0.35, 1.0)):
    """Paint a random stack of layers, one per sample, over the stratigraphic coordinate.

    Parameters
    ----------
    rng : Generator
    s : ndarray of shape (n_samples, nz, nx)
        Stratigraphic coordinate; the stack spans each section's own range of it, so that
        the number of layers seen doesn't depend on the deformation.
    n_layers : tuple of two ints, default=(3, 12)
        Fewest and most layers.
    lightest : tuple of two floats, default=(0.03, 0.4)
        Range of the lightest layer's density.
    contrast : tuple of two floats, default=(0.35, 1.0)
        Range of the stack's density span, as a share of what is left above the lightest.

    Returns
    -------
    density : ndarray of shape (n_samples, nz, nx)
        Relative density in [0, 1].
    """
    n_samples = len(s)
    bottom, density, gradient = _stack(rng, n_samples, n_layers, lightest, contrast)
    flat = s.reshape(n_samples, -1)
    top = flat.min(axis=1, keepdims=True)
    t = (flat - top) / np.maximum(flat.max(axis=1, keepdims=True) - top, 1e-12)
    layer = np.zeros(t.shape, dtype=np.int8)  # eight times less to go through than indices
    for k in range(bottom.shape[1] - 1):
        layer += t > bottom[:, k : k + 1]
    place = layer + bottom.shape[1] * np.arange(n_samples)[:, None]
    # Compaction within a layer: density grows about the layer's middle.
    middle = bottom - 0.5 * np.diff(bottom, axis=1, prepend=0)
    at_top = density - gradient * middle
    t *= gradient.take(place)
    t += at_top.take(place)
    return np.clip(t, 0, 1, out=t).reshape(s.shape)


def gentle(rng, n_samples, x, z, aspect, steepest=15.0, relief=0.05):
    """Draw the coordinate of quiet layers: a slight tilt, in degrees, and a slight waviness."""
    across, depth = plane(x, z, aspect)
    slope = tilt(rng, n_samples, aspect, steepest)
    waves = curve(rng, n_samples, x)[:, None, :]
    return depth - slope * across + relief * uniform(rng, n_samples, 0, 1) * waves


def tilt(rng, n_samples, aspect, steepest, shallowest=0.0):
    """Draw slopes, of either sign, from dips in degrees; wide sections get gentler ones.

    Their relief over the section's width is bounded too: in a section much wider than deep, a
    tilt that looks quiet on a square one would carry every layer from the bottom to the top.
    """
    limit = np.degrees(np.arctan(0.04 * steepest / aspect))
    steepest = min(steepest, limit)
    dip = uniform(rng, n_samples, min(shallowest, 0.5 * steepest), steepest)
    return sign(rng, n_samples) * np.tan(np.radians(dip))


def host(rng, n_samples, x, z, aspect, **stack):
    """Draw the country rock around bodies: uniform, graded or quietly layered.

    Returns
    -------
    density, s : ndarrays of shape (n_samples, nz, nx)
    """
    s = gentle(rng, n_samples, x, z, aspect)
    return strata(rng, s, **({"n_layers": (1, 8)} | stack)), s


def cover(rng, density, x, z, probability, deepest=0.35):
    """Lay younger, lighter, flat layers over an eroded surface, in some of the samples."""
    n_samples = len(density)
    base = uniform(rng, n_samples, 0.06, deepest)
    relief = uniform(rng, n_samples, 0, 0.25) * base
    base = base + relief * curve(rng, n_samples, x)[:, None, :]
    base = np.where(chance(rng, n_samples, probability), base, 0)
    depth = plane(x, z)[1]
    s = np.broadcast_to(depth, density.shape)
    young = strata(
        rng, np.minimum(s, deepest), n_layers=(1, 4), lightest=(0.02, 0.25), contrast=(0.1, 0.5)
    )
    return np.where(depth < base, young, density)


def contrasting(rng, background, weakest=0.25, dense=None):
    """Draw a body's density against its background's.

    The body is lighter or denser (`dense` decides, or chance in proportion to the room on
    either side) by a share of the room that `weakest` bounds from below.
    """
    n_samples = len(background)
    if dense is None:
        dense = rng.random((n_samples, 1, 1)) > background
    share = uniform(rng, n_samples, weakest, 0.98)
    return np.where(dense, background + share * (1 - background), background * (1 - share))
