"""Density models that can be sampled, encoded and decoded; they need torch."""

from skgrav.generators._base import DensityGenerator
from skgrav.generators._gan import GANGenerator
from skgrav.generators._vae import VAEGenerator

__all__ = ["DensityGenerator", "GANGenerator", "VAEGenerator"]
