"""Checkpoints: the whole state of a training in a file, to resume it in another process."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import distributed

from skgrav._warnings import warn
from skgrav.training._fingerprint import alike, differences, parameters, sketch, weights_hash

#: Version of the file layout.
_LAYOUT = 1

#: Name of the seed in the description of a training.
_SEED = "the seed of 'random_state'"

#: Writing takes at most one part in `_SHARE` of the time.
_SHARE = 20


class Checkpoint(Callback):
    """Callback that writes the whole state of a training to a directory, and resumes from it.

    It must be the last callback of a net, after the others have changed their state. It keeps the
    states of callbacks with `state_dict` and `load_state_dict`, and of pairs drawn for each epoch.

    Parameters
    ----------
    estimator : BaseEstimator
        The estimator in training; its parameter `checkpoint` is the directory.
    seed : int
        Seed of the training.
    fresh : bool, default=True
        Whether the initial weights follow from the seed and the pairs.

    Attributes
    ----------
    seed : int
        Seed of the training, from the checkpoint if the estimator has no `random_state`.

    Raises
    ------
    ValueError
        If the directory contains another training or a damaged file.
    OSError
        If the directory is not writable.
    """

    def __init__(self, estimator: BaseEstimator, seed: int, *, fresh: bool = True) -> None:
        from skgrav import __version__

        self.directory = Path(estimator.checkpoint)
        self.path = self.directory / "training.pt"
        self.unfinished = self.directory / "training.pt.part"
        # Processes that share a training end each epoch together: one of them writes.
        together = distributed.is_available() and distributed.is_initialized()
        self.writes = not together or distributed.get_rank() == 0
        self.fresh = fresh
        if self.writes:
            self._try_writing()
        self._found = self._read()
        if self._found is not None and estimator.random_state is None:
            seed = self._found["kind"][_SEED]
        self.seed = seed
        kind = {
            "the version of skgrav": __version__,
            "the version of torch": torch.__version__.partition("+")[0],
            "the estimator": type(estimator).__qualname__,
            _SEED: seed,
            **{f"{name!r}": value for name, value in parameters(estimator).items()},
        }
        # Through JSON, as the description read from the file.
        self.kind = json.loads(json.dumps(kind))
        self.data: dict[str, list[list[float]]] = {}
        self._refuse_others()

    def check_data(self, **arrays: Any) -> None:
        """Note the data; raise ValueError if they differ from the checkpoint."""
        for name, array in arrays.items():
            self.kind[f"the shape of {name}"] = list(array.shape)
            self.data[name] = sketch(array)
        self._refuse_others()

    def resume(self, net: NeuralNetRegressor, X: Any, y: Any) -> int:
        """Load the checkpoint, if any, into a net and return the number of epochs done.

        The states of callbacks and random generators are restored when training begins.
        """
        self.kind["the device"] = torch.device(net.device).type
        # Fresh weights follow from the rest up to the rounding of the machine.
        self.kind["the weights to start from"] = None if self.fresh else weights_hash(net.module_)
        # Signs of principal components in the encoding may differ between machines.
        self.data["the encoded inputs"] = sketch(X, 1)
        self.data["the encoded targets"] = sketch(y, 1)
        self._refuse_others()
        self.n_done_, self.n_written_, self._failing, self._next = 0, 0, False, 0.0
        if self._found is None:
            return 0
        net.module_.load_state_dict(self._found["module"])
        net.optimizer_.load_state_dict(self._found["optimizer"])
        net.history_ = type(net.history)(json.loads(self._found["history"]))
        self.n_done_ = self.n_written_ = self._found["n_done"]
        return self.n_done_

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        found, self._found = self._found, None
        if found is None:
            return
        for name, callback in net.callbacks_:
            if state := found["callbacks"].get(name):
                _load(callback, state)
        if found["later_pairs"] is not None:
            net.run_.later_pairs.load_state_dict(found["later_pairs"])
        torch.set_rng_state(found["random"])
        for state in found["random_cuda"]:
            torch.cuda.set_rng_state(state, net.device)

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        if net.stopped_by_ is not None:  # the training is complete
            return
        self.n_done_ += 1
        if not self.writes or time.monotonic() < self._next:
            return
        start = time.monotonic()
        content = self._content(net)
        try:
            self._write(content)
        except OSError as error:
            if not self._failing:
                self._failing = True
                last = f"epoch {self.n_written_} is kept" if self.n_written_ else "none exists yet"
                warn(
                    f"the checkpoint of epoch {self.n_done_} cannot be written to {self.path}: "
                    f"{_reason(error)}; {last}. Training continues and tries again.",
                    RuntimeWarning,
                )
        else:
            self.n_written_, self._failing = self.n_done_, False
        self._next = time.monotonic() + (_SHARE - 1) * (time.monotonic() - start)

    def remove(self) -> None:
        """Remove the file of a training that has ended."""
        if not self.writes:
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            warn(
                f"training has ended, but its checkpoint {self.path} cannot be removed: "
                f"{_reason(error)}. Remove it, or the next fit resumes from it.",
                RuntimeWarning,
            )

    def _try_writing(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.unfinished.touch()
            self.unfinished.unlink()
        except OSError as error:
            raise type(error)(
                f"'checkpoint' is {str(self.directory)!r}, which is not writable: "
                f"{_reason(error)}. Give a writable directory, or None."
            ) from error

    def _read(self) -> dict[str, Any] | None:
        """Return the content of the checkpoint, None without one."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            try:
                found = torch.load(file, map_location="cpu", weights_only=True)
                layout, found["kind"] = found["layout"], json.loads(found["kind"])
            except Exception as error:  # torch raises many classes for damaged files
                what = f"is damaged or not written by skgrav: {_first_line(error)}"
                raise ValueError(self._refusal(what)) from error
        if layout != _LAYOUT:
            what = f"has layout {layout}, but this version of skgrav reads {_LAYOUT}"
            raise ValueError(self._refusal(what))
        return found

    def _refuse_others(self) -> None:
        """Raise ValueError if the checkpoint differs from this training as far as it is known."""
        if self._found is None:
            return
        then = {name: value for name, value in self._found["kind"].items() if name in self.kind}
        other = differences(then, self.kind)
        for name, sums in self.data.items():
            if not alike(self._found["data"].get(name, []), sums):
                other.append(f"the values of {name} differ")
        if other:
            more = f"; and {len(other) - 3} more" if len(other) > 3 else ""
            what = f"belongs to another training: {'; '.join(other[:3])}{more}"
            raise ValueError(self._refusal(what))

    def _refusal(self, what: str) -> str:
        return (
            f"'checkpoint' is {str(self.directory)!r}, but {self.path.name} there {what}. Give "
            f"another directory, or remove {self.path} to start again."
        )

    def _content(self, net: NeuralNetRegressor) -> memoryview:
        """Return the state of a training as bytes."""
        cuda, later_pairs = torch.device(net.device).type == "cuda", net.run_.later_pairs
        state = {
            "layout": _LAYOUT,
            "kind": json.dumps(self.kind),
            "data": self.data,
            "n_done": self.n_done_,
            "module": net.module_.state_dict(),
            "optimizer": _plain(net.optimizer_.state_dict()),
            "callbacks": {name: _plain(_state(callback)) for name, callback in net.callbacks_},
            "later_pairs": None if later_pairs is None else later_pairs.state_dict(),
            "random": torch.get_rng_state(),
            # Of this GPU alone: where the training resumes there may be fewer.
            "random_cuda": [torch.cuda.get_rng_state(net.device)] if cuda else [],
        }
        # In memory first, as torch would hide the OSErrors of the disk.
        buffer = io.BytesIO()
        try:
            state["history"] = json.dumps(net.history.to_list(), default=float)
            torch.save(state, buffer)
            if not self.n_written_:
                buffer.seek(0)
                torch.load(buffer, map_location="cpu", weights_only=True)
        except (TypeError, ValueError, AttributeError, pickle.PickleError) as error:
            raise TypeError(
                "'checkpoint' keeps numbers, text and tensors only, but the state of a callback, "
                f"the network or the history has other objects: {_first_line(error)}. Change it, "
                "or set checkpoint=None."
            ) from error
        return buffer.getbuffer()

    def _write(self, content: memoryview) -> None:
        """Replace the file as a whole."""
        try:
            with self.unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.unfinished.replace(self.path)
        except BaseException:
            with suppress(OSError):
                self.unfinished.unlink()
            raise


def _state(callback: Any) -> dict[str, Any]:
    if hasattr(callback, "state_dict"):
        return callback.state_dict()
    # The state of skorch's scoring callbacks.
    return {name: value for name, value in vars(callback).items() if name == "best_score_"}


def _load(callback: Any, state: dict[str, Any]) -> None:
    if hasattr(callback, "load_state_dict"):
        callback.load_state_dict(state)
    else:
        vars(callback).update(state)


def _plain(value: Any) -> Any:
    """Return a state with Python numbers in place of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part) for part in value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}, {str(error).partition(chr(10))[0].rstrip('.')}"
