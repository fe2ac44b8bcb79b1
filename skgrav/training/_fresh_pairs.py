"""Pairs that are drawn anew for each epoch, and found again after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class FreshPairs:
    """Iterator of gravity and density, whose place can be kept and found again.

    Parameters
    ----------
    source : callable or iterator
        Function of `random_state` that draws pairs, without end, or an iterator of pairs.
    seed : int
        Seed of what a callable draws.
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
        """Leave out pairs, which a callable need not draw, until so many are gone."""
        while self.n_drawn < n_drawn:
            if callable(self.source):
                self._seed()
            elif next(self.source, None) is None:
                raise ValueError(
                    f"'X' is an iterator that ended after {self.n_drawn} pairs, but the checkpoint "
                    f"is of a training that had seen {n_drawn}. Make the same iterator anew."
                )
            self.n_drawn += 1

    def _seed(self) -> int:
        return self.rng.randint(2**31 - 1)


class EncodedPairs:
    """Fresh pairs as a network sees them: those of the epochs after the first.

    Parameters
    ----------
    drawn : FreshPairs
        The pairs.
    encoder : object
        What encodes them by ``encoder(X, y)``, with what it has learned in `state_dict`.
    """

    def __init__(self, drawn: FreshPairs, encoder: Any) -> None:
        self.drawn, self.encoder = drawn, encoder

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        return self.encoder(*next(self.drawn))

    def state_dict(self) -> dict[str, Any]:
        """Return the place, and what the encoder has learned."""
        return {"n_drawn": self.drawn.n_drawn, "encoder": self.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place."""
        self.drawn.skip_to(state["n_drawn"])
        self.encoder.load_state_dict(state["encoder"])
