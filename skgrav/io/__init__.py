"""Files of other programs: tables of stations, UBC-GIF's meshes, densities and stations."""

from skgrav.io._tables import Table, read_stations, read_table
from skgrav.io._ubc_mesh import (
    read_ubc_mesh,
    read_ubc_model,
    write_ubc_mesh,
    write_ubc_model,
)
from skgrav.io._ubc_survey import read_ubc_survey, write_ubc_survey
from skgrav.io._writing import checked_path

__all__ = [
    "read_stations",
    "read_ubc_mesh",
    "read_ubc_model",
    "read_ubc_survey",
    "write_ubc_mesh",
    "write_ubc_model",
    "write_ubc_survey",
]
