"""Geological families with bodies in country rock: salt domes, intrusions, blocks, dykes.

Every family has the signature ``family(n_samples, x, z, rng, *, aspect=1.0)``; see `FAMILIES`
in ``_families.py``.
"""

import numpy as np

from ._stratigraphy import (
    chance,
    contrasting,
    curve,
    gentle,
    host,
    plane,
    sign,
    strata,
    uniform,
)


def _dome_width(rng, n_samples, base, unit):
    """Draw the outline of a salt dome: its top, and its half-width as a function of depth.

    The width is that of a stem, swollen to a bulb (a teardrop, or a mushroom's head) near a
    rounded top, and flaring into the salt bed.
    """
    top = base - uniform(rng, n_samples, 0.3, 1) * (base - 0.04)
    stem = unit * uniform(rng, n_samples, 0.035, 0.1)
    swelling = np.maximum(uniform(rng, n_samples, -0.6, 2.4), 0)
    level, spread = uniform(rng, n_samples, 0.1, 0.35), uniform(rng, n_samples, 0.1, 0.25)
    crown = uniform(rng, n_samples, 0.12, 0.4)
    flare = uniform(rng, n_samples, 0.3, 2) * stem
    throat = uniform(rng, n_samples, 0.08, 0.3)

    def half_width(depth):
        t = np.clip((depth - top) / (base - top), 0, 1)
        rounding = np.sqrt(1 - (1 - np.minimum(t / crown, 1)) ** 2)
        bulb = stem * (1 + swelling * np.exp(-0.5 * ((t - level) / spread) ** 2))
        return rounding * bulb + flare * np.exp((t - 1) / throat) * rounding

    return top, half_width


def _dome(rng, n_samples, across, depth, where, base, unit):
    """One salt dome: where its salt and cap rock are, and how far the layers were pulled up."""
    top, half_width = _dome_width(rng, n_samples, base, unit)
    height = base - top
    lean = uniform(rng, n_samples, -0.35, 0.35) * unit
    wiggle = 1 + 0.1 * curve(rng, n_samples, depth, 7, 1.0)[:, :, None]
    axis = where + lean * (depth - base) + 0.03 * curve(rng, n_samples, depth, 4)[:, :, None]
    offset = across - axis
    # The head spreads to one side more than to the other, as an overhang.
    skew = uniform(rng, n_samples, -0.5, 0.5) * np.exp(-(((depth - top) / (0.4 * height)) ** 2))
    offset = np.abs(offset) / (1 + skew * np.sign(offset))
    outside = offset - half_width(depth) * wiggle
    salt = (outside < 0) & (depth > top) & (depth < base)
    cap = salt & (offset > half_width(depth - 0.035) * wiggle) & (depth < top + 0.3 * height)

    reach = unit * uniform(rng, n_samples, 0.06, 0.2)
    gap = np.clip(outside, 0, None) / reach
    fading = np.clip(depth / (top + 0.3 * height), 0, 1) ** 2
    drag = uniform(rng, n_samples, 0.15, 0.4) * height * np.exp(-gap)
    rim = uniform(rng, n_samples, 0, 0.13) * height * np.exp(-((gap - 3) ** 2) / 2)
    return salt, cap, fading * (drag - rim)


def _salt_bed(rng, n_samples, x, aspect, base):
    """Depths of the salt bed's top and floor: relief, and a basement step in some samples."""
    across = plane(x, [0.0], aspect)[0]
    step = np.maximum(uniform(rng, n_samples, -0.1, 0.1), 0)
    facing, where = sign(rng, n_samples), uniform(rng, n_samples, -0.4, 0.4) * aspect
    down = step * (facing * (across - where) > 0)
    top = base + down + 0.02 * curve(rng, n_samples, x)[:, None, :]
    thickness = uniform(rng, n_samples, 0.0, 0.07)
    return top, top + thickness * (1 + 0.3 * curve(rng, n_samples, x)[:, None, :])


def salt_domes(n_samples, x, z, rng, *, aspect=1.0):
    """Light salt that rose from its bed through the layers above and dragged them up.

    One or two domes with stem, bulb and overhang, sometimes with a dense cap rock; basement
    below the salt bed.
    """
    across, depth = plane(x, z, aspect)
    base = uniform(rng, n_samples, 0.55, 0.95)
    bed, floor = _salt_bed(rng, n_samples, x, aspect, base)
    twin = chance(rng, n_samples, 0.4)
    # Two broad domes would grow together into arches.
    unit = aspect**0.5 * np.where(twin, 0.65, 1.0)
    first = np.where(twin, uniform(rng, n_samples, 0.12, 0.4), uniform(rng, n_samples, 0.2, 0.8))
    second = first + uniform(rng, n_samples, 0.3, 0.5)
    s = gentle(rng, n_samples, x, z, aspect, steepest=4, relief=0.03)
    salt = cap = np.zeros(s.shape, dtype=bool)
    uplift = 0
    for place, present in ((first, True), (second, twin)):
        where = (place - 0.5) * aspect
        body, crest, pull = _dome(rng, n_samples, across, depth, where, base, unit)
        body, crest = body & present, crest & present
        salt, cap = salt | body, (cap & ~body) | (crest & ~salt)
        uplift = uplift + pull * present
    # The bed rises into the domes as a pillow and is thinned out beside them.
    salt |= (depth > bed - 0.5 * uplift) & (depth <= floor)
    density = strata(rng, s + uplift, n_layers=(4, 12), lightest=(0.08, 0.35), contrast=(0.3, 0.9))
    roots = gentle(rng, n_samples, x, z, aspect, steepest=40, relief=0.1)
    roots = strata(rng, roots, n_layers=(1, 5), lightest=(0.5, 0.85), contrast=(0.1, 1))
    density = np.where(depth > floor, roots, density)
    density = np.where(salt, uniform(rng, n_samples, 0.02, 0.24), density)
    capped = cap & chance(rng, n_samples, 0.3)
    return np.where(capped, uniform(rng, n_samples, 0.55, 0.95), density)


def _blob(rng, n_samples, across, depth, where, at, size):
    """Smooth closed outline, elongated and rotated: radius a random Fourier series of angle."""
    angle = uniform(rng, n_samples, -0.6, 0.6)
    stretch = np.exp(uniform(rng, n_samples, -0.7, 0.5))
    turn = np.exp(1j * angle)
    point = ((across - where) + 1j * (depth - at)) * turn
    point = point.real * stretch + 1j * (point.imag / stretch)
    distance = np.abs(point)
    direction = point / np.maximum(distance, 1e-12)
    radius, power = 1.0, direction
    for k in range(2, 6):
        power = power * direction
        swing = uniform(rng, n_samples, 0, 0.75) / k**1.4
        radius = radius + swing * (power * np.exp(2j * np.pi * uniform(rng, n_samples, 0, 1))).real
    body = distance < size * np.clip(radius, 0.35, None)
    # Some have a root, which widens downward and leans with the body.
    below = depth - at
    flare = size * uniform(rng, n_samples, 0.3, 0.6) / np.maximum(stretch, 1)
    flare = flare + uniform(rng, n_samples, 0, 0.25) * below
    root = (np.abs(across - where + 0.4 * angle * below) < flare) & (below > 0)
    return body | (root & chance(rng, n_samples, 0.2))


def intrusions(n_samples, x, z, rng, *, aspect=1.0):
    """One to four plutons, dense or light, with smooth random outlines in country rock."""
    across, depth = plane(x, z, aspect**0.5)
    density, _ = host(rng, n_samples, x, z, aspect)
    background = density.mean(axis=(1, 2), keepdims=True)
    half_width = 0.5 * aspect**0.5
    for present in (1.0, 0.65, 0.4, 0.2):
        where = uniform(rng, n_samples, -0.8, 0.8) * half_width
        at = uniform(rng, n_samples, 0.15, 0.9)
        size = np.exp(uniform(rng, n_samples, np.log(0.07), np.log(0.27)))
        body = _blob(rng, n_samples, across, depth, where, at, size)
        rock = contrasting(rng, background) + uniform(rng, n_samples, -0.1, 0.1) * (depth - at)
        density = np.where(body & chance(rng, n_samples, present), rock, density)
    return np.clip(density, 0, 1)


def blocks(n_samples, x, z, rng, *, aspect=1.0):
    """One to six rectangular blocks, upright or rotated, lighter or denser than their host."""
    across, depth = plane(x, z, aspect**0.5)
    density, _ = host(rng, n_samples, x, z, aspect, n_layers=(1, 5))
    background = density.mean(axis=(1, 2), keepdims=True)
    half_width = 0.5 * aspect**0.5
    rotated, common = chance(rng, n_samples, 0.5), uniform(rng, n_samples, -45, 45)
    aligned = chance(rng, n_samples, 0.6)
    for present in (1.0, 0.85, 0.65, 0.45, 0.3, 0.2):
        own = np.where(aligned, common, uniform(rng, n_samples, -45, 45))
        angle = np.radians(rotated * own)
        offset = across - uniform(rng, n_samples, -0.9, 0.9) * half_width
        below = depth - uniform(rng, n_samples, 0.08, 0.95)
        along = offset * np.cos(angle) + below * np.sin(angle)
        upward = below * np.cos(angle) - offset * np.sin(angle)
        length = np.exp(uniform(rng, n_samples, np.log(0.05), np.log(0.25)))
        height = np.exp(uniform(rng, n_samples, np.log(0.04), np.log(0.22)))
        inside = (np.abs(along) < length) & (np.abs(upward) < height)
        rock = contrasting(rng, background)
        density = np.where(inside & chance(rng, n_samples, present), rock, density)
    return density


def dykes(n_samples, x, z, rng, *, aspect=1.0):
    """A swarm of thin, steep, dense sheets that cut layered rock, sometimes feeding a sill."""
    across, depth = plane(x, z, aspect)
    density, s = host(rng, n_samples, x, z, aspect, lightest=(0.05, 0.4), contrast=(0.05, 0.7))
    background = density.mean(axis=(1, 2), keepdims=True)
    rock = contrasting(rng, background, weakest=0.4, dense=True)
    # A sheet thinner than a cell would break up into loose cells.
    cell = np.max(np.diff(x)) * aspect if len(x) > 1 else aspect
    thinnest = max(0.008, 0.52 * cell)
    dip = uniform(rng, n_samples, 55, 90)
    facing = sign(rng, n_samples)
    middle, spread = uniform(rng, n_samples, 0.3, 0.7), uniform(rng, n_samples, 0.5, 1.2)
    # A slot of the swarm's width each, in random order, so that few of them cross.
    slots = rng.permuted(np.tile(np.arange(8), (n_samples, 1)), axis=1)[:, :, None, None]
    for k, present in enumerate((1.0, 0.95, 0.85, 0.7, 0.55, 0.4, 0.25, 0.15)):
        tangent = np.tan(np.radians(np.minimum(dip + uniform(rng, n_samples, -5, 5), 89.5)))
        place = (slots[:, k] + uniform(rng, n_samples, 0.1, 0.9)) / 8 - 0.5
        where = (middle + spread * place - 0.5) * aspect
        trace = where + facing * (depth - 0.5) / tangent
        trace = trace + 0.012 * curve(rng, n_samples, z, 6, 1.0)[:, :, None]
        top = np.maximum(uniform(rng, n_samples, -0.3, 0.7), 0)
        tip = np.clip((depth - top) / 0.1 + (top == 0), 0, 1) ** 0.35
        half = thinnest + 0.02 * uniform(rng, n_samples, 0, 1) ** 2
        half = half * (1 + 0.2 * curve(rng, n_samples, z)[:, :, None]) * tip
        half = np.maximum(half, thinnest) * (depth > top)
        sheet = np.abs(across - trace) < half * np.hypot(1, 1 / tangent)
        shade = rock + uniform(rng, n_samples, -0.06, 0.06)
        density = np.where(sheet & chance(rng, n_samples, present), shade, density)
    sill = np.abs(s - uniform(rng, n_samples, 0.2, 0.9)) < uniform(rng, n_samples, 0.012, 0.035)
    extent = np.abs(across / aspect + 0.5 - middle) < uniform(rng, n_samples, 0.1, 0.4)
    density = np.where(sill & extent & chance(rng, n_samples, 0.35), rock, density)
    return np.clip(density, 0, 1)
