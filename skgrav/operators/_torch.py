"""The operator as a torch module; forward and adjoint are each other's derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.fft import fft, ifft, irfft, rfft

from skgrav.operators._anywhere import AnywhereOperator
from skgrav.operators._fraction import whole_cells
from skgrav.operators._toeplitz import Layout
from skgrav.operators._torch_anywhere import AnywhereMaps

Map = Callable[[Tensor], Tensor]


class TorchOperator(nn.Module):
    """Gravity of batches of densities, differentiable to any order, forward and backward.

    Returned by `ForwardOperator.to_torch`. Matrix or spectra are buffers that follow `to`, but are
    not part of the `state_dict`, since they follow from the geometry.

    Parameters
    ----------
    operator : MatrixOperator or ForwardOperator
        Fitted operator with a matrix or spectra.
    dtype : torch.dtype, default=None
        Precision of the buffers; None takes torch's default.

    See Also
    --------
    skgrav.ForwardOperator : The same on arrays.

    Examples
    --------
    >>> import torch
    >>> from skgrav import ForwardOperator, Mesh
    >>> module = ForwardOperator(Mesh.square(8)).fit().to_torch()
    >>> rho = torch.ones(2, 64, requires_grad=True)
    >>> module(rho).square().sum().backward()
    >>> rho.grad.shape
    torch.Size([2, 64])
    """

    matrix: Tensor

    def __init__(self, operator: Any, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        self.n_data, self.n_cells = operator.n_data_, operator.n_cells_
        applied = whole_cells(operator.products_)
        self._has_fraction = applied is not operator.products_
        if self._has_fraction:
            fraction = torch.tensor(operator.fraction_, dtype=dtype)
            self.register_buffer("fraction", fraction, persistent=False)
        self._anywhere: AnywhereMaps | None = None
        if isinstance(applied, AnywhereOperator):
            self._anywhere = AnywhereMaps(applied, dtype)
        blocks = getattr(applied, "blocks", [])
        self._layouts: list[Layout] = [block.layout for block in blocks]
        for i, block in enumerate(blocks):
            # As pairs of real numbers, since `to(dtype)` would discard imaginary parts.
            spectra = torch.view_as_real(torch.from_numpy(block.spectra))
            self.register_buffer(f"spectra_{i}", spectra.to(dtype, copy=True), persistent=False)
            for name, index in (("rows", block.rows), ("points", block.flat)):
                self.register_buffer(f"{name}_{i}", torch.tensor(index), persistent=False)
        self._block: tuple[int, ...] | None = None
        if self._layouts and operator.mesh_.active is not None:
            self._block = operator.mesh_.shape
            self.register_buffer("cells", torch.tensor(operator.mesh_.cells), persistent=False)
        if not self._layouts and self._anywhere is None:
            matrix = torch.tensor(operator.matrix_, dtype=dtype)
            self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, rho: Tensor) -> Tensor:
        """Compute the gravity (n_samples, n_data) of densities (n_samples, n_cells)."""
        _check("rho", rho, self.n_cells)
        return _Linear.apply(rho, self._gravity, self._transpose)

    def adjoint(self, g: Tensor) -> Tensor:
        """Apply the transpose to data (n_samples, n_data): ``g @ A``, (n_samples, n_cells)."""
        _check("g", g, self.n_data)
        return _Linear.apply(g, self._transpose, self._gravity)

    def _gravity(self, rho: Tensor) -> Tensor:
        if self._has_fraction:
            rho = rho * self.get_buffer("fraction")
        if self._anywhere is not None:
            return self._anywhere.gravity(rho)
        if not self._layouts:
            return rho @ self.matrix.mT
        g = rho.new_zeros(len(rho), self.n_data)
        if self._block:
            whole = rho.new_zeros(len(rho), prod(self._block))
            rho = whole.index_copy(1, self.get_buffer("cells"), rho)
        for i, layout in enumerate(self._layouts):
            images = rho.reshape(-1, *layout.cells)
            rows, points, spectra = self._buffers_of(i)
            parts = []
            for samples in layout.sample_blocks(len(rho)):
                total: Any = 0.0
                for layers in layout.layer_blocks():
                    # As in _toeplitz.py, the densities and the sum are conjugated, not the kernels.
                    spectrum = _transform(images[samples, layers], layout.lengths).conj()
                    total = total + torch.einsum("sl...,cl...->sc...", spectrum, spectra[:, layers])
                values = _restore(total.conj(), layout.lengths, layout.points)
                parts.append(values.flatten(2)[..., points])
            g = g.index_copy(1, rows.flatten(), torch.cat(parts).flatten(1))
        return g

    def _transpose(self, g: Tensor) -> Tensor:
        rho = self._transpose_whole(g)
        return rho * self.get_buffer("fraction") if self._has_fraction else rho

    def _transpose_whole(self, g: Tensor) -> Tensor:
        if self._anywhere is not None:
            return self._anywhere.transpose(g)
        if not self._layouts:
            return g @ self.matrix
        rho: Tensor | float = 0.0
        for i, layout in enumerate(self._layouts):
            rows, points, spectra = self._buffers_of(i)
            parts = []
            for samples in layout.sample_blocks(len(g)):
                values = g[samples][:, rows]
                grid = values.new_zeros(*values.shape[:2], *layout.points).flatten(2)
                # Repeated stations share a point, where their data are summed.
                grid = grid.index_add(2, points, values).unflatten(2, layout.points)
                spectrum = _transform(grid, layout.lengths)
                layers = [
                    _restore(
                        torch.einsum("sc...,cl...->sl...", spectrum, spectra[:, layers]),
                        layout.lengths,
                        layout.cells[1:],
                    )
                    for layers in layout.layer_blocks()
                ]
                parts.append(torch.cat(layers, dim=1).flatten(1))
            rho = rho + torch.cat(parts)
        assert isinstance(rho, Tensor)
        return rho[:, self.get_buffer("cells")] if self._block else rho

    def _buffers_of(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        spectra = torch.view_as_complex(self.get_buffer(f"spectra_{i}"))
        return self.get_buffer(f"rows_{i}"), self.get_buffer(f"points_{i}"), spectra


class TorchJoint(TorchOperator):
    """Stacked operators, returned by `JointOperator.to_torch`.

    Parameters
    ----------
    parts : sequence of TorchOperator
        Modules over the same cells.

    See Also
    --------
    skgrav.JointOperator : The same on arrays.

    Examples
    --------
    >>> from skgrav import CellValues, JointOperator, Mesh
    >>> joint = JointOperator([CellValues(Mesh.square(8), [3, 4])]).fit()
    >>> joint.to_torch()(torch.ones(1, 64))
    tensor([[1., 1.]])
    """

    def __init__(self, parts: Sequence[TorchOperator]) -> None:
        nn.Module.__init__(self)
        self.parts = nn.ModuleList(parts)
        self.n_data, self.n_cells = sum(part.n_data for part in parts), parts[0].n_cells

    def _gravity(self, rho: Tensor) -> Tensor:
        return torch.cat([part._gravity(rho) for part in self._modules_of_parts()], dim=1)

    def _transpose(self, g: Tensor) -> Tensor:
        parts = self._modules_of_parts()
        rows = g.split([part.n_data for part in parts], dim=1)
        return torch.stack([p._transpose(d) for p, d in zip(parts, rows, strict=True)]).sum(dim=0)

    def _modules_of_parts(self) -> list[TorchOperator]:
        return list(self.parts)  # type: ignore[arg-type]


class TorchCells(TorchOperator):
    """Averages of cells, returned by `CellValues.to_torch`.

    Parameters
    ----------
    operator : CellValues
        Fitted operator.
    dtype : torch.dtype, default=None
        Precision of the weights; None takes torch's default.

    See Also
    --------
    skgrav.CellValues : The same on arrays.

    Examples
    --------
    >>> from skgrav import CellValues, Mesh
    >>> CellValues(Mesh.square(8), [3, 4]).fit().to_torch()(torch.ones(1, 64))
    tensor([[1., 1.]])
    """

    def __init__(self, operator: Any, dtype: torch.dtype | None = None) -> None:
        nn.Module.__init__(self)
        self.n_data, self.n_cells = operator.n_data_, operator.n_cells_
        entries = operator.products_.matrix.tocoo()
        weights = torch.tensor(entries.data, dtype=dtype or torch.get_default_dtype())
        self.register_buffer("weights", weights, persistent=False)
        for name, index in zip(("data", "cells"), entries.coords, strict=True):
            self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)

    def _gravity(self, rho: Tensor) -> Tensor:
        values = rho[:, self.get_buffer("cells")] * self.get_buffer("weights")
        g = rho.new_zeros(len(rho), self.n_data)
        return g.index_add(1, self.get_buffer("data"), values)

    def _transpose(self, g: Tensor) -> Tensor:
        values = g[:, self.get_buffer("data")] * self.get_buffer("weights")
        rho = g.new_zeros(len(g), self.n_cells)
        return rho.index_add(1, self.get_buffer("cells"), values)


class _Linear(torch.autograd.Function):
    """Linear map, whose derivative is the map itself and whose gradient is its transpose."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, forward: Map, transpose: Map
    ) -> tuple[Tensor, int]:
        # As more samples of one batch, since products with sparse matrices have no rule.
        batch = x.movedim(in_dims[0] or 0, 0)
        out = _Linear.apply(batch.flatten(0, 1), forward, transpose)
        return out.unflatten(0, batch.shape[:2]), 0

    @staticmethod
    def forward(x: Tensor, forward: Map, transpose: Map) -> Tensor:
        return forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:
        ctx.maps = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        forward, transpose = ctx.maps
        # The gradient is a linear map again, so it has derivatives of any order.
        return _Linear.apply(gradients[0], transpose, forward), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _Linear.apply(tangents[0], *ctx.maps)


def _transform(images: Tensor, lengths: tuple[int, ...]) -> Tensor:
    spectrum = rfft(images, lengths[-1])
    for axis, length in enumerate(lengths[-2::-1], start=2):
        spectrum = fft(spectrum, length, dim=-axis)
    return spectrum


def _restore(spectra: Tensor, lengths: tuple[int, ...], counts: tuple[int, ...]) -> Tensor:
    for axis, count in enumerate(counts[-2::-1], start=2):
        spectra = ifft(spectra, dim=-axis).narrow(-axis, 0, count)
    return irfft(spectra, lengths[-1])[..., : counts[-1]]


def made_on(device: Any, make: Callable[[], TorchOperator]) -> TorchOperator:
    """Make a module whatever torch's default device is, and move it to a device."""
    with torch.device("cpu"):
        module = make()
    try:
        return module.to(device)
    except Exception as error:  # the class depends on the device
        raise ValueError(
            f"'device' is {str(device)!r}, which torch cannot use here: {error}. Take 'cpu', or "
            "'cuda' where there is a GPU."
        ) from error


def _check(name: str, values: Tensor, width: int) -> None:
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(
            f"'{name}' has shape {tuple(values.shape)}; it must be (n_samples, {width})."
        )
