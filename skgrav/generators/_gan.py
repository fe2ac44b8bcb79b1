"""Generative adversarial network of density sections or volumes."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import PassthroughScoring
from torch import nn
from torch.nn.functional import relu, softplus

from skgrav._typing import Array, Array32, Indices
from skgrav._warnings import warn
from skgrav.generators._base import Defaults, DensityGenerator, start_linear
from skgrav.io import Field, saved
from skgrav.metrics import sample_diversity
from skgrav.networks import PaperDiscriminator, PaperGenerator, SectionCritic, SectionGenerator
from skgrav.training import ExponentialDecay, OneCycle, Trainer, TrainingNet

#: Learning rate of the paper's GAN after 100 epochs: it is halved every five.
_PAPER_DECAY = 0.5**20

#: Spread of samples, relative to the training sections, below which the generator has collapsed.
_COLLAPSED = 0.5

#: Steps over which the weights are averaged, and random directions of the validation loss.
_AVERAGED, _N_DIRECTIONS = 500, 128


@saved
class GANGenerator(DensityGenerator):
    """Generative adversarial network of density sections or volumes.

    It has no encoder: `transform` searches for the nearest code of each section.

    Parameters
    ----------
    n_components : int, default=None
        Length of a code. None takes 64, limited by samples and cells, or the paper's 50.
    architecture : {"default", "paper"}, default="default"
        ``"default"`` adds transposed convolutions to principal components, has a critic with
        spectral norm [2]_ and hinge loss, and averages the weights of the generator.
        ``"paper"`` has the networks and the non-saturating loss of [1]_.
    mesh : Mesh, default=None
        Mesh of the densities, 2D of sections or 3D of volumes, whose layers are channels of 2D
        convolutions over the map; None assumes square 2D sections. In inactive cells, the
        networks have a constant, and X contains only the active cells.
    max_epochs : int, default=None
        Passes over the training set; None takes 40, or the paper's 45.
    batch_size : int, default=None
        Samples per step of the optimiser; None takes 64, or the paper's 25.
    learning_rate : float, default=None
        Highest learning rate of Adam, which rises and falls over the training. None takes 1e-3;
        the paper's starts at 5e-4 and is halved every five epochs.
    early_stopping : bool, default=False
        Whether to hold out a validation set, stop when the distance of samples to it stops
        falling, and keep the best weights.
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
        The trained skorch net; the `average` of its module is the generator.
    n_components_ : int
        Length of a code.
    density_range_ : tuple of two floats
        Densities that the generator can return.
    diversity_ : float
        Spread of samples relative to that of the training sections.
    loss_curve_ : list of float
        Loss of the critic in each epoch.
    generator_loss_curve_ : list of float
        Loss of the generator in each epoch.
    validation_loss_curve_ : list of float
        Sliced Wasserstein distance of samples from the validation set in each epoch, relative
        to the density range; empty without `early_stopping`.
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
        If training was interrupted, or the samples have less than half the spread of the
        training sections.
    RuntimeWarning
        If a checkpoint cannot be written; training continues, and the last one is kept.

    See Also
    --------
    VAEGenerator : Has an encoder and represents sections better.
    skgrav.metrics.sample_coverage : Share of sections that samples cover.

    Notes
    -----
    Generator and critic take steps simultaneously, from the same samples.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632, section II.
    .. [2] Miyato et al. (2018), Spectral normalization for generative adversarial networks,
       ICLR, arXiv:1802.05957.

    Examples
    --------
    >>> from skgrav import GANGenerator, Mesh
    >>> from skgrav.datasets import make_density_models
    >>> rho = make_density_models(100, mesh=Mesh.square(12), random_state=0)
    >>> gan = GANGenerator(20, max_epochs=3, random_state=0).fit(rho)
    >>> gan.sample(5, random_state=1).shape
    (5, 144)
    """

    _defaults = {
        "default": Defaults(64, 40, 64, 1e-3),
        "paper": Defaults(50, 45, 25, 5e-4),
    }
    has_encoder = False
    _file_fields: ClassVar = (
        *DensityGenerator._file_fields,
        Field("generator_loss_curve_", list[float]),
        Field("diversity_", float),
    )

    @property
    def _decoder(self) -> nn.Module:
        return self.net_.module_.average

    def _encode(self, X: Array) -> Array:
        # In float32 the end of the search would depend, by rounding, on the rest of the batch.
        return self._nearest(X, np.zeros((len(X), self.n_components_)), torch.float64)

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
            partial(Adversaries, shape, cells, sizes.n_components, paper=paper),
            [
                ("rate", ExponentialDecay(_PAPER_DECAY) if paper else OneCycle()),
                ("generator_loss", PassthroughScoring("generator_loss", on_train=True)),
            ],
            kind=AdversarialNet,
            hinge=not paper,
            criterion=nn.MSELoss,
            optimizer=torch.optim.Adam,
            optimizer__betas=(0.9, 0.999) if paper else (0.5, 0.9),
            iterator_valid__batch_size=-1,
        )

    def _start(self, module: Any, pca: PCA) -> None:
        # Gaussian samples with the covariance of the sections: no mode is missed at the start.
        coloring = pca.components_.T * np.sqrt(np.maximum(pca.explained_variance_, 0.0))
        start_linear(module.generator.linear, coloring, pca.mean_)
        module.average.load_state_dict(module.generator.state_dict())

    def _decoding(self, module: Any) -> Any:
        # Parametrised modules, such as the critic, cannot be pickled.
        module.generator = module.critic = None
        return module

    def _finish(self, scaled: Array32, seed: int) -> None:
        self._decoding(self.net_.module_)
        self.generator_loss_curve_ = [float(e["generator_loss"]) for e in self.net_.history]
        samples = self._scaled(self.sample(1000, random_state=seed))
        # Identical sections have no diversity.
        varied = np.ptp(scaled, axis=0).max() > 1e-6
        self.diversity_ = sample_diversity(scaled, samples) if varied else 1.0
        if self.diversity_ < _COLLAPSED:
            warn(
                f"the samples have only {self.diversity_:.2f} of the spread of the training "
                "sections: the generator has collapsed, or was not trained long enough. Raise "
                "'max_epochs', lower 'learning_rate' or take another 'random_state'.",
                ConvergenceWarning,
            )


class Adversaries(nn.Module):
    """Generator, the average of its weights over the last steps, and critic."""

    def __init__(
        self, shape: tuple[int, ...], cells: Indices | None, n_components: int, *, paper: bool
    ) -> None:
        super().__init__()
        self.n_components = n_components
        generator = (PaperGenerator if paper else SectionGenerator)(shape, n_components)
        critic = (PaperDiscriminator if paper else SectionCritic)(shape)
        self.generator, self.critic = generator.restricted(cells), critic.restricted(cells)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the densities of codes."""
        return self.average(z)

    def draw(self, n_samples: int) -> torch.Tensor:
        """Return random codes."""
        device = next(self.average.parameters()).device
        return torch.randn(n_samples, self.n_components, device=device)

    def update_average(self, share: float) -> None:
        """Move the average toward the current weights."""
        with torch.no_grad():
            for average, weights in zip(
                self.average.parameters(), self.generator.parameters(), strict=True
            ):
                average.lerp_(weights, share)


class AdversarialNet(TrainingNet):
    """Skorch net with simultaneous steps of generator and critic."""

    def __init__(self, *args: Any, hinge: bool = True, **kwargs: Any) -> None:
        self.hinge = hinge
        super().__init__(*args, **kwargs)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        adversaries, real = self.module_, batch[0].to(self.device)
        self._set_training(True)
        samples = adversaries.generator(adversaries.draw(len(real)))
        critic = adversaries.critic
        fooled = critic.requires_grad_(False)(samples)
        generator_loss = -fooled.mean() if self.hinge else softplus(-fooled).mean()
        generator_loss.backward()
        critic.requires_grad_(True)
        critic_loss = self._critic_loss(critic(real), critic(samples.detach()))
        critic_loss.backward()
        self.history.record_batch("generator_loss", generator_loss.item())
        return {"loss": critic_loss, "y_pred": samples}

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self.optimizer_.zero_grad()
        step = self.train_step_single(batch, **fit_params)
        self.optimizer_.step()
        # The paper does not average.
        share = 1.0
        if self.hinge:
            # Steps so far, from the history, which a checkpoint keeps.
            *before, now = self.history.to_list()
            n_steps = sum(epoch["train_batch_count"] for epoch in before) + len(now["batches"])
            share = max(1.0 / _AVERAGED, 1.0 / n_steps)
        self.module_.update_average(share)
        return step

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Measure the sliced Wasserstein distance of as many samples from the sections."""
        real = batch[0].to(self.device)
        self._set_training(False)
        with torch.no_grad():
            samples = self.module_(self.module_.draw(len(real)))
            directions = torch.randn(real.shape[1], _N_DIRECTIONS, device=real.device)
            directions /= directions.norm(dim=0)
            a, b = ((part @ directions).sort(dim=0).values for part in (real, samples))
        return {"loss": (a - b).abs().mean(), "y_pred": samples}

    def _critic_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        if self.hinge:
            return relu(1.0 - real).mean() + relu(1.0 + fake).mean()
        return softplus(-real).mean() + softplus(fake).mean()
