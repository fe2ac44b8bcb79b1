"""Fresh noise and mirror images for training batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from skgrav._typing import Array, Indices
from skgrav.geometry import Mesh, Survey
from skgrav.io import saved, sized

#: Relative rounding error of float32: the lowest noise level.
LEAST_NOISE = 3e-8

#: Share of training samples with that noise, where the range of levels begins at 0.
_CLEAN = 0.3


@saved
@dataclass(frozen=True)
class Mirror:
    """Reflection x -> -x: ``g[:, data] * sign`` and ``rho[:, cells]``; signs of gx, xz are -1."""

    data: Indices = field(metadata=sized("d"))
    sign: Array = field(metadata=sized("d"))
    cells: Indices = field(metadata=sized("c"))

    @classmethod
    def of(cls, mesh: Mesh, survey: Survey, fraction: Array | None = None) -> Mirror:
        """Return the reflection of a symmetric mesh and survey, else raise ValueError.

        `fraction` is that of `ForwardOperator`.
        """
        x = mesh.edges[-1]
        centre, width = (x[0] + x[-1]) / 2, x[-1] - x[0]
        if not np.allclose(np.diff(x), np.diff(x)[::-1], rtol=1e-6):
            raise ValueError(
                "augment='mirror' needs a mesh whose columns are symmetric about its centre; "
                "use augment=None."
            )
        mirrored = survey.stations * np.r_[np.ones(survey.ndim - 1), -1.0]
        mirrored[:, -1] += 2 * centre
        decimals = int(8 - np.ceil(np.log10(width)))
        # Stations are farther apart than the rounding, so equal keys are equal positions.
        places = {tuple(row): i for i, row in enumerate(survey.stations.round(decimals) + 0.0)}
        partner = np.array([places.get(tuple(row), -1) for row in mirrored.round(decimals) + 0.0])
        if (partner < 0).any():
            raise ValueError(
                f"augment='mirror' needs stations symmetric about the centre of the mesh, x = "
                f"{centre:g} m, but {np.sum(partner < 0)} of {survey.n_stations} have no mirror "
                "image; use augment=None."
            )
        offsets = survey.n_stations * np.arange(len(survey.components))[:, None]
        sign = np.array([(-1.0) ** c.count("x") for c in survey.components])
        numbers = mesh.unflatten(np.arange(mesh.n_cells), fill=-1.0)
        cells = mesh.flatten(numbers[..., ::-1]).astype(np.intp)
        if (cells < 0).any():
            raise ValueError(
                "augment='mirror' needs active cells that are symmetric about the centre of the "
                f"mesh, but {np.sum(cells < 0)} of {mesh.n_cells} have an inactive mirror image; "
                "use augment=None."
            )
        if fraction is not None and not np.allclose(fraction[cells], fraction, rtol=1e-6):
            raise ValueError(
                "augment='mirror' needs a 'fraction' that is symmetric about the centre of the "
                "mesh; use augment=None."
            )
        return cls((offsets + partner).ravel(), np.repeat(sign, survey.n_stations), cells)


def draw_levels(low: float, high: float, like: torch.Tensor) -> torch.Tensor:
    """Draw relative noise levels of samples, of the shape and device of `like`.

    The logarithm of the ratio to `high` follows the square of a uniform variable, so that levels
    are denser near `high`. Where `low` is 0, three in ten are `LEAST_NOISE`.
    """
    clean = _CLEAN if low < LEAST_NOISE else 0.0
    low, high = max(low, LEAST_NOISE), max(high, LEAST_NOISE)
    level = high * (low / high) ** torch.rand_like(like).square()
    return torch.where(torch.rand_like(like) < clean, low, level)


class Augmentation:
    """Add new noise to each batch of standardised data, and mirror half of its samples.

    Noise is relative to the data before standardisation, in a range of levels for `draw_levels`;
    data of several units are measured in `data_scales`.
    """

    def __init__(
        self,
        noise_level: tuple[float, float],
        mean: Array,
        scale: Array,
        mirror: Mirror | None,
        device: str,
        data_scales: Array | None = None,
    ) -> None:
        self.noise_level = noise_level
        units = 1.0 if data_scales is None else data_scales
        self.mean = torch.tensor(mean / units, dtype=torch.float32, device=device)
        self.scale = torch.tensor(scale / units, dtype=torch.float32, device=device)
        self.order = None
        if mirror is not None:
            self.order = torch.tensor(mirror.data, device=device)
            self.sign = torch.tensor(mirror.sign, dtype=torch.float32, device=device)
            self.cells = torch.tensor(mirror.cells, device=device)

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = self.noise_level
        if high > 0:
            level = draw_levels(low, high, X[:, :1])
            rms = (X * self.scale + self.mean).square().mean(dim=1, keepdim=True).sqrt()
            X = X + level * rms / self.scale * torch.randn_like(X)
        if self.order is not None:
            flipped = torch.rand(len(X), 1, device=X.device) < 0.5
            X = torch.where(flipped, X[:, self.order] * self.sign, X)
            y = torch.where(flipped, y[:, self.cells], y)
        return X, y
