"""Density sections, pairs of gravity and density, and measured data."""

from skgrav.datasets._block import fetch_block_halfspace
from skgrav.datasets._bushveld import fetch_bushveld
from skgrav.datasets._crust import make_margin_models
from skgrav.datasets._download import get_data_home
from skgrav.datasets._families import DEFAULTS
from skgrav.datasets._gravity import make_gravity_dataset
from skgrav.datasets._huang import fetch_huang2021
from skgrav.datasets._laguna import fetch_laguna_del_maule
from skgrav.datasets._models import make_density_models
from skgrav.datasets._negahdari import fetch_negahdari2025
from skgrav.datasets._pelotas import fetch_pelotas_profile, pelotas_section
from skgrav.datasets._two_bodies import fetch_two_bodies
from skgrav.io import (
    read_ubc_mesh,
    read_ubc_model,
    read_ubc_survey,
    write_ubc_mesh,
    write_ubc_model,
    write_ubc_survey,
)

__all__ = [
    "fetch_block_halfspace",
    "fetch_bushveld",
    "fetch_huang2021",
    "fetch_laguna_del_maule",
    "fetch_negahdari2025",
    "fetch_pelotas_profile",
    "fetch_two_bodies",
    "get_data_home",
    "make_density_models",
    "make_gravity_dataset",
    "make_margin_models",
    "pelotas_section",
]
