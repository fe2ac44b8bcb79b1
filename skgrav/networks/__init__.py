"""Torch modules, and the training that the inverters share."""

from skgrav.networks._paper import PaperCNN

__all__ = ["PaperCNN"]
