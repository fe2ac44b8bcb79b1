"""Products for stations anywhere as torch maps; see `AnywhereOperator`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skgrav.operators._anywhere import AnywhereOperator


class AnywhereMaps(nn.Module):
    """The products of an `AnywhereOperator`, on any device."""

    def __init__(self, products: AnywhereOperator, dtype: torch.dtype) -> None:
        super().__init__()
        self.n_data, self.n_cells = products.shape
        self._components, self._block = products.n_components, products.mesh.shape
        self._keep("others", torch.tensor(products.others, dtype=dtype))
        self._keep("other_rows", torch.tensor(products.other_rows.ravel()))
        self._keep("cells", torch.tensor(products.mesh.cells))
        self.far = products.far is not None
        if products.far is None:
            return
        nodes = products.far.nodes
        self._lengths, self._counts = nodes.lengths, nodes.counts
        self._groups = products.far.groups
        self._keep("rows", torch.tensor(products.rows.ravel()))
        for name, matrix in (("near", products.near), ("interpolation", products.interpolation)):
            entries = matrix.tocoo()
            self._keep(f"{name}_values", torch.tensor(entries.data, dtype=dtype))
            index = np.stack([entries.row, entries.col]).astype(np.int64)
            self._keep(f"{name}_index", torch.from_numpy(index))
        self._shapes = {"near": products.near.shape, "interpolation": products.interpolation.shape}
        for i, spectra in enumerate(products.far.spectra):
            self._keep(f"spectra_{i}", torch.tensor(spectra, dtype=dtype))
        for axis, phase in enumerate(products.far.phases):
            # As pairs of real numbers, since `to(dtype)` would discard imaginary parts.
            pairs = torch.view_as_real(torch.from_numpy(phase))
            self._keep(f"phase_{axis}", pairs.to(dtype, copy=True))
            weights = products.far.resampling[axis]
            if weights is not None:
                self._keep(f"resampling_{axis}", torch.tensor(weights, dtype=dtype))
        self._resampled = [w is not None for w in products.far.resampling]

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def gravity(self, rho: Tensor) -> Tensor:
        """Compute the gravity of densities, (n_samples, n_data)."""
        n_samples = len(rho)
        g = rho.new_zeros(n_samples, self.n_data)
        g = g.index_copy(1, self.get_buffer("other_rows"), rho @ self.get_buffer("others").mT)
        if not self.far:
            return g
        block = rho.new_zeros(n_samples, torch.Size(self._block).numel())
        block = block.index_copy(1, self.get_buffer("cells"), rho)
        images = block.unflatten(1, self._block).movedim((0, 1), (-1, -2))
        fields = self._forward(images).reshape(self._shapes["interpolation"][1], -1)
        far = self._times("interpolation", fields).unflatten(1, (self._components, n_samples))
        near = self._times("near", rho.mT)
        total = near + far.transpose(0, 1).reshape(-1, n_samples)
        return g.index_copy(1, self.get_buffer("rows"), total.mT)

    def transpose(self, g: Tensor) -> Tensor:
        """Apply the transpose, (n_samples, n_cells)."""
        n_samples = len(g)
        rho = g[:, self.get_buffer("other_rows")] @ self.get_buffer("others")
        if not self.far:
            return rho
        of_nodes = g[:, self.get_buffer("rows")].mT
        far = of_nodes.reshape(self._components, -1, n_samples).transpose(0, 1).flatten(1)
        fields = self._times("interpolation", far, transposed=True)
        images = self._adjoint(fields.reshape(*self._lengths, -1, n_samples))
        block = images.movedim((-1, -2), (0, 1)).flatten(1)
        near = self._times("near", of_nodes, transposed=True)
        return rho + block[:, self.get_buffer("cells")] + near.mT

    def _times(self, name: str, values: Tensor, *, transposed: bool = False) -> Tensor:
        """Return the product with a sparse matrix."""
        index, shape = self.get_buffer(f"{name}_index"), self._shapes[name]
        if transposed:
            index, shape = index.flip(0), shape[::-1]
        matrix = torch.sparse_coo_tensor(
            index, self.get_buffer(f"{name}_values"), shape, check_invariants=False
        )
        return torch.sparse.mm(matrix, values.contiguous())

    def _forward(self, images: Tensor) -> Tensor:
        """Return fields at the nodes, as `FarField.forward`."""
        ndim, n_samples = len(self._lengths), images.shape[-1]
        whole = [n // 2 + 1 for n in self._lengths]
        total: Any = 0.0
        for i, (layers, needed) in enumerate(self._groups):
            part = images[..., layers, :]
            for axis in reversed(range(ndim)):
                part = self._resample(part, axis)
                part = self._spectrum(part, axis, needed[axis])
            kernels = self.get_buffer(f"spectra_{i}")
            part = kernels @ part.reshape(*needed, kernels.shape[-1], -1)
            # Wavenumbers that are left out are zero.
            margins: list[int] = [0, 0, 0, 0]
            for n, m in zip(reversed(whole), reversed(needed), strict=True):
                margins += [0, n - m]
            total = total + nn.functional.pad(part, margins)
        for axis in range(ndim):
            total = self._image(total, axis, n_samples, self._lengths[axis], phased=True)
        return total

    def _adjoint(self, fields: Tensor) -> Tensor:
        """Apply the transpose to fields at the nodes, as `FarField.adjoint`."""
        ndim, n_samples = len(self._lengths), fields.shape[-1]
        for axis in reversed(range(ndim)):
            fields = self._spectrum(fields, axis, None, phased=True)
        fields = fields.reshape(*fields.shape[: ndim + 1], -1)
        parts = []
        for i, (_, needed) in enumerate(self._groups):
            kernels = self.get_buffer(f"spectra_{i}")
            part = kernels.mT @ fields[tuple(slice(n) for n in needed)]
            for axis in range(ndim):
                part = self._image(part, axis, n_samples, self._counts[axis])
                part = self._resample(part, axis, transposed=True)
            parts.append(part.reshape(*part.shape[: ndim + 1], n_samples))
        return torch.cat(parts, dim=-2)

    def _resample(self, values: Tensor, axis: int, *, transposed: bool = False) -> Tensor:
        if not self._resampled[axis]:
            return values
        weights = self.get_buffer(f"resampling_{axis}")
        weights = weights if transposed else weights.mT
        return (values.movedim(axis, -1) @ weights).movedim(-1, axis)

    def _spectrum(
        self, values: Tensor, axis: int, needed: int | None, *, phased: bool = False
    ) -> Tensor:
        spectrum = torch.fft.rfft(values, self._lengths[axis], dim=axis)
        spectrum = spectrum[(slice(None),) * axis + (slice(needed),)]
        if phased:
            spectrum = spectrum * self._phase(axis, spectrum.ndim).conj()
        return torch.view_as_real(spectrum.resolve_conj())

    def _image(
        self, values: Tensor, axis: int, n_samples: int, count: int, *, phased: bool = False
    ) -> Tensor:
        shape = *values.shape[: len(self._lengths) + 1], n_samples, -1, 2
        spectrum = torch.view_as_complex(values.reshape(shape).contiguous())
        if phased:
            spectrum = spectrum * self._phase(axis, spectrum.ndim)
        images = torch.fft.irfft(spectrum, self._lengths[axis], dim=axis)
        return images[(slice(None),) * axis + (slice(count),)]

    def _phase(self, axis: int, ndim: int) -> Tensor:
        phase = torch.view_as_complex(self.get_buffer(f"phase_{axis}"))
        shape = [1] * ndim
        shape[axis], shape[len(self._lengths)] = phase.shape
        return phase.reshape(shape)
