"""Saving and loading, as methods of estimators."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from sklearn.utils.validation import check_is_fitted

from skgrav._files._container import (
    FIRST_FORMAT,
    MALFORMED,
    damaged,
    read_file,
    write_file,
)
from skgrav._files._registry import kind_named
from skgrav._files._tree import PRECISIONS, Reader, UnknownContentError, Writer, only_known


class SavedMixin:
    """Mixin of estimators that are kept in files without code.

    See Also
    --------
    skgrav.CNNInverter, skgrav.VAEGenerator, skgrav.Pipeline : Estimators with it.

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
        dtype: Literal["float64", "float32", "float16"] = "float64",
    ) -> None:
        """Write the fitted estimator to a file, with all that it was fitted with.

        The file holds numbers and text alone (safetensors): no code and no training data. What
        belongs to a machine or to training alone is left out: `device`, `callbacks`, `checkpoint`,
        `memory`.

        Parameters
        ----------
        path : str or path-like
            The file. It is replaced when all is written, and stays as it is if that fails.
        dtype : {"float64", "float32", "float16"}, default="float64"
            Most exact numbers of networks and their components. ``"float64"`` keeps all numbers as
            they are, and so the estimates to the last digit; with ``"float32"`` they change by
            about 1e-6 of their size. ``"float16"`` halves the weights, and changes estimates by
            about a thousandth.

        Raises
        ------
        ValueError
            If `dtype` is another or cannot hold the weights, or the estimator holds what files do
            not: functions, modules or estimators of your own.
        """
        if dtype not in PRECISIONS:
            raise ValueError(
                f"'dtype' is {dtype!r}; allowed are 'float64', 'float32' and 'float16'."
            )
        check_is_fitted(self)
        import skgrav

        writer = Writer(dtype)
        header = {"skgrav": skgrav.__version__, "estimator": writer.node(self, "")}
        write_file(Path(path), header, writer.tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> Self:
        """Read a fitted estimator from a file that `save` has written.

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
            If the file is damaged, foreign, of another class, or holds what this version of
            skgrav does not know.
        """
        path = Path(path)
        header, tensors = read_file(path)
        try:
            if header["format"] == FIRST_FORMAT:
                _check_class(cls, path, "CNNInverter")
                return cls._of_first_layout(header, tensors, device)  # type: ignore[attr-defined]
            only_known(header, {"format", "version", "skgrav", "estimator"}, "the header")
            _check_class(cls, path, header["estimator"]["object"])
            return Reader(tensors, device).whole(header["estimator"], cls)
        except UnknownContentError as error:
            raise ValueError(
                f"{path} holds {error}, which skgrav {_version()} does not know. It was written by "
                f"skgrav {header.get('skgrav')}: update skgrav, or do not trust the file."
            ) from error
        except _OtherClassError:
            raise
        except MALFORMED as error:
            raise ValueError(damaged(path, error)) from error


class _OtherClassError(ValueError):
    """A sound file holds another estimator than the one it was asked for."""


def _check_class(cls: type, path: Path, name: Any) -> None:
    kind = kind_named(name)
    if kind is None:
        raise UnknownContentError(f"the class {name!r}")
    if not (issubclass(cls, kind.cls) or issubclass(kind.cls, cls)):
        remedy = f"; read it by {name}.load" if issubclass(kind.cls, SavedMixin) else ""
        raise _OtherClassError(f"{path} holds a {name}, not a {cls.__name__}{remedy}.")


def _version() -> str:
    import skgrav

    return skgrav.__version__
