"""Methods of estimators that save and load them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from skgrav.io._container import MALFORMED, damaged, file_path, read_file, write_file
from skgrav.io._fields import Precision
from skgrav.io._registry import kind_named
from skgrav.io._tree import (
    PRECISIONS,
    Reader,
    UnknownContentError,
    Writer,
    only_known,
    unknown_class,
)


class SavedMixin:
    """Mixin for estimators with `save` and `load`: files of numbers and text, without code.

    The decorator `saved` registers the class, whose ``_file_fields`` list the fitted attributes.

    See Also
    --------
    saved : The decorator, with an estimator that can be saved.
    skgrav.CNNInverter, skgrav.VAEGenerator, skgrav.Pipeline : Estimators with this mixin.

    Examples
    --------
    >>> from skgrav import CNNInverter
    >>> callable(CNNInverter.save) and callable(CNNInverter.load)
    True
    """

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        dtype: Precision = "float64",
    ) -> None:
        """Write the fitted estimator to a file.

        The file contains numbers and text (safetensors), but no code. It contains training data
        only if predictions need them, as the library of `AnalogueInverter` and the analogues of
        `CNNInverter`.
        Parameters that belong to a machine or to training are left out: `device`, `callbacks`,
        `checkpoint`, `memory`.

        Parameters
        ----------
        path : str or path-like
            The file, in a folder that exists. An existing file is replaced once the new one is
            complete.
        dtype : {"float64", "float32", "float16"}, default="float64"
            Highest precision of the weights of networks and of principal components. ``"float64"``
            keeps all numbers, and so the estimates, to the last digit; ``"float32"`` changes
            estimates by about 1e-6 of their size, ``"float16"`` by about a thousandth.

        Raises
        ------
        ValueError
            If `dtype` is unknown or too small for the weights, or if the estimator contains a
            function, a module or an object whose class is not registered by `saved`.
        OSError
            If the file cannot be written.
        """
        if str(dtype) not in PRECISIONS:
            raise ValueError(
                f"'dtype' is {dtype!r}; allowed are 'float64', 'float32' and 'float16'."
            )
        check_is_fitted(self)
        writer = Writer(dtype)
        header = {"skgrav": _version(), "estimator": writer.node(self, "")}
        write_file(file_path(path), header, writer.tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> Self:
        """Read a fitted estimator from a file written by `save`.

        Parameters
        ----------
        path : str or path-like
            The file. Nothing in it is executed.
        device : str, default="auto"
            Torch device of the networks, as in their constructors.

        Returns
        -------
        estimator : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the file is damaged, of another program or class, or contains a class or a parameter
            that this version of skgrav does not know.
        OSError
            If there is no such file.
        """
        path = file_path(path)
        header, tensors = read_file(path)
        try:
            only_known(header, {"format", "version", "skgrav", "estimator"}, "the header")
            _check_class(cls, path, header["estimator"]["object"])
            return Reader(tensors, device).whole(header["estimator"], cls)
        except UnknownContentError as error:
            raise ValueError(
                f"{path} holds {error}, which skgrav {_version()} does not know. It was written by "
                f"skgrav {header.get('skgrav')}: {error.remedy}, or do not trust the file."
            ) from error
        except _OtherClassError:
            raise
        except MALFORMED as error:
            raise ValueError(damaged(path, error)) from error


class _OtherClassError(ValueError):
    """The estimator in a file is of another class."""


def _check_class(cls: type, path: Path, name: Any) -> None:
    kind = kind_named(name)
    if kind is None:
        raise unknown_class(name)
    if not (issubclass(cls, kind.cls) or issubclass(kind.cls, cls)):
        remedy = f"; read it by {name}.load" if issubclass(kind.cls, SavedMixin) else ""
        raise _OtherClassError(f"{path} holds a {name}, not a {cls.__name__}{remedy}.")


def _version() -> str:
    import skgrav

    return skgrav.__version__
