"""Pipelines that also take estimators without names as steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn import pipeline as _pipeline

from skgrav.io import SavedMixin, saved

__all__ = ["Pipeline", "make_pipeline"]


@saved
class Pipeline(SavedMixin, _pipeline.Pipeline):
    """Scikit-learn's Pipeline, with steps that need no names, and `save` and `load`.

    Steps without names are named as by `make_pipeline`, by their class in lower case:
    ``refiner__solver`` is a parameter.

    Parameters
    ----------
    steps : list of estimators or of (name, estimator) tuples
        Steps that are chained in order.
    transform_input : list of str, default=None
        As in scikit-learn's Pipeline.
    memory : str or object with the joblib.Memory interface, default=None
        As in scikit-learn's Pipeline.
    verbose : bool, default=False
        As in scikit-learn's Pipeline.

    See Also
    --------
    sklearn.pipeline.Pipeline : The base class, with all methods.

    Examples
    --------
    >>> from skgrav import CNNInverter, Refiner
    >>> from skgrav.pipeline import Pipeline
    >>> list(Pipeline([CNNInverter(), Refiner("lgmres")]).named_steps)
    ['cnninverter', 'refiner']
    """

    def __init__(
        self,
        steps: Sequence[Any],
        *,
        transform_input: list[str] | None = None,
        memory: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            _named(steps), transform_input=transform_input, memory=memory, verbose=verbose
        )


def make_pipeline(
    *steps: Any, memory: Any = None, transform_input: list[str] | None = None, verbose: bool = False
) -> Pipeline:
    """Chain estimators, named by their class in lower case.

    Parameters
    ----------
    *steps : estimators
        Steps that are chained in order.
    memory : str or object with the joblib.Memory interface, default=None
        As in scikit-learn's Pipeline.
    transform_input : list of str, default=None
        As in scikit-learn's Pipeline.
    verbose : bool, default=False
        As in scikit-learn's Pipeline.

    Returns
    -------
    pipeline : Pipeline
        The pipeline.

    See Also
    --------
    Pipeline : The class.

    Examples
    --------
    >>> from skgrav import Refiner
    >>> from skgrav.pipeline import make_pipeline
    >>> make_pipeline(Refiner("cgls", init="zero")).steps[0][0]
    'refiner'
    """
    return Pipeline(list(steps), memory=memory, transform_input=transform_input, verbose=verbose)


def _named(steps: Sequence[Any]) -> Any:
    """Name bare steps; return a list whose steps all have names unchanged, for `clone`."""
    bare = [step for step in steps if not isinstance(step, tuple)]
    if not bare:
        return steps
    named = iter(_pipeline.make_pipeline(*bare).steps)
    return [step if isinstance(step, tuple) else next(named) for step in steps]
