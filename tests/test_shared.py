"""What is made from an operator is made once for all who use it, and forgotten with them."""

import gc
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.operators import shared
from skgrav.operators._shared import _results


class Decomposition:
    """Something that can be referenced weakly."""


MESH = Mesh.square(5)
MATRIX = np.random.default_rng(0).normal(size=(3, 4))


def given(matrix):
    return MatrixOperator(matrix).fit(np.ones((1, 4)))


def test_equal_keys_share_one_result_that_is_forgotten_with_its_last_user():
    operator = ForwardOperator(MESH).fit()
    key = (operator.identity_, "decomposition", 1)
    one = shared(key, Decomposition)
    assert shared((clone(operator).fit().identity_, "decomposition", 1), Decomposition) is one
    assert shared((operator.identity_, "decomposition", 2), Decomposition) is not one
    assert key in _results
    del one
    gc.collect()
    assert key not in _results


@pytest.mark.parametrize(
    "other",
    [
        ForwardOperator(MESH, kernel="point"),
        ForwardOperator(MESH, units="normalized"),
        ForwardOperator(MESH, precision="float32"),
        ForwardOperator(MESH, method="fft"),
        ForwardOperator(MESH, Survey.line(MESH, height=1.0)),
        ForwardOperator(Mesh.square(5, spacing=1.0)),
    ],
)
def test_identity_tells_operators_apart(other):
    operator = ForwardOperator(MESH).fit()
    assert operator.identity_ == clone(operator).fit().identity_
    assert operator.identity_ != other.fit().identity_


def test_identity_of_a_matrix_is_its_entries():
    assert given(MATRIX).identity_ == given(MATRIX.copy()).identity_
    assert given(MATRIX).identity_ != given(2 * MATRIX).identity_
    square = np.arange(4.0).reshape(1, 4)
    assert given(square).identity_ != MatrixOperator(square.T).fit([[1.0]]).identity_


def test_threads_that_ask_for_the_same_wait_and_for_another_do_not():
    key, built, waiting = "the same", [], threading.Barrier(4)

    def build():
        built.append(threading.get_ident())
        # Another key within, as a decomposition asks for the matrix, and one in another thread.
        shared("within", Decomposition)
        time.sleep(0.05)
        return Decomposition()

    def ask(results, key):
        waiting.wait()
        results.append(shared(key, build))

    results, others = [], []
    threads = [threading.Thread(target=ask, args=(results, key)) for _ in range(3)]
    threads.append(threading.Thread(target=ask, args=(others, "another")))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(set(map(id, results))) == 1
    assert others[0] is not results[0]
    assert len(built) == 2


def test_failed_build_is_tried_again():
    def fail():
        raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large"):
        shared("fails", fail)
    assert isinstance(shared("fails", Decomposition), Decomposition)
