"""Torch modules, and the training that the inverters and generators share.

Processes forked after this import compute in one thread: torch would wait forever for others.
"""

from skgrav.networks._consistency import DataConsistency
from skgrav.networks._distributed import SharedTraining
from skgrav.networks._paper import PaperCNN
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
    "SharedTraining",
]
