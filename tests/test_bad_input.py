"""Every public callable, fed what it should not be: an answer, or an error that names the argument.

A table of all outcomes stands in the test report with ``-v``, and its sums always.
"""

import re

import pytest
from bad_kinds import KINDS, SAME, outcome
from numpydoc.docscrape import NumpyDocString
from public_calls import CALLS
from test_docstrings import METHODS, OBJECTS, is_exception, resolved

#: Arrays are their attributes: they hold what the library found, and compute nothing.
RECORDS = {
    "geometry.ProjectedLine",
    "inverters.AlphaCurve",
    "inverters.LatentResult",
    "inverters.RegularizedResult",
    "inverters.ReliefResult",
    "inverters.Resolution",
    "metrics.RankHistogram",
    "noise.Trend",
    "operators.OperatorPlan",
    "operators.SVD",
    "plotting.LCurveDisplay",
    "solvers.SolverResult",
}

#: Their methods are tested where they are inherited.
BASES = {"generators.DensityGenerator", "inverters.InverterMixin", "solvers.Solver"}

#: Skorch calls their methods, with what the library has made.
HOOKS = {"training.SharedTraining"}

#: They take what an estimator, or another method of the same object, has checked, or refuse all.
CHECKED = (
    r"noise\.Whitening|noise\.Noise\.(rms|comparable|relative|scale|scale_or|chi_factor|estimated|missing)\("
    r"|noise\.Noise\.(of\(source|trend\(spread)|solvers\.\w+\.solve_whitened"
    r"|inverters\.SparseInverter\.resolution"
)


def array_arguments():
    """Give the array arguments of all public callables, by their docstrings."""
    for dotted in (*OBJECTS, *METHODS):
        name = dotted.removeprefix("skgrav.")
        if is_exception(dotted) or name in RECORDS or name.startswith((*BASES, *HOOKS)):
            continue
        for parameter in NumpyDocString(resolved(dotted).__doc__)["Parameters"]:
            numbers = re.search(r"array|Tensor|of two floats", parameter.type)
            if numbers and not re.search(r"(array-like|sequence) of str|Axes", parameter.type):
                arguments = [f"{name}({argument})" for argument in parameter.name.split(", ")]
                yield from (a for a in arguments if not re.match(CHECKED, a))


def test_every_array_argument_is_tested():
    tested = {re.sub(r" \w+(?=\.|\()", "", str(call)) for call in CALLS}
    missing = sorted(set(array_arguments()) - tested)
    assert missing == [], "add a good call to tests/public_calls.py"


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_good_input_is_answered(call):
    if not call.tensor:
        assert call.good_answer


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_bad_input_is_answered_or_refused_by_name(call, record_property):
    outcomes = {kind: outcome(call, kind) for kind in KINDS}
    record_property("bad input", (str(call), outcomes))
    assert {k: v for k, v in outcomes.items() if v.startswith("DEFECT")} == {}


def test_equal_content_is_answered_in_any_container():
    call = next(c for c in CALLS if str(c) == "operators.ForwardOperator dense.transform(X)")
    assert {outcome(call, kind) for kind in SAME} == {"answer"}
