"""Files of other programs: UBC-GIF's meshes, densities and stations."""

from skgrav.io._ubc_mesh import (
    read_ubc_mesh,
    read_ubc_model,
    write_ubc_mesh,
    write_ubc_model,
)
from skgrav.io._ubc_survey import read_ubc_survey, write_ubc_survey

__all__ = [
    "read_ubc_mesh",
    "read_ubc_model",
    "read_ubc_survey",
    "write_ubc_mesh",
    "write_ubc_model",
    "write_ubc_survey",
]
