"""Muon, an optimiser that makes the updates of matrices and convolutions orthogonal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.functional import pad

#: Coefficients of the quintic Newton-Schulz iteration, and its steps: singular values between 0 and
#: 1 come to .7 to 1.2, which is close enough to 1.
_QUINTIC, _N_STEPS = (3.4445, -4.7750, 2.0315), 5

#: Rms of an orthogonal update relative to one of AdamW, so that both take one learning rate.
_MATCHED = 0.2


class Muon(torch.optim.Optimizer):
    """Momentum whose updates of weights are made orthogonal; AdamW for biases and scales.

    Weights of two and more axes are matrices of outputs by inputs. Their momentum ``U S V^T`` is
    replaced by ``U V^T`` [1]_, times ``0.2 sqrt(max(n_outputs, n_inputs))`` [2]_, so that learning
    rate and weight decay are those of AdamW.

    Parameters
    ----------
    params : iterable
        Parameters or groups of them, as for other optimisers of torch.
    lr : float, default=1e-3
        Learning rate.
    momentum : float, default=0.95
        Decay of the momentum, which is Nesterov's.
    betas : tuple of two floats, default=(0.9, 0.99)
        Decays of AdamW.
    eps : float, default=1e-8
        Added to the denominator of AdamW.
    weight_decay : float, default=1e-2
        Decoupled weight decay.
    fused : bool, default=False
        Accepted as by AdamW, without effect.

    References
    ----------
    .. [1] Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks,
       https://kellerjordan.github.io/posts/muon.
    .. [2] Liu et al. (2025), Muon is scalable for LLM training, arXiv:2502.16982.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        fused: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; the closure, if there is one, computes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [w for w in group["params"] if w.grad is not None]
            matrices = [w for w in trained if w.ndim > 1]
            updates = self._orthogonal(matrices, group) if matrices else []
            vectors = [w for w in trained if w.ndim <= 1]
            updates += [self._adaptive(w, group) for w in vectors]
            for weights, update in zip([*matrices, *vectors], updates, strict=True):
                weights.mul_(1.0 - group["lr"] * group["weight_decay"])
                weights.add_(update, alpha=-group["lr"])
        return loss

    def _orthogonal(self, weights: list[Any], group: dict[str, Any]) -> list[torch.Tensor]:
        matrices = []
        for w in weights:
            state = self.state[w]
            if not state:
                state["momentum"] = torch.zeros_like(w)
            mean = state["momentum"].lerp_(w.grad, 1.0 - group["momentum"])
            # Nesterov's momentum, as a matrix of outputs by inputs.
            matrices.append(w.grad.lerp(mean, group["momentum"]).reshape(len(w), -1))
        return [
            (_MATCHED * max(m.shape) ** 0.5 * m).reshape(w.shape)
            for m, w in zip(orthogonal(matrices), weights, strict=True)
        ]

    def _adaptive(self, weights: Any, group: dict[str, Any]) -> torch.Tensor:
        state, gradient = self.state[weights], weights.grad
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weights), torch.zeros_like(weights)
        state["step"] += 1
        decays = group["betas"]
        mean = state["mean"].lerp_(gradient, 1.0 - decays[0])
        square = state["square"].lerp_(gradient.square(), 1.0 - decays[1])
        first, second = (1.0 - decay ** float(state["step"]) for decay in decays)
        return mean / first / ((square / second).sqrt() + group["eps"])


def orthogonal(matrices: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return about ``U V^T`` of each matrix ``U S V^T``.

    Each Newton-Schulz step multiplies by a polynomial of ``X X^T``, and all of these commute, so
    that their product is formed first, in matrices of the smaller size. On a GPU, which small
    matrices leave idle, those of all are padded by zeros to one size and multiplied together.
    """
    wide = [m if m.shape[0] <= m.shape[1] else m.mT for m in matrices]
    wide = [m / m.norm().clamp_min(torch.finfo(m.dtype).tiny) for m in wide]
    squares = [m @ m.mT for m in wide]
    if wide[0].is_cuda:
        size = max(len(square) for square in squares)
        padded = torch.stack([pad(s, (0, size - len(s), 0, size - len(s))) for s in squares])
        products = [p[: len(m), : len(m)] for p, m in zip(_polynomial(padded), wide, strict=True)]
    else:
        products = [_polynomial(square) for square in squares]
    found = [product @ m for product, m in zip(products, wide, strict=True)]
    return [f if m.shape[0] <= m.shape[1] else f.mT for f, m in zip(found, matrices, strict=True)]


def _polynomial(square: torch.Tensor) -> torch.Tensor:
    """Return the product of the factors of all steps, from ``X X^T``."""
    a, b, c = _QUINTIC
    eye = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    product = eye
    for _ in range(_N_STEPS):
        factor = a * eye + b * square + c * (square @ square)
        product = factor @ product
        square = factor @ square @ factor
    return product
