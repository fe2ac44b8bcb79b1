"""Draws shared by the geological families: random numbers, smooth curves, stacks of layers.

A section is drawn backwards in time. The geometry maps every cell to its *stratigraphic
coordinate* ``s``, the depth its rock had before it was folded, faulted or dragged; a stack of
layers then gives the density at ``s``. So layers stay continuous through any deformation, and one
method, `Draw.strata`, paints them all.
"""

from dataclasses import dataclass

import numpy as np

from skgrav._typing import Array


@dataclass(frozen=True)
class Draw:
    """Random draws for `n_samples` sections on one grid of cells.

    Numbers of a sample have shape (n_samples, 1, 1) and broadcast over sections, (n_samples, nz,
    nx). The order of the draws decides which sections a seed gives.

    Parameters
    ----------
    rng : Generator
        Source of the random numbers.
    n_samples : int
        Number of sections.
    x : ndarray of shape (1, 1, nx)
        Horizontal cell centres, from 0 to 1 over the section's width.
    depth : ndarray of shape (1, nz, 1)
        Depths of cell centres, from 0 to 1.
    aspect : float
        True width of the section over its depth.
    cell : float
        Largest width of a cell relative to that of the section.
    """

    rng: np.random.Generator
    n_samples: int
    x: Array
    depth: Array
    aspect: float
    cell: float

    @property
    def across(self):
        """Horizontal distance from the middle, in units of the section's depth."""
        return (self.x - 0.5) * self.aspect

    def around(self, where, width=None):
        """Return the distances from the axis of a body, across and along it, in units of the depth.

        A section is infinitely long: the second is zero. `width` is another width of the section.
        """
        width = self.aspect if width is None else width
        return (self.x - 0.5) * width - where, 0.0

    def direction(self, length):
        """Draw a step of given length: across, along and down."""
        angle = self.uniform(0, 2 * np.pi)
        return length * np.cos(angle), 0.0, length * np.sin(angle)

    def oblique(self, angle):
        """Draw how far a structure turned by up to an angle, in degrees, is shifted across."""
        return 0.0

    def fading(self):
        """Draw the share of a structure that is left along its strike."""
        return 1.0

    def uniform(self, low, high):
        """Draw a number per sample."""
        return self.rng.uniform(low, high, (self.n_samples, 1, 1))

    def log_uniform(self, low, high):
        """Draw a number per sample, log-uniform."""
        return np.exp(self.uniform(np.log(low), np.log(high)))

    def chance(self, probability):
        """Draw a boolean per sample, true with the given probability."""
        return self.rng.random((self.n_samples, 1, 1)) < probability

    def sign(self):
        """Draw -1.0 or 1.0 per sample."""
        return np.where(self.chance(0.5), 1.0, -1.0)

    def slots(self, n):
        """Draw an order of `n` places per sample, (n_samples, n, 1, 1), to spread bodies out."""
        return self.rng.permuted(np.tile(np.arange(n), (self.n_samples, 1)), axis=1)[
            ..., None, None
        ]

    def along_x(self, n_modes=6, decay=1.5):
        """Draw smooth curves over the width, (n_samples, 1, nx)."""
        return self._curve(self.x, n_modes, decay)[:, None, :]

    def along_z(self, n_modes=6, decay=1.5):
        """Draw smooth curves over the depth, (n_samples, nz, 1)."""
        return self._curve(self.depth, n_modes, decay)[:, :, None]

    def _curve(self, t, n_modes, decay):
        """Draw smooth random curves over `t` in [0, 1], of zero mean and unit variance.

        Cosines of random phase with half-periods per width up to `n_modes`: they don't repeat
        within the section, and do not depend on the cells.
        """
        modes = np.arange(1, n_modes + 1)
        weights = modes**-decay
        weights *= np.sqrt(2 / np.sum(weights**2))
        phases = self.rng.uniform(0, 2 * np.pi, (self.n_samples, n_modes, 1))
        weights = weights * self.rng.uniform(0.5, 1.3, (self.n_samples, n_modes))
        waves = np.cos(np.pi * modes[:, None] * t.ravel() + phases)
        return np.einsum("nm,nmx->nx", weights, waves)

    def tilt(self, steepest, shallowest=0.0):
        """Draw slopes, of either sign, from dips in degrees; wide sections get gentler ones.

        Their relief over the width is bounded, too: in a section much wider than deep, a tilt that
        looks quiet on a square one would carry every layer from the bottom to the top.
        """
        steepest = min(steepest, np.degrees(np.arctan(0.04 * steepest / self.aspect)))
        dip = self.uniform(min(shallowest, 0.5 * steepest), steepest)
        return self.sign() * np.tan(np.radians(dip))

    def gentle(self, steepest=15.0, relief=0.05):
        """Draw the coordinate of quiet layers: a slight tilt, in degrees, and a slight waviness."""
        slope, waves = self.tilt(steepest), self.along_x()
        return self.depth - slope * self.across + relief * self.uniform(0, 1) * waves

    def _stack(self, n_layers, lightest, contrast):
        """Draw interfaces in (0, 1), densities and their gradients, each (n_samples, layers)."""
        rng, n_samples = self.rng, self.n_samples
        low, high = n_layers
        count = rng.integers(low, high + 1, (n_samples, 1))
        layer = np.arange(high)
        # From stacks of similar beds (shape 6) to a few thick units among thin ones (shape 0.7).
        shape = np.exp(rng.uniform(np.log(0.7), np.log(6), (n_samples, 1)))
        thickness = rng.gamma(shape, 1 / shape, (n_samples, high)) + 0.12
        thickness[layer >= count] = 0
        bottom = np.cumsum(thickness, axis=1)
        bottom /= bottom[:, -1:]

        trend = bottom ** np.exp(rng.uniform(-0.7, 0.7, (n_samples, 1)))
        # Scatter about the growth of density with depth; it makes inversions of density.
        scatter = rng.uniform(0.03, 0.5, (n_samples, 1))
        raw = trend + scatter * rng.standard_normal((n_samples, high))
        present = layer < count
        least = np.min(raw, axis=1, where=present, initial=np.inf, keepdims=True)
        most = np.max(raw, axis=1, where=present, initial=-np.inf, keepdims=True)
        base = rng.uniform(lightest[0], lightest[1], (n_samples, 1))
        span = (1 - base) * rng.uniform(contrast[0], contrast[1], (n_samples, 1))
        # A single layer has no contrast: it takes any density of the span.
        single = rng.uniform(0, 1, (n_samples, 1))
        scaled = np.divide(raw - least, most - least, out=np.zeros_like(raw), where=most > least)
        density = base + span * np.where(count > 1, scaled, single)

        graded = rng.random((n_samples, 1)) < 0.45
        gradient = graded * span * rng.uniform(0, 1.2, (n_samples, high))
        return bottom, density, gradient

    def strata(self, s, *, n_layers=(3, 12), lightest=(0.03, 0.4), contrast=(0.35, 1.0)):
        """Paint a random stack of layers, one per sample, over the stratigraphic coordinate.

        Parameters
        ----------
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
        bottom, density, gradient = self._stack(n_layers, lightest, contrast)
        flat = s.reshape(self.n_samples, -1)
        top = flat.min(axis=1, keepdims=True)
        t = (flat - top) / np.maximum(flat.max(axis=1, keepdims=True) - top, 1e-12)
        layer = np.zeros(t.shape, dtype=np.int8)  # an eighth of the memory of indices
        for k in range(bottom.shape[1] - 1):
            layer += t > bottom[:, k : k + 1]
        place = layer + bottom.shape[1] * np.arange(self.n_samples)[:, None]
        # Compaction within a layer: density grows about the layer's middle.
        middle = bottom - 0.5 * np.diff(bottom, axis=1, prepend=0)
        at_top = density - gradient * middle
        t *= gradient.take(place)
        t += at_top.take(place)
        return np.clip(t, 0, 1, out=t).reshape(s.shape)

    def host(self, **stack):
        """Draw the density of country rock around bodies, in quiet layers, and its coordinate."""
        s = self.gentle()
        return self.strata(s, **({"n_layers": (1, 8)} | stack)), s

    def cover(self, density, probability, deepest=0.35):
        """Lay younger, lighter, flat layers over an eroded surface, in some of the samples."""
        base = self.uniform(0.06, deepest)
        relief = self.uniform(0, 0.25) * base
        base = base + relief * self.along_x()
        base = np.where(self.chance(probability), base, 0)
        s = np.broadcast_to(np.minimum(self.depth, deepest), density.shape)
        young = self.strata(s, n_layers=(1, 4), lightest=(0.02, 0.25), contrast=(0.1, 0.5))
        return np.where(self.depth < base, young, density)

    def contrasting(self, background, weakest=0.25, dense=None):
        """Draw the density of a body that contrasts with its background.

        `dense` decides whether it is denser or lighter, or chance in proportion to the room above
        and below the background; the contrast is at least the share `weakest` of this room.
        """
        if dense is None:
            dense = self.rng.random(background.shape) > background
        share = self.uniform(weakest, 0.98)
        return np.where(dense, background + share * (1 - background), background * (1 - share))


@dataclass(frozen=True)
class VolumeDraw(Draw):
    """Random draws for volumes, by the same families: their horizontal axes are one, flattened.

    The structure of each sample strikes in a random direction, along which it bends, fades and
    ends. `x` and `across` are measured across the strike.

    Parameters
    ----------
    x : ndarray of shape (n_samples, 1, ny * nx)
        Distance across the strike, 0.5 in the middle, 1 over the mean width of the volume.
    along : ndarray of shape (n_samples, 1, ny * nx)
        Distance along the strike from the middle, in units of the depth.
    plan : ndarray of shape (2, ny * nx)
        Horizontal cell centres, from 0 to 1 over the larger width.
    """

    along: Array
    plan: Array

    @classmethod
    def on(cls, rng, n_samples, depth, x, y, aspect, cell):
        """Draw the strikes; `x` and `y` are cell centres in units of the depth, from the middle."""
        strike = rng.uniform(0, np.pi, (n_samples, 1, 1))
        north, east = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
        across = np.cos(strike) * east + np.sin(strike) * north
        along = np.cos(strike) * north - np.sin(strike) * east
        # A gentle bend, within which structures turn by up to some 30 degrees.
        wavelength = aspect * rng.uniform(0.8, 2.5, (n_samples, 1, 1))
        height = rng.uniform(0, 0.08, (n_samples, 1, 1)) * wavelength
        phase = rng.uniform(0, 2 * np.pi, (n_samples, 1, 1))
        across = across + height * np.sin(2 * np.pi * along / wavelength + phase)
        largest = max(np.ptp(north), np.ptp(east)) or 1.0
        plan = np.stack([north, east]) / largest + 0.5
        return cls(rng, n_samples, across / aspect + 0.5, depth, aspect, cell, along, plan)

    def around(self, where, width=None):
        across, _ = super().around(where, width)
        stretch = (self.aspect if width is None else width) / self.aspect
        beside = stretch * (self.along - self.uniform(-0.4, 0.4) * self.aspect)
        angle, longer = np.radians(self.uniform(-90, 90)), self.log_uniform(0.8, 2.5)
        turned = np.cos(angle) * across + np.sin(angle) * beside
        return turned, (np.cos(angle) * beside - np.sin(angle) * across) / longer

    def direction(self, length):
        down = self.uniform(-1, 1)
        angle, level = self.uniform(0, 2 * np.pi), np.sqrt(1 - down**2)
        return length * level * np.cos(angle), length * level * np.sin(angle), length * down

    def oblique(self, angle):
        return np.tan(np.radians(self.uniform(-angle, angle))) * self.along

    def fading(self):
        middle, half = self.uniform(-0.3, 0.3), self.log_uniform(0.25, 2.0)
        return np.exp(-(((self.along / self.aspect - middle) / half) ** 4))

    def along_x(self, n_modes=6, decay=1.5):
        """Draw smooth fields over the plan, (n_samples, 1, ny * nx)."""
        modes = np.arange(1, n_modes + 1)
        weights = modes**-decay
        weights *= np.sqrt(2 / np.sum(weights**2))
        field = 0.0
        for mode, weight in zip(modes, weights, strict=True):
            angle, phase = self.uniform(0, 2 * np.pi), self.uniform(0, 2 * np.pi)
            place = np.cos(angle) * self.plan[0] + np.sin(angle) * self.plan[1]
            wave = np.cos(np.pi * mode * place + phase)
            field = field + weight * self.uniform(0.5, 1.3) * wave
        return field
