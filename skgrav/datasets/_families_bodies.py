"""Geological families with bodies in country rock: salt domes, intrusions, blocks, dykes.

Every family takes a `Draw` and returns relative density; see `FAMILIES` in ``_families.py``.
"""

import numpy as np


def _dome_width(draw, base, unit):
    """Draw the outline of a salt dome: its top, and its half-width as a function of depth.

    A stem swells to a bulb (a teardrop or a mushroom) near a rounded top and flares into the bed.
    """
    top = base - draw.uniform(0.3, 1) * (base - 0.04)
    stem = unit * draw.uniform(0.035, 0.1)
    swelling = np.maximum(draw.uniform(-0.6, 2.4), 0)
    level, spread = draw.uniform(0.1, 0.35), draw.uniform(0.1, 0.25)
    crown = draw.uniform(0.12, 0.4)
    flare = draw.uniform(0.3, 2) * stem
    throat = draw.uniform(0.08, 0.3)

    def half_width(depth):
        t = np.clip((depth - top) / (base - top), 0, 1)
        rounding = np.sqrt(1 - (1 - np.minimum(t / crown, 1)) ** 2)
        bulb = stem * (1 + swelling * np.exp(-0.5 * ((t - level) / spread) ** 2))
        return rounding * bulb + flare * np.exp((t - 1) / throat) * rounding

    return top, half_width


def _dome(draw, where, base, unit):
    """Draw one dome: masks of its salt and cap rock, and the uplift of the layers."""
    depth = draw.depth
    top, half_width = _dome_width(draw, base, unit)
    height = base - top
    lean = draw.uniform(-0.35, 0.35) * unit
    wiggle = 1 + 0.1 * draw.along_z(7, 1.0)
    axis = where + lean * (depth - base) + 0.03 * draw.along_z(4)
    across, beside = draw.around(axis)
    offset = np.hypot(across, beside)
    # The head spreads more to one side, as an overhang.
    skew = draw.uniform(-0.5, 0.5) * np.exp(-(((depth - top) / (0.4 * height)) ** 2))
    offset = offset / (1 + skew * across / np.maximum(offset, 1e-12))
    outside = offset - half_width(depth) * wiggle
    salt = (outside < 0) & (depth > top) & (depth < base)
    cap = salt & (offset > half_width(depth - 0.035) * wiggle) & (depth < top + 0.3 * height)

    reach = unit * draw.uniform(0.06, 0.2)
    gap = np.clip(outside, 0, None) / reach
    fading = np.clip(depth / (top + 0.3 * height), 0, 1) ** 2
    drag = draw.uniform(0.15, 0.4) * height * np.exp(-gap)
    rim = draw.uniform(0, 0.13) * height * np.exp(-((gap - 3) ** 2) / 2)
    return salt, cap, fading * (drag - rim)


def _salt_bed(draw, base):
    """Draw the salt bed's top and floor, with relief and in some samples a basement step."""
    step = np.maximum(draw.uniform(-0.1, 0.1), 0)
    facing, where = draw.sign(), draw.uniform(-0.4, 0.4) * draw.aspect
    down = step * (facing * (draw.across - where) > 0)
    top = base + down + 0.02 * draw.along_x()
    thickness = draw.uniform(0.0, 0.07)
    return top, top + thickness * (1 + 0.3 * draw.along_x())


def salt_domes(draw):
    """Light salt that rose from its bed through the layers above and dragged them up.

    One or two domes with stem, bulb and overhang, sometimes with a dense cap rock; basement
    below the salt bed.
    """
    depth, aspect = draw.depth, draw.aspect
    base = draw.uniform(0.55, 0.95)
    bed, floor = _salt_bed(draw, base)
    twin = draw.chance(0.4)
    # Two broad domes would grow together into arches.
    unit = aspect**0.5 * np.where(twin, 0.65, 1.0)
    first = np.where(twin, draw.uniform(0.12, 0.4), draw.uniform(0.2, 0.8))
    second = first + draw.uniform(0.3, 0.5)
    s = draw.gentle(steepest=4, relief=0.03)
    salt = cap = np.zeros(s.shape, dtype=bool)
    uplift = 0
    for place, present in ((first, True), (second, twin)):
        where = (place - 0.5) * aspect
        body, crest, pull = _dome(draw, where, base, unit)
        body, crest = body & present, crest & present
        salt, cap = salt | body, (cap & ~body) | (crest & ~salt)
        uplift = uplift + pull * present
    # The bed rises into the domes as a pillow and thins out around them.
    salt |= (depth > bed - 0.5 * uplift) & (depth <= floor)
    density = draw.strata(s + uplift, n_layers=(4, 12), lightest=(0.08, 0.35), contrast=(0.3, 0.9))
    roots = draw.gentle(steepest=40, relief=0.1)
    roots = draw.strata(roots, n_layers=(1, 5), lightest=(0.5, 0.85), contrast=(0.1, 1))
    density = np.where(depth > floor, roots, density)
    density = np.where(salt, draw.uniform(0.02, 0.24), density)
    capped = cap & draw.chance(0.3)
    return np.where(capped, draw.uniform(0.55, 0.95), density)


def _blob(draw, where, width, at, size):
    """Draw a smooth, elongated outline, whose radius is a random Fourier series of the angle."""
    depth = draw.depth
    across, beside = draw.around(where, width)
    # Round at its ends along strike.
    closing = np.sqrt(np.maximum(1 - (beside / (1.5 * size)) ** 2, 0.0))
    angle = draw.uniform(-0.6, 0.6)
    stretch = np.exp(draw.uniform(-0.7, 0.5))
    turn = np.exp(1j * angle)
    point = (across + 1j * (depth - at)) * turn
    point = point.real * stretch + 1j * (point.imag / stretch)
    distance = np.abs(point)
    direction = point / np.maximum(distance, 1e-12)
    radius, power = 1.0, direction
    for k in range(2, 6):
        power = power * direction
        swing = draw.uniform(0, 0.75) / k**1.4
        radius = radius + swing * (power * np.exp(2j * np.pi * draw.uniform(0, 1))).real
    body = distance < size * closing * np.clip(radius, 0.35, None)
    # Some have a root, which widens downward and leans with the body.
    below = depth - at
    flare = size * draw.uniform(0.3, 0.6) / np.maximum(stretch, 1)
    flare = flare + draw.uniform(0, 0.25) * below
    root = (np.abs(across + 0.4 * angle * below) < flare * closing) & (below > 0)
    return body | (root & draw.chance(0.2))


def intrusions(draw):
    """One to four plutons, dense or light, with smooth random outlines in country rock."""
    width, depth = draw.aspect**0.5, draw.depth
    density, _ = draw.host()
    background = density.mean(axis=(1, 2), keepdims=True)
    for present in (1.0, 0.65, 0.4, 0.2):
        where = draw.uniform(-0.8, 0.8) * (0.5 * width)
        at = draw.uniform(0.15, 0.9)
        size = draw.log_uniform(0.07, 0.27)
        body = _blob(draw, where, width, at, size)
        rock = draw.contrasting(background) + draw.uniform(-0.1, 0.1) * (depth - at)
        density = np.where(body & draw.chance(present), rock, density)
    return np.clip(density, 0, 1)


def blocks(draw):
    """One to six rectangular blocks, upright or rotated, lighter or denser than their host."""
    width, depth = draw.aspect**0.5, draw.depth
    density, _ = draw.host(n_layers=(1, 5))
    background = density.mean(axis=(1, 2), keepdims=True)
    rotated, common = draw.chance(0.5), draw.uniform(-45, 45)
    aligned = draw.chance(0.6)
    for present in (1.0, 0.85, 0.65, 0.45, 0.3, 0.2):
        own = np.where(aligned, common, draw.uniform(-45, 45))
        angle = np.radians(rotated * own)
        where = draw.uniform(-0.9, 0.9) * (0.5 * width)
        offset, beside = draw.around(where, width)
        below = depth - draw.uniform(0.08, 0.95)
        along = offset * np.cos(angle) + below * np.sin(angle)
        upward = below * np.cos(angle) - offset * np.sin(angle)
        length = draw.log_uniform(0.05, 0.25)
        height = draw.log_uniform(0.04, 0.22)
        inside = (np.abs(along) < length) & (np.abs(upward) < height)
        inside = inside & (np.abs(beside) < length)
        rock = draw.contrasting(background)
        density = np.where(inside & draw.chance(present), rock, density)
    return density


def dykes(draw):
    """A swarm of thin, steep, dense sheets that cut layered rock, sometimes feeding a sill."""
    across, depth, aspect = draw.across, draw.depth, draw.aspect
    density, s = draw.host(lightest=(0.05, 0.4), contrast=(0.05, 0.7))
    background = density.mean(axis=(1, 2), keepdims=True)
    rock = draw.contrasting(background, weakest=0.4, dense=True)
    # A sheet thinner than a cell would break up into loose cells.
    thinnest = max(0.008, 0.52 * draw.cell * aspect)
    dip = draw.uniform(55, 90)
    facing = draw.sign()
    middle, spread = draw.uniform(0.3, 0.7), draw.uniform(0.5, 1.2)
    # One slot of the swarm's width for each, in random order, so that few of them cross.
    slots = draw.slots(8)
    for k, present in enumerate((1.0, 0.95, 0.85, 0.7, 0.55, 0.4, 0.25, 0.15)):
        tangent = np.tan(np.radians(np.minimum(dip + draw.uniform(-5, 5), 89.5)))
        place = (slots[:, k] + draw.uniform(0.1, 0.9)) / 8 - 0.5
        where = (middle + spread * place - 0.5) * aspect
        trace = where + facing * (depth - 0.5) / tangent + draw.oblique(8)
        trace = trace + 0.012 * draw.along_z(6, 1.0)
        top = np.maximum(draw.uniform(-0.3, 0.7), 0)
        tip = np.clip((depth - top) / 0.1 + (top == 0), 0, 1) ** 0.35
        half = thinnest + 0.02 * draw.uniform(0, 1) ** 2
        half = half * (1 + 0.2 * draw.along_z()) * tip
        half = np.maximum(half, thinnest) * (depth > top)
        sheet = np.abs(across - trace) < half * np.hypot(1, 1 / tangent)
        sheet = sheet & (draw.fading() > 0.5)
        shade = rock + draw.uniform(-0.06, 0.06)
        density = np.where(sheet & draw.chance(present), shade, density)
    sill = np.abs(s - draw.uniform(0.2, 0.9)) < draw.uniform(0.012, 0.035)
    extent = np.abs(across / aspect + 0.5 - middle) < draw.uniform(0.1, 0.4)
    extent = extent & (draw.fading() > 0.5)
    density = np.where(sill & extent & draw.chance(0.35), rock, density)
    return np.clip(density, 0, 1)


def random_walks(draw):
    """One or two winding bodies of constant density, grown along random walks in country rock."""
    depth, width = draw.depth, draw.aspect**0.5
    density, _ = draw.host(n_layers=(1, 4))
    background = density.mean(axis=(1, 2), keepdims=True)
    for present in (1.0, 0.4):
        where, at = draw.uniform(-0.7, 0.7) * (0.5 * width), draw.uniform(0.1, 0.8)
        radius = draw.log_uniform(0.05, 0.14)
        across, beside = draw.around(where, width)
        body = np.zeros(density.shape, dtype=bool)
        for _ in range(9):
            near2 = across**2 + beside**2 + (depth - at) ** 2
            body |= near2 < (radius * draw.uniform(0.7, 1.3)) ** 2
            step = draw.direction(radius)
            across, beside, at = across - step[0], beside - step[1], at + step[2]
            at = np.clip(at, 0.05, 0.95)
        rock = draw.contrasting(background)
        density = np.where(body & draw.chance(present), rock, density)
    return density
