"""Linear images of density on the mesh: the encoding of the U-Net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import clone
from skorch.callbacks import GradientNormClipping
from torch import nn

from skgrav._typing import Array, Array32
from skgrav._warnings import warn
from skgrav.inverters._encoding import Numbers, TrainingDefaults
from skgrav.inverters._linear_encoding import (
    LinearEncoding,
    constant_part,
    operator_of_pairs,
    typical_rms,
)
from skgrav.inverters._linear_images import central_gravity, image_frame, map_operator, typical_size
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._rows import Encoded, Rows
from skgrav.inverters._stationary import StationaryPrior
from skgrav.inverters._typicality import Typicality
from skgrav.io import saved
from skgrav.networks import INITIAL, ImageFrame, ImageNetwork, RelativeLoss, UNet
from skgrav.noise import Noise
from skgrav.operators import BaseOperator, ForwardOperator
from skgrav.solvers import DataSpace
from skgrav.training import (
    AverageWeights,
    Mirror,
    Muon,
    OneCycle,
    TrainingNet,
    check_turns,
    draw_levels,
)

#: Noise added to that of a sample for each linear image, relative to the rms of the data. The first
#: is above the rounding of the eigenvalues.
LEVELS = (1e-6, 1e-2, 1e-1)

#: Largest number of data, whose covariance is decomposed.
MAX_DATA = 6000

#: Training samples whose seeming noise is estimated, and a factor of the largest for others; and
#: samples that show what is usual.
_N_SEEMING, _MORE_SEEMING, _N_TYPICAL = 500, 1.25, 3000

_OTHER = "take architecture='residual', which needs no mesh"


@saved
@dataclass(frozen=True, kw_only=True)
class ImageEncoding(LinearEncoding):
    """Whitened data, of which the network makes linear images of density on the mesh.

    The prior of the linear estimates is the same in all columns, so that the network may be used
    for another survey or another number of columns.
    """

    defaults: ClassVar[TrainingDefaults] = TrainingDefaults(10, 32, 1e-2, (0.0, 0.1), 4e-3)
    criterion: ClassVar[type[nn.Module]] = RelativeLoss
    optimizer: ClassVar[dict[str, Any]] = {
        "optimizer": Muon,
        "iterator_valid__batch_size": 128,  # images take a hundred times the memory of the data
    }
    range_grows: ClassVar[bool] = True
    takes_noise_level: ClassVar[bool] = True
    n_images: ClassVar[int] = 1
    _file_left_out: ClassVar = {"frame"}
    # A single body may be large or small.
    signal_scales: ClassVar[Sequence[float]] = tuple(10.0 ** np.linspace(-1.5, 1.5, 13))

    operator: ForwardOperator
    prior: StationaryPrior
    #: Height above the mesh at which gz is mapped, in metres, and typical size of that gz.
    map_height: float
    map_scale: float
    #: "mirror", "turns" or None.
    symmetry: str | None
    #: Whether the network knows which cells are active.
    masked: bool

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> ImageEncoding:
        """Check operator and symmetry, and learn the prior from training densities."""
        if inverter.data_consistency:
            raise ValueError(
                "'data_consistency' is True, but the network of architecture='unet' is not trained "
                "through the data; fit its estimates to them by Refiner('projection', init=...)."
            )
        given = inverter.operator
        if given is not None or X.shape[1] ** 2 != 36 * y.shape[1]:  # the paper's is found
            _with_geometry(given)
        operator = _with_geometry(operator_of_pairs(X, y, given))
        mesh = operator.mesh_
        _check_symmetry(operator, inverter.augment)
        whitening = Noise.of(operator, n_data=X.shape[1]).whitening
        _check_size(whitening.n_white)
        prior = StationaryPrior.of(y, mesh, turns=inverter.augment == "turns", seed=seed)
        above = mesh.edges[0][0] - float(np.median(operator.survey_.stations[:, 0]))
        height = max(above, 1e-3 * float(prior.thickness[0]))
        offset = constant_part(X, y, operator)
        encoding = cls(
            operator=operator,
            data_offset=offset,
            data_mean=_white_mean(operator, prior, offset),
            data_rms=typical_rms(X, whitening),
            prior=prior,
            map_height=height,
            map_scale=central_gravity(prior, mesh, map_operator(operator, height)),
            symmetry=inverter.augment,
            masked=mesh.active is not None,
            uncertainty=inverter.uncertainty,
        )
        # Densities are not Gaussian, so that small bodies near the surface resemble noise.
        order = np.random.RandomState(seed).permutation(len(y))[:_N_TYPICAL]
        inputs = encoding.data_rms * encoding.encode(X[order], y[order])[0].astype(np.float64)
        data, rms = inputs[:, :-1], inputs[:, -1]
        share = np.sqrt(encoding.noise_variance(data[:_N_SEEMING])) / rms[:_N_SEEMING]
        found = replace(
            encoding,
            seeming_noise=_MORE_SEEMING * float(share.max()),
            typicality=Typicality.learn(
                encoding.data_space,
                data + encoding.data_mean,
                encoding.data_mean,
                encoding.data_rms,
            ),
        )
        vars(found)["frame"] = encoding.frame  # equal, and takes long
        return found

    def for_operator(self, operator: BaseOperator) -> ImageEncoding:
        """Return the encoding for another survey, or other columns, on the same layers."""
        operator = _with_geometry(operator)
        if operator.survey is not None:  # before a matrix is built
            _check_size(operator.survey.n_data - operator.survey.trend_basis.shape[1])
        fitted = clone(operator).fit()
        difference = self.prior.difference(fitted.mesh_)
        if difference:
            raise ValueError(
                f"'operator' has another mesh than the network was trained for: {difference}. Give "
                "one of the same layers and column widths, or fit a network for this mesh."
            )
        if fitted.units != self.operator.units:
            raise ValueError(
                f"'operator' has units={fitted.units!r}, but the network was trained with "
                f"{self.operator.units!r}, on densities that belong to it. Give these units."
            )
        if fitted.mesh_.active is not None and not self.masked:
            warn(
                "the mesh of 'operator' has inactive cells, but the network was trained on a whole "
                "block. Train it on meshes with inactive cells."
            )
        whitening = Noise.of(fitted).whitening
        _check_size(whitening.n_white)
        offset = np.zeros(fitted.n_data_)
        mean = _white_mean(fitted, self.prior, offset)
        rms = float(np.sqrt(typical_size(fitted, whitening, self.prior) ** 2 + np.mean(mean**2)))
        return replace(
            self,
            operator=fitted,
            data_offset=offset,
            data_mean=mean,
            data_rms=rms,
            typicality=None,  # it depends on the survey
        )

    @cached_property
    def frame(self) -> ImageFrame:
        """The linear images, computed when first needed, as they are large."""
        return image_frame(
            self.operator,
            self.noise.whitening,
            self.prior,
            self.data_rms,
            map_operator(self.operator, self.map_height),
            self.map_scale,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "frame"}

    def _frame(self) -> ImageFrame:
        return self.frame

    @property
    def data_space(self) -> DataSpace:
        variance = self.frame.variance * self.data_rms**2
        return DataSpace(self.frame.rotation, variance, np.empty((len(variance), 0)))

    def check_file(self, sizes: tuple[int, int], operator: BaseOperator | None) -> None:
        if operator is not self.operator or len(self.data_mean) != self.noise.whitening.n_white:
            raise ValueError("its operators or their noise differ")
        if self.symmetry not in (None, "mirror", "turns"):
            raise ValueError(f"its symmetry is {self.symmetry!r}")
        own = len(self.data_offset), self.operator.n_cells_
        if sizes != own:
            raise ValueError(f"its sizes are {sizes}, but {own} in its network")
        self.prior.check()
        if difference := self.prior.difference(self.operator.mesh_):
            raise ValueError(f"its mesh is not that of its prior: {difference}")

    def encode(self, X: Numbers, y: Numbers) -> tuple[Array32, Encoded]:
        """Return whitened noise-free data and their rms, and densities read batch by batch."""
        inputs = np.empty((len(y), len(self.data_mean) + 1), dtype=np.float32)
        norms = np.empty(len(y), dtype=np.float32)
        whitening, constant = self.noise.whitening, self.data_offset
        for place, rho in Rows(y).blocks():
            white = whitening(self.operator.products_.forward(rho) + constant)
            inputs[place, :-1] = (white - self.data_mean) / self.data_rms
            inputs[place, -1] = self.rms(white) / self.data_rms
            norms[place] = np.linalg.norm(rho, axis=1)
        usual = float(np.sqrt(np.mean(norms.astype(np.float64) ** 2))) or 1.0
        return inputs, Encoded(_targets, Rows(y), np.maximum(norms, 1e-3 * usual))

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        n_layers, n_axes = len(self.prior.mean), len(self.prior.widths)
        n_in = len(LEVELS) * (n_layers + 1) + 1 + n_layers * self.masked
        scale = self.prior.scale
        return partial(
            _network,
            partial(UNet, n_in, n_layers, ndim=n_axes, spread=INITIAL if self.uncertainty else ()),
            self._frame,
            levels=LEVELS,
            mean=self.prior.mean / scale,
            scale=scale,
            symmetry=self.symmetry,
            masked=self.masked,
            spread=self.uncertainty,
        )

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return one cycle of learning rates, the user's callbacks, clipping, and averages."""
        clip = GradientNormClipping(1.0)
        return [("one_cycle", OneCycle()), *own, ("clip", clip), ("average", AverageWeights())]

    def augmentation(self, training_noise: tuple[float, float], device: str) -> NoisyData:
        """Return the augmentation, which draws the noise of each batch."""
        return NoisyData(training_noise)

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        """Return the densities of the network, at the noise of each sample."""
        sigma = self._noise_of(X, noise_level, net.augment.noise_level)
        self.warn_atypical(X, sigma)
        rho = net.predict(self._inputs(X, sigma)).astype(np.float64)
        self.warn_unexplained(X, sigma, rho, density_range)
        return np.clip(rho, *density_range, out=rho)

    def distributions(
        self, net: TrainingNet, X: Array, noise_level: ArrayLike | None
    ) -> tuple[Array, Marginals, Array]:
        sigma = self._noise_of(X, noise_level, net.augment.noise_level)
        self.warn_atypical(X, sigma)
        rho, *parameters = net.mixtures(self._inputs(X, sigma))
        return rho, Marginals(*parameters), sigma

    def _inputs(self, X: Array, sigma: Array) -> Array32:
        data = (self.noise.whitening(X) - self.data_mean) / self.data_rms
        return np.column_stack([data, np.log10(sigma / self.data_rms)]).astype(np.float32)


class NoisyData:
    """Augmentation that adds noise, of levels between two bounds, to whitened data."""

    always = True  # for validation data, too

    def __init__(self, noise_level: tuple[float, float]) -> None:
        self.noise_level = noise_level

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        data, rms = X[:, :-1], X[:, -1:]
        sigma = draw_levels(*self.noise_level, rms) * rms
        return torch.cat([data + sigma * torch.randn_like(data), torch.log10(sigma)], dim=1), y


def _network(body: Callable[[], nn.Module], *args: Any, **settings: Any) -> nn.Module:
    return ImageNetwork(body(), *args, **settings)


def _targets(rho: Array, norm: Array32) -> Array32:
    """Return densities, no remainder, and norms, as `RelativeLoss` takes them."""
    further = np.stack([np.zeros_like(norm), norm], axis=-1)
    return np.concatenate([rho, further], axis=-1, dtype=np.float32, casting="same_kind")


def _white_mean(operator: ForwardOperator, prior: StationaryPrior, offset: Array) -> Array:
    g = operator.products_.forward(prior.means(operator.mesh_)[None]) + offset
    return Noise.of(operator).whitening(g)[0]


def _with_geometry(operator: Any) -> ForwardOperator:
    """Return an operator that has mesh and survey, else raise ValueError."""
    if not isinstance(operator, ForwardOperator):
        found = "None" if operator is None else f"a {type(operator).__name__}"
        raise ValueError(
            f"'operator' is {found}, but the network of architecture='unet' makes images on a mesh:"
            f" give the ForwardOperator of mesh and survey, or {_OTHER}."
        )
    return operator


def _check_size(n_data: int) -> None:
    if n_data > MAX_DATA:
        raise ValueError(
            f"'operator' has {n_data} data, but architecture='unet' decomposes the covariance of "
            f"at most {MAX_DATA}. Give a survey of fewer stations, fit on a part of it and invert "
            "other parts by `with_operator`."
        )


def _check_symmetry(operator: ForwardOperator, augment: str | None) -> None:
    geometry = operator.mesh_, operator.survey_, operator.fraction_
    if augment is not None:
        for axis in range(1, operator.mesh_.ndim):
            Mirror.of(*geometry, axis=axis)
    if augment == "turns":
        check_turns(*geometry)
