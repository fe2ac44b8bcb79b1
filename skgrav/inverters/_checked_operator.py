"""The operator of an inverter, checked against training pairs that may exceed the memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav.inverters._encoding import Numbers
from skgrav.inverters._rows import Rows
from skgrav.operators import N_CHECKED, BaseOperator, MatrixOperator, resolve_operator

#: Pairs from which an operator is found.
_N_PHYSICS_PAIRS = 6000


def checked_operator(
    X: Numbers, y: Numbers, operator: BaseOperator | None, **options: Any
) -> BaseOperator:
    """Return the operator, checked against some of the pairs, with options of `resolve_operator`.

    Only those pairs are read that are compared; a matrix that is learned may need them all.
    """
    if isinstance(operator, MatrixOperator) and operator.matrix is None:
        n_pairs = len(y)
    else:
        n_pairs = min(len(y), _N_PHYSICS_PAIRS if operator is None else N_CHECKED)
    pairs = np.linspace(0, len(y) - 1, n_pairs).astype(np.intp)
    return resolve_operator(operator, Rows(y)[pairs], Rows(X)[pairs], **options)
