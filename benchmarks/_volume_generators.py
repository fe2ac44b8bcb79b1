"""Inversion of sparse bodies in 3D within principal components and a VAE, the paper's way.

Seeds, epochs and sizes are fixed. Of `fetch_huang2021("train")`, all 20,000 volumes train the
generators; prior and errors are learned from 10,000 of them.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator

from skgrav import LatentInverter, VAEGenerator

#: Length of a code, of both generators.
N_COMPONENTS = 160

#: Passes of the VAE over the 20,000 volumes, about four minutes on one core.
EPOCHS = 5

#: Training pairs from which prior and errors are learned.
N_PAIRS = 10_000


def by_components(data):
    """Return the inverter within principal components, in closed form."""
    generator = PCA(N_COMPONENTS, random_state=0).fit(data.density())
    return _within(generator, data)


def by_vae(data):
    """Return the inverter within a VAE, by Gauss-Newton."""
    vae = VAEGenerator(N_COMPONENTS, mesh=data.mesh, max_epochs=EPOCHS, random_state=0)
    return _within(vae.fit(data.density()), data)


def _within(generator, data):
    inverter = LatentInverter(
        FrozenEstimator(generator), operator=data.operator, noise_level=0.0, random_state=0
    )
    return inverter.fit(data.data[:N_PAIRS], data.density(slice(0, N_PAIRS)))


def estimate(inverter, g, sigma, bounds=(0.0, 1000.0)):
    """Return densities of data with noise of the standard deviations `sigma`, one a sample.

    What lies beyond the densities of the bodies is cut off.
    """
    level = np.asarray(sigma) / np.sqrt(np.mean(g**2, axis=1))
    return np.clip(inverter.predict(g, noise_level=level), *bounds)
