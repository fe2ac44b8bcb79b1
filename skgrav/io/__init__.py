"""Files of fitted estimators, tables of stations, topography, and the formats of UBC-GIF.

Estimators are saved as safetensors with a JSON header: numbers and text, no code.
"""

from skgrav.io._container import checked_path, file_path
from skgrav.io._estimators import SavedMixin
from skgrav.io._fields import FEATURES, Estimator, Field, Precision, Weights, sized
from skgrav.io._registry import saved
from skgrav.io._table import Table, open_table
from skgrav.io._tables import read_stations, read_table, stations_of, upward
from skgrav.io._topography import read_topography
from skgrav.io._ubc_mesh import read_ubc_mesh, write_ubc_mesh
from skgrav.io._ubc_model import (
    read_ubc_active,
    read_ubc_model,
    write_ubc_active,
    write_ubc_model,
)
from skgrav.io._ubc_survey import read_ubc_survey, write_ubc_survey

__all__ = [
    "Field",
    "SavedMixin",
    "read_stations",
    "read_table",
    "read_topography",
    "read_ubc_active",
    "read_ubc_mesh",
    "read_ubc_model",
    "read_ubc_survey",
    "saved",
    "write_ubc_active",
    "write_ubc_mesh",
    "write_ubc_model",
    "write_ubc_survey",
]
