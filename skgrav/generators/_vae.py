"""Variational autoencoder of density sections or volumes."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from skgrav._checks import validate_data
from skgrav._typing import Array, Array32, Indices
from skgrav.generators._base import Defaults, DensityGenerator, batches, start_linear
from skgrav.io import Field, saved
from skgrav.networks import (
    PaperDecoder,
    PaperEncoder,
    SectionDecoder,
    SectionEncoder,
    own_settings,
)
from skgrav.training import ExponentialDecay, OneCycle, Trainer, TrainingNet

#: Share of training over which the weight of the divergence rises to 1.
_WARM_UP = 0.25

#: Learning rate of the paper's VAE after 100 epochs: it is halved every two.
_PAPER_DECAY = 0.5**50

#: Training sections whose codes are kept, neighbours of each that shape its kernel, and size of the
#: kernel: twice as large spreads samples by a sixth more than sections.
_N_CODES, _N_NEIGHBORS, _STEP = 2000, 5, 0.5

#: Sections that are encoded together.
_ENCODED = 50


@saved
class VAEGenerator(DensityGenerator):
    """Variational autoencoder of density sections or volumes.

    `transform` gives the mean of the posterior of each code. `sample` draws from the density of
    the codes of training sections, which are not distributed as ``N(0, I)``.

    Parameters
    ----------
    n_components : int, default=None
        Length of a code. None takes 160, limited by samples and cells, or the paper's 15.
    architecture : {"default", "paper"}, default="default"
        ``"default"`` corrects principal components by 2D convolutions and bounds densities to
        their range. ``"paper"`` is the network of [1]_, along the flattened section.
    mesh : Mesh, default=None
        Mesh of the densities, 2D of sections or 3D of volumes, whose layers are channels of 2D
        convolutions over the map; None assumes square 2D sections. In inactive cells, the
        networks have a constant, and X contains only the active cells.
    max_epochs : int, default=None
        Passes over the training set; None takes 20, or the paper's 25.
    batch_size : int, default=None
        Samples per step of the optimiser; None takes 64, or the paper's 25.
    learning_rate : float, default=None
        Highest learning rate of AdamW, which rises and falls over the training. None takes 2e-3;
        the paper's starts at 1e-4 and is halved every two epochs.
    early_stopping : bool, default=False
        Whether to hold out a validation set, stop when its loss stops falling, and keep the
        best weights.
    validation_fraction : float, default=0.1
        Share of the training set held out with `early_stopping`.
    n_iter_no_change : int, default=5
        Epochs without a better validation loss before training stops.
    density_range : tuple of two floats, default=None
        Range of densities that the generator can return; None takes that of the training set.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, shuffling, codes and the validation set.
    device : str or torch.device, default="auto"
        Torch device; ``"auto"`` takes a GPU if there is one.
    verbose : bool, default=False
        Whether to show a progress bar over epochs.
    checkpoint : str or path-like, default=None
        Directory, for this training only, where `fit` saves its state after epochs. If the process
        is killed or interrupted, the same fit resumes from there and ends with the same weights;
        another fit is refused. The file is removed at the end of training.

    Attributes
    ----------
    net_ : TrainingNet
        The trained skorch net, a module of `encoder` and `decoder`.
    n_components_ : int
        Length of a code.
    codes_ : ndarray of shape (n_codes, n_components_)
        Codes of at most 2000 training sections.
    density_range_ : tuple of two floats
        Densities that the generator can return.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_loss_curve_ : list of float
        Validation loss of each epoch; empty without `early_stopping`.
    n_epochs_ : int
        Epochs trained.
    n_features_in_ : int
        Number of cells.

    Raises
    ------
    ValueError
        If the mesh does not match the densities, there are too few samples for the code, or
        `checkpoint` belongs to another training.
    OSError
        If `checkpoint` is not writable.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted; the weights of the last complete epoch are kept, or with
        `early_stopping` of the best.
    RuntimeWarning
        If a checkpoint cannot be written; training continues, and the last one is kept.

    See Also
    --------
    GANGenerator : Sharper sections without an encoder.
    skgrav.inverters.LatentInverter : Inverts gravity within the generator.

    Notes
    -----
    The default loss per cell is ``log(mse) / 2 + w KL / n_cells``: the variance of the decoder is
    optimal for each batch, which needs no balancing [2]_. The weight w rises to 1 over the first
    quarter of training. The paper's loss is ``1000 mse + KL``, with densities scaled to 12 units.

    Codes that `sample` draws are those of training sections, moved by Gaussian steps of half the
    distance to the 5 nearest others: a kernel estimate of their density.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632, section II.
    .. [2] Rybkin, Daniilidis and Levine (2021), Simple and effective VAE training with
       calibrated decoders, ICML, arXiv:2006.13202.

    Examples
    --------
    >>> from skgrav import Mesh, VAEGenerator
    >>> from skgrav.datasets import make_density_models
    >>> rho = make_density_models(100, mesh=Mesh.square(12), random_state=0)
    >>> vae = VAEGenerator(20, max_epochs=3, random_state=0).fit(rho)
    >>> vae.transform(rho).shape, vae.sample(5, random_state=1).shape
    ((100, 20), (5, 144))
    """

    _defaults = {
        "default": Defaults(160, 20, 64, 2e-3),
        "paper": Defaults(15, 25, 25, 1e-4),
    }
    has_encoder = True
    _file_fields: ClassVar = (
        *DensityGenerator._file_fields,
        Field("codes_", Array32, ("n", "n_components_"), "float16", optional=True),
    )

    def kl_divergence(self, X: ArrayLike) -> Array:
        """Compute the divergence of the posterior of each code from ``N(0, I)``, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities.

        Returns
        -------
        divergence : ndarray of shape (n_samples,)
            Information of a code about its section.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        mean, log_variance = self._posterior(X)
        return divergence(mean, log_variance).double().numpy()

    def _finish(self, scaled: Array32, seed: int) -> None:
        some = np.random.RandomState(seed).permutation(len(scaled))[:_N_CODES]
        low, high = self.density_range_
        codes = []
        for batch in gen_batches(len(some), _ENCODED):  # in double precision they take much memory
            rho = low + (high - low) * scaled[some[batch]].astype(np.float64)
            codes.append(self._encode(rho).astype(np.float32))
        self.codes_ = np.concatenate(codes)

    def _drawn_codes(self, n_samples: int, rng: np.random.RandomState) -> Array:
        if not hasattr(self, "codes_"):  # of an older file
            return super()._drawn_codes(n_samples, rng)
        codes = self.codes_.astype(np.float64)
        n_neighbors = min(_N_NEIGHBORS, len(codes) - 1)
        chosen = codes[rng.randint(len(codes), size=n_samples)]
        search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(codes)
        steps = codes[search.kneighbors(chosen, return_distance=False)] - chosen[:, None]
        weights = _STEP / np.sqrt(n_neighbors) * rng.normal(size=steps.shape[:2])
        return chosen + np.einsum("ij,ijk->ik", weights, steps)

    @property
    def _decoder(self) -> nn.Module:
        return self.net_.module_.decoder

    def _encode(self, X: Array) -> Array:
        return self._posterior(X)[0].double().numpy()

    def _posterior(self, X: Array) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.net_.module_.encoder
        with own_settings(), torch.no_grad():
            scaled = torch.from_numpy(self._scaled(X))
            parts = [encoder(scaled[rows].to(self.net_.device)) for rows in batches(len(X))]
        mean, log_variance = (torch.cat(p).cpu() for p in zip(*parts, strict=True))
        return mean, log_variance

    def _make_net(
        self,
        trainer: Trainer,
        shape: tuple[int, ...],
        cells: Indices | None,
        sizes: Defaults,
    ) -> TrainingNet:
        paper = self.architecture == "paper"
        return self._compose(
            trainer,
            sizes,
            partial(Autoencoder, shape, cells, sizes.n_components, paper=paper),
            [
                ("rate", ExponentialDecay(_PAPER_DECAY) if paper else OneCycle()),
                ("warm_up", WarmUp(0.0 if paper else _WARM_UP)),
            ],
            criterion=VAELoss,
            criterion__calibrated=not paper,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=0.0 if paper else 1e-4,
        )

    def _start(self, module: Any, pca: PCA) -> None:
        # The best linear autoencoder, probabilistic PCA: whitened components, and the variance of
        # codes that the noise of the rest leaves.
        variance = np.maximum(pca.explained_variance_, 1e-8)
        noise = max(float(pca.noise_variance_), 1e-8)
        whitening = pca.components_ / np.sqrt(variance)[:, None]
        coloring = pca.components_.T * np.sqrt(variance)
        start_linear(module.encoder.linear, whitening, -whitening @ pca.mean_)
        start_linear(module.decoder.linear, coloring, pca.mean_)
        with torch.no_grad():
            log_variance = np.log(noise / (variance + noise))
            module.encoder.head.bias[len(variance) :] = torch.from_numpy(log_variance).float()


class Autoencoder(nn.Module):
    """Encoder and decoder; in training codes are drawn from their posterior."""

    def __init__(
        self, shape: tuple[int, ...], cells: Indices | None, n_components: int, *, paper: bool
    ) -> None:
        super().__init__()
        encoder = (PaperEncoder if paper else SectionEncoder)(shape, n_components)
        decoder = (PaperDecoder if paper else SectionDecoder)(shape, n_components)
        self.encoder, self.decoder = encoder.restricted(cells), decoder.restricted(cells)

    def forward(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return reconstructed densities, and mean and log-variance of the codes."""
        mean, log_variance = self.encoder(rho)
        z = mean
        if self.training:
            z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance


class VAELoss(nn.Module):
    """Reconstruction loss plus divergence, times `weight` in training."""

    #: Mean squared error, relative to the squared range, below which the loss levels off.
    _FLOOR = 1e-7

    def __init__(self, *, calibrated: bool) -> None:
        super().__init__()
        self.calibrated = calibrated
        self.weight = 1.0

    def forward(self, output: tuple[torch.Tensor, ...], rho: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        reconstructed, mean, log_variance = output
        mse = nn.functional.mse_loss(reconstructed, rho)
        kl = divergence(mean, log_variance).mean()
        if not self.calibrated:
            return 144e3 * mse + kl
        weight = self.weight if self.training else 1.0
        return (mse + self._FLOOR).log() / 2 + weight * kl / rho.shape[1]


class WarmUp(Callback):
    """Raise the weight of the divergence to 1 over a share of training."""

    def __init__(self, share: float) -> None:
        self.share = share

    def on_batch_begin(self, net: NeuralNetRegressor, training: bool, **kwargs: Any) -> None:
        if training:
            net.criterion_.weight = min(1.0, net.progress / self.share) if self.share else 1.0


def divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of Gaussian codes from ``N(0, I)``, in nats."""
    return (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1) / 2
