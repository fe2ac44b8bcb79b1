"""Gaussian prior of densities that is the same in all columns of a mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from skgrav._typing import Array, Array32
from skgrav.geometry import AXES, Mesh
from skgrav.inverters._rows import Rows
from skgrav.io import saved, sized

#: Samples from which the covariance is learned, and bytes of images at a time.
_N_SAMPLES, _BLOCK_BYTES = 2000, 2**25

#: Relative difference up to which widths are equal.
_RTOL = 1e-6


@saved
@dataclass(frozen=True)
class StationaryPrior:
    """Mean of each layer, and covariances of two layers that depend on horizontal offset alone.

    So it holds for any number of columns of these widths. The covariances are the same in mirror
    images, and zero at offsets that the training mesh does not have.
    """

    #: Thickness of the layers, and width of the columns along each horizontal axis, in metres.
    thickness: Array = field(metadata=sized("z"))
    widths: Array = field(metadata=sized("h"))
    #: Mean density of each layer.
    mean: Array = field(metadata=sized("z"))
    #: Standard deviation of density, the rms of that of the layers.
    scale: float
    #: Covariance, in units of `scale` squared, of the pairs of layers i <= j at offsets from 0 up,
    #: (n_pairs, nx) or (n_pairs, ny, nx).
    covariance: Array32

    @classmethod
    def of(
        cls, densities: NDArray[Any], mesh: Mesh, *, turns: bool = False, seed: int = 0
    ) -> StationaryPrior:
        """Learn from densities, (n_samples, n_cells), in which y and x are alike if `turns`."""
        thickness, widths = layout(mesh)
        inside = mesh.unflatten(np.ones(mesh.n_cells), fill=0.0)
        horizontal = tuple(range(1, mesh.ndim))
        n_active = np.maximum(inside.sum(axis=horizontal), 1.0)
        sums = mesh.unflatten(Rows(densities).mean(), fill=0.0).sum(axis=horizontal)
        mean = sums / n_active
        order = np.random.RandomState(seed).permutation(len(densities))[:_N_SAMPLES]
        covariance = _correlated(Rows(densities), np.sort(order), mesh, mean)
        # The same factor for all pairs of cells: only then no weighted sum of densities can have a
        # negative variance. The number of pairs at an offset would be a different one for each.
        n_pairs = np.sqrt(n_active[:, None] * n_active)
        covariance /= n_pairs.reshape(*n_pairs.shape, *(1 for _ in horizontal))
        for axis, n in enumerate(mesh.shape[1:], start=2):
            there = np.moveaxis(covariance, axis, 0)
            there = (there[:n] + there[-np.arange(n)]) / 2
            covariance = np.moveaxis(there, 0, axis)
        if turns:
            covariance = (covariance + np.swapaxes(covariance, -1, -2)) / 2
        at_zero = covariance.reshape(len(mean), len(mean), -1)[:, :, 0]
        scale = float(np.sqrt(np.trace(at_zero) / len(mean))) or 1.0
        pairs = np.triu_indices(len(mean))
        covariance = (covariance[pairs] / scale**2).astype(np.float32)
        return cls(thickness, widths, mean, scale, covariance)

    @property
    def key(self) -> tuple[bytes, ...]:
        """Hashable key, the same for equal priors."""
        arrays = (self.thickness, self.widths, self.mean, self.covariance)
        return *(a.tobytes() for a in arrays), np.float64(self.scale).tobytes()

    def check(self) -> None:
        """Raise ValueError if the sizes of a file are not of one mesh."""
        n, axes = len(self.mean), len(self.widths)
        shape = self.covariance.shape
        if shape[0] != n * (n + 1) // 2 or len(shape) != axes + 1 or not all(shape):
            raise ValueError(f"its covariance has shape {shape} for {n} layers and {axes} axes")

    def means(self, mesh: Mesh) -> Array:
        """Return the mean of each cell of a mesh, (n_cells,)."""
        layers = self.mean.reshape(-1, *(1 for _ in self.widths))
        return mesh.flatten(np.broadcast_to(layers, mesh.shape))

    def difference(self, mesh: Mesh) -> str:
        """Return how layers and columns of a mesh differ from these, empty if they do not."""
        if mesh.ndim - 1 != len(self.widths):
            return f"it has {mesh.ndim} axes, and the network is for {len(self.widths) + 1}"
        thickness, widths = layout(mesh)
        if len(thickness) != len(self.thickness):
            return f"it has {len(thickness)} layers, and the network is for {len(self.thickness)}"
        if not np.allclose(thickness, self.thickness, rtol=_RTOL):
            return (
                f"its layers are {_listed(thickness)} m thick, and the network is for "
                f"{_listed(self.thickness)} m"
            )
        if not np.allclose(widths, self.widths, rtol=_RTOL):
            return (
                f"its columns are {_listed(widths)} m wide, and the network is for "
                f"{_listed(self.widths)} m"
            )
        return ""


class StationaryCovariance:
    """Covariance of a `StationaryPrior` on a mesh, applied to densities by FFT."""

    def __init__(self, prior: StationaryPrior, mesh: Mesh) -> None:
        self.mesh, self.scale = mesh, prior.scale
        n_layers, columns = mesh.shape[0], mesh.shape[1:]
        known = [min(n, m) for n, m in zip(columns, prior.covariance.shape[1:], strict=True)]
        self.lengths = [
            fft.next_fast_len(n + m - 1, real=True) for n, m in zip(columns, known, strict=True)
        ]
        kernel = np.zeros((len(prior.covariance), *self.lengths))
        kernel[(slice(None), *(slice(m) for m in known))] = prior.covariance[
            (slice(None), *(slice(m) for m in known))
        ]
        for axis, m in enumerate(known, start=1):
            there = np.moveaxis(kernel, axis, 0)
            there[there.shape[0] - m + 1 :] = there[1:m][::-1]
        axes = tuple(range(1, mesh.ndim))
        pairs = fft.rfftn(kernel, axes=axes).real
        i, j = np.triu_indices(n_layers)
        spectrum = np.empty((n_layers, n_layers, pairs[0].size))
        spectrum[i, j] = spectrum[j, i] = pairs.reshape(len(pairs), -1)
        #: Covariance of the layers at each wavenumber, (n_wavenumbers, n_layers, n_layers).
        self.spectrum = np.ascontiguousarray(np.moveaxis(spectrum, 2, 0))
        self.axes = tuple(range(2, mesh.ndim + 1))

    def __call__(self, rho: Array) -> Array:
        """Return the product with densities, (n_samples, n_cells)."""
        out = np.empty(rho.shape)
        per_sample = 16 * self.spectrum.shape[0] * self.spectrum.shape[1]
        step = max(1, _BLOCK_BYTES // per_sample)
        for start in range(0, len(rho), step):
            block = slice(start, start + step)
            images = self.mesh.unflatten(rho[block], fill=0.0)
            spectra = fft.rfftn(images, self.lengths, axes=self.axes)
            shape = spectra.shape
            # Wavenumbers first; the covariance is real, and multiplies real and imaginary parts.
            columns = np.ascontiguousarray(spectra.reshape(*shape[:2], -1).transpose(2, 1, 0))
            columns = np.matmul(self.spectrum, columns.view(np.float64)).view(np.complex128)
            spectra = np.ascontiguousarray(columns.transpose(2, 1, 0)).reshape(shape)
            images = fft.irfftn(spectra, self.lengths, axes=self.axes)
            inside = (..., *(slice(n) for n in self.mesh.shape[1:]))
            out[block] = self.mesh.flatten(images[inside])
        out *= self.scale**2
        return out


def layout(mesh: Mesh) -> tuple[Array, Array]:
    """Return the thickness of the layers and the widths of the columns, which must be equal."""
    widths = []
    for name, along in zip(AXES[mesh.ndim][1:], mesh.widths[1:], strict=True):
        if not np.allclose(along, along.mean(), rtol=_RTOL):
            raise ValueError(
                f"architecture='unet' needs columns of equal width, but those of the mesh along "
                f"{name} are {along.min():.7g} to {along.max():.7g} m wide; take "
                "architecture='residual', or a mesh of equal columns."
            )
        widths.append(float(along.mean()))
    return mesh.widths[0], np.array(widths)


def _correlated(rows: Rows, chosen: Any, mesh: Mesh, mean: Array) -> Array:
    """Return the sum of products of deviations in two cells for each offset, mean over samples.

    Of shape (n_layers, n_layers, 2 * nx) or (..., 2 * ny, 2 * nx), negative offsets at the end.
    """
    axes = tuple(range(2, mesh.ndim + 1))
    lengths = [2 * n for n in mesh.shape[1:]]
    means = mean.reshape(-1, *(1 for _ in lengths))
    n_layers = mesh.shape[0]
    total: Any = 0.0
    shape: tuple[int, ...] = ()
    step = max(1, _BLOCK_BYTES // (16 * n_layers * int(np.prod(lengths))))
    for start in range(0, len(chosen), step):
        images = mesh.unflatten(rows[chosen[start : start + step]], fill=np.nan) - means
        spectra = fft.rfftn(np.nan_to_num(images, nan=0.0), lengths, axes=axes)
        shape = spectra.shape[2:]
        columns = np.ascontiguousarray(spectra.reshape(*spectra.shape[:2], -1).transpose(2, 1, 0))
        total = total + columns.conj() @ columns.transpose(0, 2, 1)
    total = np.moveaxis(total, 0, 2).reshape(n_layers, n_layers, *shape)
    return fft.irfftn(total, lengths, axes=axes) / len(chosen)


def _listed(numbers: Array) -> str:
    return np.array2string(numbers, precision=7, separator=", ", threshold=6)[1:-1]
