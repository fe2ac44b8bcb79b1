"""Fresh noise and mirror images for training batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from skgrav._typing import Array, Indices
from skgrav.geometry import AXES, Mesh, Survey
from skgrav.io import saved, sized

#: Relative rounding error of float32: the lowest noise level.
LEAST_NOISE = 3e-8

#: Share of training samples with that noise, where the range of levels begins at 0.
_CLEAN = 0.3

#: Components with y and x exchanged.
_EXCHANGE = str.maketrans("xy", "yx")


@saved
@dataclass(frozen=True)
class Mirror:
    """Reflection x -> -x: ``g[:, data] * sign`` and ``rho[:, cells]``; signs of gx, xz are -1."""

    data: Indices = field(metadata=sized("d"))
    sign: Array = field(metadata=sized("d"))
    cells: Indices = field(metadata=sized("c"))

    @classmethod
    def of(
        cls, mesh: Mesh, survey: Survey, fraction: Array | None = None, *, axis: int = -1
    ) -> Mirror:
        """Return the reflection of a symmetric mesh and survey, else raise ValueError.

        `fraction` is that of `ForwardOperator`. Reflections along another `axis` than x change the
        signs of that one.
        """
        edges, name = mesh.edges[axis], AXES[mesh.ndim][axis]
        centre = (edges[0] + edges[-1]) / 2
        if not np.allclose(np.diff(edges), np.diff(edges)[::-1], rtol=1e-6):
            raise ValueError(
                "augment='mirror' needs a mesh whose columns are symmetric about its centre; "
                "use augment=None."
            )
        mirrored = survey.stations.copy()
        mirrored[:, axis] = 2 * centre - mirrored[:, axis]
        partner = _partners(survey, mirrored, edges[-1] - edges[0])
        if (partner < 0).any():
            raise ValueError(
                f"augment='mirror' needs stations symmetric about the centre of the mesh, {name} = "
                f"{centre:g} m, but {np.sum(partner < 0)} of {survey.n_stations} have no mirror "
                "image; use augment=None."
            )
        offsets = survey.n_stations * np.arange(len(survey.components))[:, None]
        sign = np.array([(-1.0) ** c.count(name) for c in survey.components])
        numbers = mesh.unflatten(np.arange(mesh.n_cells), fill=-1.0)
        cells = mesh.flatten(np.flip(numbers, axis)).astype(np.intp)
        _check_cells(cells, fraction, "mirror")
        return cls((offsets + partner).ravel(), np.repeat(sign, survey.n_stations), cells)


def check_turns(mesh: Mesh, survey: Survey, fraction: Array | None = None) -> None:
    """Raise ValueError unless mesh and survey are the same with y and x exchanged."""
    if mesh.ndim == 2:
        raise ValueError(
            "augment='turns' needs a volume, but the mesh is a section; use augment='mirror'."
        )
    _, y, x = mesh.edges
    if len(y) != len(x) or not np.allclose(np.diff(y), np.diff(x), rtol=1e-6):
        raise ValueError(
            f"augment='turns' needs a mesh whose columns are the same along y and x, but this is "
            f"{mesh!r}; use augment='mirror'."
        )
    exchanged = {"".join(sorted(c.translate(_EXCHANGE))) for c in survey.components}
    if exchanged != {"".join(sorted(c)) for c in survey.components}:
        raise ValueError(
            f"augment='turns' needs components that are the same with y and x exchanged, but the "
            f"survey has {', '.join(survey.components)}; use augment='mirror'."
        )
    centres = np.array([(e[0] + e[-1]) / 2 for e in (y, x)])
    turned = survey.stations.copy()
    turned[:, 1:] = (survey.stations[:, 1:] - centres)[:, ::-1] + centres
    n_alone = int(np.sum(_partners(survey, turned, x[-1] - x[0]) < 0))
    if n_alone:
        raise ValueError(
            "augment='turns' needs stations that are the same with y and x exchanged, but "
            f"{n_alone} of {survey.n_stations} have no image; use augment='mirror'."
        )
    numbers = mesh.unflatten(np.arange(mesh.n_cells), fill=-1.0)
    _check_cells(mesh.flatten(np.swapaxes(numbers, 1, 2)).astype(np.intp), fraction, "turns")


def _partners(survey: Survey, moved: Array, width: float) -> Indices:
    """Return the station at the place of each moved one, -1 if there is none."""
    decimals = int(8 - np.ceil(np.log10(width)))
    # Stations are farther apart than the rounding, so equal keys are equal positions.
    places = {tuple(row): i for i, row in enumerate(survey.stations.round(decimals) + 0.0)}
    return np.array([places.get(tuple(row), -1) for row in moved.round(decimals) + 0.0])


def _check_cells(cells: Indices, fraction: Array | None, augment: str) -> None:
    """Raise ValueError unless each cell has an image, with the same fraction."""
    about = {
        "mirror": "symmetric about the centre of the mesh",
        "turns": "the same with y and x exchanged",
    }[augment]
    if (cells < 0).any():
        raise ValueError(
            f"augment='{augment}' needs active cells that are {about}, but {np.sum(cells < 0)} of "
            f"{len(cells)} have an inactive {'mirror ' * (augment == 'mirror')}image; use "
            "augment=None."
        )
    if fraction is not None and not np.allclose(fraction[cells], fraction, rtol=1e-6):
        raise ValueError(
            f"augment='{augment}' needs a 'fraction' that is {about}; use augment=None."
        )


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
