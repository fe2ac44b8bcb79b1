"""Pairs that are drawn for each epoch, and again after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class FreshPairs:
    """Iterator of gravity and density that can be continued in another process.

    The source is an iterator of pairs, or draws them as a function of `random_state`.
    """

    def __init__(self, source: Any, seed: int) -> None:
        self.source = source
        self.rng = np.random.RandomState(seed)
        self.n_drawn = 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        source = self.source
        drawn = source(random_state=self._seed()) if callable(source) else next(source)
        self.n_drawn += 1
        return (drawn.data, drawn.target) if hasattr(drawn, "target") else drawn

    def skip_to(self, n_drawn: int) -> None:
        """Skip pairs up to a number; a callable need not draw them."""
        while self.n_drawn < n_drawn:
            if callable(self.source):
                self._seed()
            elif next(self.source, None) is None:
                raise ValueError(
                    f"'X' is an iterator that ended after {self.n_drawn} pairs, but the training "
                    f"in the checkpoint had seen {n_drawn}. Give the same iterator from its start."
                )
            self.n_drawn += 1

    def _seed(self) -> int:
        return self.rng.randint(2**31 - 1)


class EncodedPairs:
    """Encoded pairs of the epochs after the first."""

    def __init__(self, drawn: FreshPairs, encoder: Any) -> None:
        self.drawn, self.encoder = drawn, encoder

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        return self.encoder(*next(self.drawn))

    def state_dict(self) -> dict[str, Any]:
        """Return the number of pairs drawn and the state of the encoder."""
        return {"n_drawn": self.drawn.n_drawn, "encoder": self.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.drawn.skip_to(state["n_drawn"])
        self.encoder.load_state_dict(state["encoder"])
