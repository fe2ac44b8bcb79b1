"""Geological families that are made of layers: flat, folded, dipping, faulted, in basins.

Every family takes a `Draw` and returns relative density; see `FAMILIES` in ``_families.py``.
"""

import numpy as np


def flat_layers(draw):
    """Horizontal layers, undisturbed: density varies with depth only."""
    column = np.broadcast_to(draw.depth, (draw.n_samples, draw.depth.size, 1))
    return np.repeat(draw.strata(column, n_layers=(2, 14)), draw.x.shape[-1], axis=2)


def _fold_train(draw):
    """Draw the uplift of a train of folds: round to chevron, leaning, fading up or down."""
    depth = draw.depth
    wavelength = draw.aspect * draw.log_uniform(0.3, 1.6)
    lean = draw.uniform(-0.6, 0.6)
    phase = 2 * np.pi * ((draw.across + lean * (depth - 0.5)) / wavelength)
    phase = phase + draw.uniform(0, 2 * np.pi)
    sharpness = draw.uniform(0.3, 0.97)
    shape = np.arcsin(sharpness * np.sin(phase)) / np.arcsin(sharpness)
    # Limbs steeper than some 60 degrees would need overturned folds.
    amplitude = np.minimum(0.3, 0.22 * wavelength) * draw.uniform(0.25, 1)
    dying = draw.uniform(-0.6, 0.6)
    return amplitude * shape * draw.fading() * (1 + dying * (2 * depth - 1))


def folded_layers(draw):
    """Trains of folds, or a flexure, sometimes eroded and covered by younger layers."""
    across, depth, aspect = draw.across, draw.depth, draw.aspect
    folds = _fold_train(draw)
    where = draw.uniform(-0.35, 0.35) * aspect
    width = draw.uniform(0.05, 0.25) * aspect
    drop = draw.sign() * np.minimum(0.3, 1.2 * width) * draw.uniform(0.5, 1)
    flexure = drop * np.tanh((across - where + 0.3 * (depth - 0.5)) / width)
    share = np.where(draw.chance(0.2), 0.15, 1.0)
    uplift = share * folds + np.where(draw.chance(0.15) | (share < 1), flexure, 0)
    s = draw.gentle(steepest=10) + uplift + 0.3 * draw.oblique(20)
    return draw.cover(draw.strata(s, n_layers=(4, 13)), probability=0.3)


def dipping_layers(draw):
    """Layers that dip as a whole, parallel or fanning, sometimes under an unconformity."""
    across, depth, aspect = draw.across, draw.depth, draw.aspect
    slope = draw.tilt(steepest=62, shallowest=6)
    relief = np.abs(slope) * aspect
    fan = draw.uniform(-0.7, 0.7) / np.maximum(1, relief)
    s = depth - slope * across * (1 + fan * (2 * depth - 1))
    s = s + 0.04 * draw.uniform(0, 1) * draw.along_x()
    return draw.cover(draw.strata(s, n_layers=(3, 13)), probability=0.4)


def faults(draw):
    """Layers offset by up to four normal or reverse faults: dominoes, horsts, grabens.

    The faults are undone from the youngest to the oldest: the hanging wall goes back up (or
    down) the fault plane, and older faults are met where they were then.
    """
    across, depth, aspect = draw.across, draw.depth, draw.aspect
    reverse = draw.chance(0.35)
    dip = np.where(reverse, draw.uniform(25, 50), draw.uniform(50, 78))
    facing = draw.sign()
    conjugate = draw.chance(0.5)
    largest = draw.uniform(0.1, 0.35)
    # One slot of the width for each fault, in random order, so that they spread out.
    slots = draw.slots(4)
    for k, present in enumerate((1.0, 0.7, 0.5, 0.3)):
        cotangent = 1 / np.tan(np.radians(dip + draw.uniform(-7, 7)))
        facing_k = np.where(conjugate, draw.sign(), facing)
        where = ((slots[:, k] + draw.uniform(0.15, 0.85)) / 4 - 0.5) * aspect
        throw = largest * (1.0 if k == 0 else draw.uniform(0.25, 1))
        throw = np.where(reverse, -throw, throw) * draw.chance(present)
        trace = where + facing_k * cotangent * (depth - 0.5) + draw.oblique(20)
        hanging = facing_k * (across - trace) > 0
        across = across - hanging * (facing_k * cotangent * throw)
        depth = depth - hanging * throw
    slope = draw.tilt(steepest=18)
    wavelength = aspect * draw.uniform(0.6, 1.6)
    phase = 2 * np.pi * across / wavelength + draw.uniform(0, 2 * np.pi)
    s = depth - slope * across + draw.uniform(0, 0.06) * np.sin(phase)
    density = draw.strata(s, n_layers=(5, 13), contrast=(0.45, 1.0))
    return draw.cover(density, probability=0.25, deepest=0.25)


def _sag(draw):
    """Draw the depth of a sag basin: one or two asymmetric depocentres with smooth flanks."""
    floor = 0
    second = draw.uniform(0.3, 0.9) * draw.chance(0.5)
    for share in (1.0, second):
        offset = draw.x - draw.uniform(0.15, 0.85)
        left, right = draw.uniform(0.2, 0.7), draw.uniform(0.2, 0.7)
        ratio = np.abs(offset) / np.where(offset < 0, left, right)
        # Flanks stay below some 50 degrees.
        deepest = np.minimum(0.85, 1.6 * draw.aspect * np.minimum(left, right))
        deepest = deepest * draw.uniform(0.6, 1.1)
        flank = draw.uniform(1.6, 3.2)
        floor = np.maximum(floor, share * deepest * draw.fading() * np.exp(-(ratio**flank)))
    return floor


def _half_graben(draw):
    """Draw the depth of one or two half-grabens, tilted gently toward a steep fault."""
    x = np.where(draw.chance(0.5), draw.x, 1 - draw.x)
    fault = draw.uniform(0.55, 0.98)
    second = draw.uniform(0.4, 0.9) * draw.chance(0.5)
    floor = 0
    for share in (1.0, second):
        length = draw.uniform(0.45, 1.1)
        tilted = np.tan(np.radians(draw.uniform(15, 36)))
        deepest = share * np.minimum(0.85, tilted * length * draw.aspect)
        ramp = deepest * (1 + (x - fault) / length)
        steep = np.tan(np.radians(draw.uniform(50, 75)))
        scarp = deepest + steep * draw.aspect * (fault - x)
        floor = np.maximum(floor, np.minimum(ramp, scarp) * draw.fading())
        fault = fault - length * draw.uniform(0.5, 0.9)
    return floor


def basins(draw):
    """Sediments, denser with depth by compaction, in a sag basin or half-graben over basement."""
    depth, half_graben = draw.depth, _half_graben(draw)
    floor = np.where(draw.chance(0.5), _sag(draw), half_graben)
    # Sediments beyond the basin, or basement that crops out (a negative depth).
    floor = np.maximum(floor, 0) + draw.uniform(-0.06, 0.15)
    relief = draw.along_x(12, 0.9)
    floor = floor + draw.uniform(0.003, 0.02) * relief

    rock = draw.uniform(0.4, 0.97)
    roots = draw.gentle(steepest=70, relief=0.1)
    roots = draw.strata(roots, n_layers=(1, 6), lightest=(0, 0), contrast=(1, 1))
    uneven = draw.uniform(0, 0.45)
    basement = rock + uneven * (roots - 0.5)

    fresh = rock * draw.uniform(0.05, 0.5)
    firm = fresh + (rock - fresh) * draw.uniform(0.3, 0.95)
    scale = draw.log_uniform(0.1, 1.2)
    compacted = fresh + (firm - fresh) * -np.expm1(-depth / scale) / -np.expm1(-1 / scale)
    # From onlap (flat beds that end at the floor) to growth (beds that thicken with the basin).
    growth = draw.uniform(0, 1)
    beds = depth / np.maximum(floor, 0.02) ** growth
    beds = draw.strata(np.minimum(beds, 1.2), n_layers=(2, 9), lightest=(0, 0), contrast=(1, 1))
    fill = compacted + draw.uniform(0, 0.5) * (rock - fresh) * (beds - 0.5)
    return np.clip(np.where(depth < floor, fill, basement), 0, 1)
