"""Starts of a refinement: true densities plus smooth errors."""

import numpy as np
from scipy.ndimage import gaussian_filter


def starts(rho, shape, *, level, blur):
    """Return densities with errors of a relative size, smooth over `blur` cells."""
    rng = np.random.default_rng(0)
    error = gaussian_filter(rng.normal(size=(len(rho), *shape)), (0, blur, blur))
    error = error.reshape(len(rho), -1)
    size = np.linalg.norm(rho, axis=1) / np.linalg.norm(error, axis=1)
    return rho + level * size[:, None] * error
