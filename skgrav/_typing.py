"""Types of arrays: float64 outside networks, float32 inside."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
