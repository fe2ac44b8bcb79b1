"""Torch modules of the estimators, and their weights as arrays."""

from skgrav.networks._averaging import AveragedWeights
from skgrav.networks._checks import check_tensor
from skgrav.networks._codes import FILL
from skgrav.networks._consistency import DataConsistency, fast_physics
from skgrav.networks._images import ImageFrame, ImageNetwork
from skgrav.networks._losses import RelativeLoss
from skgrav.networks._mixtures import INITIAL, CellMixtures
from skgrav.networks._paper import DensityLoss, PaperCNN
from skgrav.networks._paper_generators import (
    PaperDecoder,
    PaperDiscriminator,
    PaperEncoder,
    PaperGenerator,
)
from skgrav.networks._residual import NullSpaceNetwork, ResidualMLP
from skgrav.networks._sections import (
    SectionCritic,
    SectionDecoder,
    SectionEncoder,
    SectionGenerator,
)
from skgrav.networks._settings import has_bfloat16, own_settings, resolve_device, with_own_settings
from skgrav.networks._unet import UNet
from skgrav.networks._weights import check_weights, least_precision, put_weights, weights_of

__all__ = [
    "DataConsistency",
    "NullSpaceNetwork",
    "PaperCNN",
    "PaperDecoder",
    "PaperDiscriminator",
    "PaperEncoder",
    "PaperGenerator",
    "ResidualMLP",
    "SectionCritic",
    "SectionDecoder",
    "SectionEncoder",
    "SectionGenerator",
    "UNet",
]
