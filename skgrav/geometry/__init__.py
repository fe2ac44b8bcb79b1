"""Tensor meshes and surveys, immutable value objects."""

from skgrav.geometry._core import core_of, cut_to
from skgrav.geometry._lines import ProjectedLine, project_onto_line
from skgrav.geometry._mesh import Mesh
from skgrav.geometry._stations import PROJECTION, degrees
from skgrav.geometry._survey import Survey
from skgrav.geometry._topography import ground_of, in_cells
from skgrav.geometry._units import UNIT_SIZES, unit_name, unit_size
from skgrav.geometry._values import AXES, COMPONENTS, component_unit

__all__ = ["AXES", "Mesh", "ProjectedLine", "Survey", "project_onto_line"]
