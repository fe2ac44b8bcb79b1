"""Geological families that are made of layers: flat, folded, dipping, faulted, in basins.

Every family has the signature ``family(n_samples, x, z, rng, *, aspect=1.0)``; see `FAMILIES`
in ``_families.py``.
"""

import numpy as np

from ._stratigraphy import (
    chance,
    cover,
    curve,
    gentle,
    plane,
    sign,
    strata,
    tilt,
    uniform,
)


def flat_layers(n_samples, x, z, rng, *, aspect=1.0):
    """Horizontal layers, undisturbed: density varies with depth only."""
    column = np.broadcast_to(np.asarray(z)[None, :, None], (n_samples, len(z), 1))
    density = strata(rng, column, n_layers=(2, 14))
    return np.repeat(density, len(x), axis=2)


def _fold_train(rng, n_samples, across, depth, aspect):
    """Uplift of a train of folds: round to chevron, upright to leaning, dying out up or down."""
    wavelength = aspect * np.exp(uniform(rng, n_samples, np.log(0.3), np.log(1.6)))
    lean = uniform(rng, n_samples, -0.6, 0.6)
    phase = 2 * np.pi * ((across + lean * (depth - 0.5)) / wavelength)
    phase = phase + uniform(rng, n_samples, 0, 2 * np.pi)
    sharpness = uniform(rng, n_samples, 0.3, 0.97)
    shape = np.arcsin(sharpness * np.sin(phase)) / np.arcsin(sharpness)
    # Limbs steeper than some 60 degrees would need overturned folds.
    amplitude = np.minimum(0.3, 0.22 * wavelength) * uniform(rng, n_samples, 0.25, 1)
    dying = uniform(rng, n_samples, -0.6, 0.6)
    return amplitude * shape * (1 + dying * (2 * depth - 1))


def folded_layers(n_samples, x, z, rng, *, aspect=1.0):
    """Trains of folds, or a flexure, sometimes eroded and covered by younger layers."""
    across, depth = plane(x, z, aspect)
    folds = _fold_train(rng, n_samples, across, depth, aspect)
    where = uniform(rng, n_samples, -0.35, 0.35) * aspect
    width = uniform(rng, n_samples, 0.05, 0.25) * aspect
    drop = sign(rng, n_samples) * np.minimum(0.3, 1.2 * width) * uniform(rng, n_samples, 0.5, 1)
    flexure = drop * np.tanh((across - where + 0.3 * (depth - 0.5)) / width)
    share = np.where(chance(rng, n_samples, 0.2), 0.15, 1.0)
    uplift = share * folds + np.where(chance(rng, n_samples, 0.15) | (share < 1), flexure, 0)
    s = gentle(rng, n_samples, x, z, aspect, steepest=10) + uplift
    return cover(rng, strata(rng, s, n_layers=(4, 13)), x, z, probability=0.3)


def dipping_layers(n_samples, x, z, rng, *, aspect=1.0):
    """Layers that dip as a whole, parallel or fanning, sometimes under an unconformity."""
    across, depth = plane(x, z, aspect)
    slope = tilt(rng, n_samples, aspect, steepest=62, shallowest=6)
    relief = np.abs(slope) * aspect
    fan = uniform(rng, n_samples, -0.7, 0.7) / np.maximum(1, relief)
    s = depth - slope * across * (1 + fan * (2 * depth - 1))
    s = s + 0.04 * uniform(rng, n_samples, 0, 1) * curve(rng, n_samples, x)[:, None, :]
    return cover(rng, strata(rng, s, n_layers=(3, 13)), x, z, probability=0.4)


def faults(n_samples, x, z, rng, *, aspect=1.0):
    """Layers offset by up to four normal or reverse faults: dominoes, horsts, grabens.

    The faults are undone from the youngest to the oldest: the hanging wall goes back up (or
    down) the fault plane, and older faults are met where they were then.
    """
    across, depth = plane(x, z, aspect)
    shape = (n_samples, len(z), len(x))
    across, depth = np.broadcast_to(across, shape), np.broadcast_to(depth, shape)
    reverse = chance(rng, n_samples, 0.35)
    dip = np.where(reverse, uniform(rng, n_samples, 25, 50), uniform(rng, n_samples, 50, 78))
    facing = sign(rng, n_samples)
    conjugate = chance(rng, n_samples, 0.5)
    largest = uniform(rng, n_samples, 0.1, 0.35)
    # One slot of the width for each fault, taken in random order, so that they spread out.
    slots = rng.permuted(np.tile(np.arange(4), (n_samples, 1)), axis=1)[:, :, None, None]
    for k, present in enumerate((1.0, 0.7, 0.5, 0.3)):
        cotangent = 1 / np.tan(np.radians(dip + uniform(rng, n_samples, -7, 7)))
        facing_k = np.where(conjugate, sign(rng, n_samples), facing)
        where = ((slots[:, k] + uniform(rng, n_samples, 0.15, 0.85)) / 4 - 0.5) * aspect
        throw = largest * (1.0 if k == 0 else uniform(rng, n_samples, 0.25, 1))
        throw = np.where(reverse, -throw, throw) * chance(rng, n_samples, present)
        trace = where + facing_k * cotangent * (depth - 0.5)
        hanging = facing_k * (across - trace) > 0
        across = across - hanging * (facing_k * cotangent * throw)
        depth = depth - hanging * throw
    slope = tilt(rng, n_samples, aspect, steepest=18)
    wavelength = aspect * uniform(rng, n_samples, 0.6, 1.6)
    phase = 2 * np.pi * across / wavelength + uniform(rng, n_samples, 0, 2 * np.pi)
    s = depth - slope * across + uniform(rng, n_samples, 0, 0.06) * np.sin(phase)
    density = strata(rng, s, n_layers=(5, 13), contrast=(0.45, 1.0))
    return cover(rng, density, x, z, probability=0.25, deepest=0.25)


def _sag(rng, n_samples, x, aspect):
    """Floor of a sag basin, in depths: one or two asymmetric depocentres with smooth flanks."""
    floor = 0
    x = np.asarray(x)[None, None, :]
    second = uniform(rng, n_samples, 0.3, 0.9) * chance(rng, n_samples, 0.5)
    for share in (1.0, second):
        offset = x - uniform(rng, n_samples, 0.15, 0.85)
        left, right = uniform(rng, n_samples, 0.2, 0.7), uniform(rng, n_samples, 0.2, 0.7)
        ratio = np.abs(offset) / np.where(offset < 0, left, right)
        # Flanks stay below some 50 degrees.
        deepest = np.minimum(0.85, 1.6 * aspect * np.minimum(left, right))
        deepest = deepest * uniform(rng, n_samples, 0.6, 1.1)
        flank = uniform(rng, n_samples, 1.6, 3.2)
        floor = np.maximum(floor, share * deepest * np.exp(-(ratio**flank)))
    return floor


def _half_graben(rng, n_samples, x, aspect):
    """Floor of one or two half-grabens, in depths: tilted gently toward a steep fault."""
    x = np.asarray(x)[None, None, :]
    x = np.where(chance(rng, n_samples, 0.5), x, 1 - x)
    fault = uniform(rng, n_samples, 0.55, 0.98)
    second = uniform(rng, n_samples, 0.4, 0.9) * chance(rng, n_samples, 0.5)
    floor = 0
    for share in (1.0, second):
        length = uniform(rng, n_samples, 0.45, 1.1)
        tilted = np.tan(np.radians(uniform(rng, n_samples, 15, 36)))
        deepest = share * np.minimum(0.85, tilted * length * aspect)
        ramp = deepest * (1 + (x - fault) / length)
        steep = np.tan(np.radians(uniform(rng, n_samples, 50, 75)))
        scarp = deepest + steep * aspect * (fault - x)
        floor = np.maximum(floor, np.minimum(ramp, scarp))
        fault = fault - length * uniform(rng, n_samples, 0.5, 0.9)
    return floor


def basins(n_samples, x, z, rng, *, aspect=1.0):
    """Sediments, denser with depth by compaction, in a sag basin or half-graben over basement."""
    depth = plane(x, z)[1]
    half_graben = _half_graben(rng, n_samples, x, aspect)
    floor = np.where(chance(rng, n_samples, 0.5), _sag(rng, n_samples, x, aspect), half_graben)
    # Sediments beyond the basin, or basement that crops out (a negative depth).
    floor = np.maximum(floor, 0) + uniform(rng, n_samples, -0.06, 0.15)
    relief = curve(rng, n_samples, x, 12, 0.9)[:, None, :]
    floor = floor + uniform(rng, n_samples, 0.003, 0.02) * relief

    rock = uniform(rng, n_samples, 0.4, 0.97)
    roots = gentle(rng, n_samples, x, z, aspect, steepest=70, relief=0.1)
    roots = strata(rng, roots, n_layers=(1, 6), lightest=(0, 0), contrast=(1, 1))
    uneven = uniform(rng, n_samples, 0, 0.45)
    basement = rock + uneven * (roots - 0.5)

    fresh = rock * uniform(rng, n_samples, 0.05, 0.5)
    firm = fresh + (rock - fresh) * uniform(rng, n_samples, 0.3, 0.95)
    scale = np.exp(uniform(rng, n_samples, np.log(0.1), np.log(1.2)))
    compacted = fresh + (firm - fresh) * -np.expm1(-depth / scale) / -np.expm1(-1 / scale)
    # From onlap (flat beds that end at the floor) to growth (beds that thicken with the basin).
    growth = uniform(rng, n_samples, 0, 1)
    beds = depth / np.maximum(floor, 0.02) ** growth
    beds = strata(rng, np.minimum(beds, 1.2), n_layers=(2, 9), lightest=(0, 0), contrast=(1, 1))
    fill = compacted + uniform(rng, n_samples, 0, 0.5) * (rock - fresh) * (beds - 0.5)
    return np.clip(np.where(depth < floor, fill, basement), 0, 1)
