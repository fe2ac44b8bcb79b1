"""Operators as linear physics of deepinv, for images instead of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from skgrav._checks import import_optional, real_array
from skgrav.geometry import Mesh


def linear_physics(
    operator: Any,
    shape: Sequence[int] | None,
    noise_model: Any,
    rcond: float,
    device: Any,
    dtype: Any,
) -> Any:
    """Return the ``deepinv.physics.LinearPhysics`` of a fitted operator; see `to_deepinv`."""
    try:
        physics = import_optional("deepinv.physics", "to_deepinv", "bridges")
    except RuntimeError as error:
        raise ImportError(
            f"to_deepinv needs deepinv, whose torchvision does not match torch's build: {error}. "
            "Install torch and torchvision from the same index."
        ) from error
    maps = ImageMaps(operator, shape, rcond, device, dtype)
    linear = physics.LinearPhysics(
        A=maps.gravity,
        A_adjoint=maps.transpose,
        img_size=maps.image,
        noise_model=_checked_noise(noise_model, physics),
    )
    linear.maps = maps  # a submodule, so that its buffers are moved with the physics
    linear.A_dagger = maps.minimum_norm
    return linear.to(device, maps.unit.dtype)


class ImageMaps(nn.Module):
    """The maps between images of one channel and data.

    The axis of samples may be missing, since deepinv's power method passes a single image.
    """

    unit: Tensor
    cells: Tensor | None

    def __init__(self, operator: Any, shape: Any, rcond: float, device: Any, dtype: Any) -> None:
        super().__init__()
        mesh = getattr(operator, "mesh_", None)
        self.image = (1, *_checked_shape(shape, mesh, operator.n_cells_))
        if not 0 <= rcond < 1:
            raise ValueError(f"'rcond' is {rcond}; it must be at least 0 and below 1.")
        self.rcond = rcond
        self.operator = operator
        self.module = operator.to_torch(device=device, dtype=dtype)
        cells = None if mesh is None or mesh.active is None else torch.tensor(mesh.cells)
        self.register_buffer("cells", cells, persistent=False)
        unit = torch.ones((), dtype=dtype or torch.get_default_dtype())
        self.register_buffer("unit", unit, persistent=False)

    def gravity(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Compute the data (n_samples, n_data) of images (n_samples, 1, *shape)."""
        rho = self._rows("x", x, self.image)
        g = self.module(rho if self.cells is None else rho[:, self.cells])
        return g.reshape(*x.shape[: x.ndim - len(self.image)], -1)

    def transpose(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Apply the transpose to data; the images are zero in inactive cells."""
        return self._images(self.module.adjoint(self._rows("y", y, (self.module.n_data,))), y)

    def minimum_norm(self, y: Tensor, **kwargs: Any) -> Tensor:
        """Compute the images of minimum norm by the truncated SVD, as `inverse_transform` does."""
        g = self._rows("y", y, (self.module.n_data,))
        U, s, Vt = self.operator.svd_
        kept = s > self.rcond * s[0]
        # Not buffers, since they may be as large as the matrix.
        left, right = (torch.from_numpy(m).to(y) for m in (U[:, kept] / s[kept], Vt[kept]))
        return self._images(g @ left @ right, y)

    def _images(self, rho: Tensor, y: Tensor) -> Tensor:
        if self.cells is not None:
            block = rho.new_zeros(len(rho), prod(self.image))
            rho = block.index_copy(1, self.cells, rho)
        return rho.reshape(*y.shape[:-1], *self.image)

    def _rows(self, name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return samples as rows."""
        if tuple(values.shape[-len(shape) :]) != shape or values.ndim > len(shape) + 1:
            raise ValueError(
                f"'{name}' has shape {tuple(values.shape)}; it must be (n_samples, "
                f"{', '.join(map(str, shape))})."
            )
        if values.dtype != self.unit.dtype:
            raise TypeError(
                f"'{name}' is of {values.dtype}, but this physics of {self.unit.dtype}. Convert "
                f"one of them, by {name}.to or physics.to."
            )
        return values.reshape(-1, prod(shape))


def _checked_shape(shape: Any, mesh: Mesh | None, n_cells: int) -> tuple[int, ...]:
    own = (n_cells,) if mesh is None else mesh.shape
    if shape is None:
        return own
    sizes = real_array(shape, "shape")
    shape = tuple(int(n) for n in sizes.ravel())
    if prod(shape) != prod(own) or (mesh is not None and shape != own):
        wanted = f"of {n_cells} cells" if mesh is None else f"{own}, that of the mesh"
        raise ValueError(f"'shape' is {shape}; it must be {wanted}.")
    return shape


def _checked_noise(noise_model: Any, physics: Any) -> Any:
    if noise_model is None:
        return physics.ZeroNoise()
    if isinstance(noise_model, nn.Module):
        return noise_model
    sigma = real_array(noise_model, "noise_model")
    if sigma.ndim or sigma < 0:
        raise ValueError(
            f"'noise_model' is {noise_model!r}; give a model of deepinv.physics, or one number of "
            "at least 0, a standard deviation in the unit of the data."
        )
    return physics.GaussianNoise(sigma=float(sigma))
