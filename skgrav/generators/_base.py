"""Base of density models that can be sampled, encoded and decoded."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import isqrt, prod
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from skorch.dataset import ValidSplit

from skgrav._checks import check_array, check_range, check_size, validate_data
from skgrav._constraints import COUNT, POSITIVE, WHOLE, Interval, StrOptions, checked
from skgrav._typing import Array, Array32, Indices
from skgrav._warnings import warn
from skgrav.geometry import Mesh
from skgrav.io import FEATURES, Field, SavedMixin, Weights
from skgrav.networks import (
    FILL,
    check_tensor,
    check_weights,
    least_precision,
    own_settings,
    put_weights,
    weights_of,
    with_own_settings,
)
from skgrav.solvers import NonlinearProblem, lbfgs
from skgrav.training import Trainer, TrainingNet

#: Standard deviation of each cell, relative to the density range, in the search of codes.
_CLOSENESS = 0.05

#: Codes over which the Jacobian of a decoder is averaged.
_N_DRAWN = 2000

#: Samples decoded or encoded together.
_BATCH = 250


class Defaults(NamedTuple):
    """Parameters of an architecture where they are None."""

    n_components: int
    max_epochs: int
    batch_size: int
    learning_rate: float


class DensityGenerator(
    SavedMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    ABC,
):
    """Base of density models with codes: sections or volumes to be drawn, encoded and decoded.

    In training, ``N(0, I)`` is the prior of the codes.

    Parameters
    ----------
    n_components : int, default=None
        Length of a code. None takes that of the architecture, limited by samples and cells.
    architecture : {"default", "paper"}, default="default"
        The library's network, or that of arXiv:2510.09632.
    mesh : Mesh, default=None
        Mesh of the densities, 2D of sections or 3D of volumes, whose layers are channels of 2D
        convolutions over the map; None assumes square 2D sections. In inactive cells, the
        networks have a constant, and X contains only the active cells.
    max_epochs : int, default=None
        Passes over the training set; None takes that of the architecture.
    batch_size : int, default=None
        Samples per step of the optimiser; None takes that of the architecture.
    learning_rate : float, default=None
        Highest learning rate; None takes that of the architecture.
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

    See Also
    --------
    VAEGenerator, GANGenerator : Density models.
    skgrav.inverters.LatentInverter : Inverts gravity within one.

    Examples
    --------
    >>> from skgrav.generators import DensityGenerator, VAEGenerator
    >>> issubclass(VAEGenerator, DensityGenerator)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "n_components": [POSITIVE, None],
        "architecture": [StrOptions({"default", "paper"})],
        "mesh": [Mesh, None],
        "max_epochs": [COUNT, None],
        "batch_size": [POSITIVE, None],
        "learning_rate": [Interval(Real, 0, 1e30, closed="right"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [POSITIVE],
        "density_range": [tuple, list, None],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "checkpoint": [str, os.PathLike, None],
    }

    _file_fields: ClassVar[tuple[Field, ...]] = (
        *FEATURES,
        Field("n_components_", int),
        Field("density_range_", tuple[float, float]),
        Field("loss_curve_", list[float]),
        Field("validation_loss_curve_", list[float]),
        Field("n_epochs_", int),
        Field("shape_", tuple[int, ...]),
        Field("cells_", Indices | None, ("n_features_in_",), optional=True),
        Field("network", Weights, least=least_precision),
    )
    _file_left_out: ClassVar = {"net_"}

    _defaults: dict[str, Defaults]

    #: Whether `transform` encodes directly, without a search.
    has_encoder: bool

    def __init__(
        self,
        n_components: int | None = None,
        *,
        architecture: Literal["default", "paper"] = "default",
        mesh: Mesh | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        density_range: tuple[float, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.n_components = n_components
        self.architecture = architecture
        self.mesh = mesh
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.density_range = density_range
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.checkpoint = checkpoint

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on densities of sections or volumes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities, flattened in C order, top layer first.
        y : None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        self : DensityGenerator
            The fitted generator.
        """
        self._validate_params()
        # In the precision given: float32 halves the memory of large sets of volumes.
        X = validate_data(self, X, ensure_min_samples=2, dtype=(np.float64, np.float32))
        shape, cells = self._shape(X.shape[1])
        scaled = self._scaled_by_range(X)
        sizes = self._resolved(*X.shape)
        self.n_components_ = sizes.n_components
        trainer = Trainer(self)
        trainer.check_data(X=X)
        self.net_ = net = self._make_net(trainer, shape, cells, sizes)
        trainer.initialize(net)
        if self.architecture == "default":
            pca = PCA(self.n_components_, random_state=trainer.seed)
            with own_settings(), np.errstate(invalid="ignore"):  # identical sections: no variance
                self._start(net.module_, pca.fit(_filled(scaled, shape, cells)))
        try:
            outcome = trainer.train(net, scaled, scaled, sizes.max_epochs, seed=trainer.seed + 1)
        except (FloatingPointError, KeyboardInterrupt):
            del self.net_
            raise
        if outcome.stopped_by == "interrupt":
            warn(
                f"training was stopped by the user after {outcome.n_epochs} of "
                f"{sizes.max_epochs} epochs; the weights of the "
                f"{'best' if self.early_stopping else 'last'} of them are kept.",
                ConvergenceWarning,
            )
        history = list(net.history)
        self.loss_curve_ = [float(epoch["train_loss"]) for epoch in history]
        self.validation_loss_curve_ = [
            float(epoch["valid_loss"]) for epoch in history if "valid_loss" in epoch
        ]
        self.n_epochs_ = len(history)
        self._finish(scaled, trainer.seed)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Encode densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities in the unit of the training set.

        Returns
        -------
        z : ndarray of shape (n_samples, n_components_)
            Codes.
        """
        check_is_fitted(self)
        return self._encode(validate_data(self, X, reset=False))

    def inverse_transform(self, X: ArrayLike) -> Array:
        """Decode codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_)
            Codes.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells)
            Densities within `density_range_`.
        """
        check_is_fitted(self)
        X = check_array(X, "X")
        if X.shape[1] != self.n_components_:
            raise ValueError(
                f"'X' has {X.shape[1]} columns, but codes of this {type(self).__name__} have "
                f"{self.n_components_} components."
            )
        low, high = self.density_range_
        with own_settings(), torch.no_grad():
            z = torch.from_numpy(X.astype(np.float32, order="C")).to(self.net_.device)
            parts = [self._decoder(z[rows]).cpu().double().numpy() for rows in batches(len(z))]
        # Rounding may exceed the range.
        return np.clip(low + (high - low) * np.concatenate(parts), low, high)

    @checked(n_samples=[WHOLE], random_state=["random_state"])
    def sample(
        self, n_samples: int = 1, *, random_state: int | np.random.RandomState | None = None
    ) -> Array:
        """Draw densities of sections or volumes.

        Parameters
        ----------
        n_samples : int, default=1
            Number of sections or volumes.
        random_state : int, RandomState instance or None, default=None
            Seed of the codes, which are drawn from ``N(0, I)``, or by a VAEGenerator from the
            density of training codes.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells)
            Densities within `density_range_`.
        """
        check_is_fitted(self)
        return self.inverse_transform(
            self._drawn_codes(n_samples, check_random_state(random_state))
        )

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Measure the error of encoding and decoding densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities.
        y : None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        score : float
            Minus the mean relative L2 error of the reconstruction; 0 is perfect.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        error = np.linalg.norm(X - self.inverse_transform(self._encode(X)), axis=1)
        norm = np.linalg.norm(X, axis=1)
        return -float(np.mean(error / np.where(norm > 0, norm, 1.0)))

    def nearest_code(self, X: ArrayLike, *, z0: ArrayLike | None = None) -> Array:
        """Find the codes whose densities are nearest to given ones, by L-BFGS.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities, possibly outside the range of the generator.
        z0 : array-like of shape (n_samples, n_components_), default=None
            Codes to start from; None starts at zero, the mean of all codes.

        Returns
        -------
        z : ndarray of shape (n_samples, n_components_)
            A minimum of ``||G(z) - rho||**2 / (0.05 range)**2 + ||z||**2``. The last term
            decides between nearly equal densities.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        if z0 is None:
            z0 = np.zeros((len(X), self.n_components_))
        z0 = check_array(z0, "z0")
        if z0.shape != (len(X), self.n_components_):
            raise ValueError(
                f"'z0' has shape {z0.shape}; it must be one code for each section, "
                f"({len(X)}, {self.n_components_})."
            )
        return self._nearest(X, z0, torch.float32)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Decode codes within torch, with derivatives.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_components_)
            Codes, float32, on the device of the generator.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in the unit of the training set.
        """
        check_tensor(z, "z", self.n_components_)
        low, high = self.density_range_
        return low + (high - low) * self._decoder(z)

    @with_own_settings
    def _nearest(self, X: Array, z0: Array, dtype: torch.dtype) -> Array:
        device = self.net_.device
        decoder = copy.deepcopy(self._decoder).to(dtype)
        jacobian = self._average_jacobian.to(dtype)
        # Copies are aligned in memory, on which the rounding of sums, and so of codes, depends.
        start = torch.tensor(np.ascontiguousarray(z0), dtype=dtype)
        data = torch.tensor(self._scaled(X), dtype=dtype)
        codes = []
        for rows in batches(len(X)):
            problem = NonlinearProblem(
                forward=decoder,
                data=data[rows].to(device),
                weights=torch.full((1, X.shape[1]), 1 / _CLOSENESS, dtype=dtype, device=device),
                jacobian=jacobian,
                centre=torch.zeros(1, self.n_components_, dtype=dtype, device=device),
            )
            solution = lbfgs(problem, start[rows].to(device), 100, 1e-3)
            codes.append(solution.u.cpu().double().numpy())
        return np.concatenate(codes)

    @property
    def _average_jacobian(self) -> torch.Tensor:
        """Derivative of the scaled densities by the codes, averaged over drawn codes."""
        device = self.net_.device
        generator = torch.Generator(device).manual_seed(0)
        size = _N_DRAWN, self.n_components_
        with torch.no_grad():
            z = torch.randn(size, device=device, dtype=torch.float32, generator=generator)
            scaled = torch.cat([self._decoder(z[rows]) for rows in batches(len(z))])
        z -= z.mean(dim=0)
        return torch.cholesky_solve(z.T @ scaled, torch.linalg.cholesky(z.T @ z))

    @property
    @abstractmethod
    def _decoder(self) -> torch.nn.Module:
        """Fitted module from codes to densities in [0, 1]."""

    def _drawn_codes(self, n_samples: int, rng: np.random.RandomState) -> Array:
        """Draw codes, (n_samples, n_components_)."""
        return rng.normal(size=(n_samples, self.n_components_))

    @abstractmethod
    def _encode(self, X: Array) -> Array:
        """Return the codes of validated densities."""

    @abstractmethod
    def _make_net(
        self,
        trainer: Trainer,
        shape: tuple[int, ...],
        cells: Indices | None,
        sizes: Defaults,
    ) -> TrainingNet:
        """Compose the skorch net of a section shape and its active cells, by `_compose`."""

    def _compose(
        self,
        trainer: Trainer,
        sizes: Defaults,
        module: Any,
        callbacks: list[Any],
        **parameters: Any,
    ) -> TrainingNet:
        """Return a net with the settings common to all generators."""
        return trainer.compose(
            module,
            callbacks=callbacks,
            # Training losses of epochs are not comparable: the weights of their terms change.
            monitor="valid_loss" if self.early_stopping else None,
            split=ValidSplit(self.validation_fraction, random_state=trainer.seed),
            lr=sizes.learning_rate,
            batch_size=sizes.batch_size,
            **parameters,
        )

    @abstractmethod
    def _start(self, module: Any, pca: PCA) -> None:
        """Initialise the linear parts of a module by principal components of scaled sections."""

    def _finish(self, scaled: Array32, seed: int) -> None:
        """Set further fitted attributes after training."""

    def _shape(self, n_cells: int) -> tuple[tuple[int, ...], Indices | None]:
        """Return the shape of sections or volumes, and their active cells if not all are."""
        mesh = self.mesh
        if mesh is not None:
            if mesh.n_cells != n_cells:
                some = "" if mesh.active is None else f" and {mesh.n_cells} active cells"
                raise ValueError(
                    f"'mesh' has shape {mesh.shape}{some}, but X has {n_cells} cells; give the "
                    "mesh of the densities, 2D of sections or 3D of volumes."
                )
            if mesh.ndim == 3 and self.architecture == "paper":
                raise ValueError(
                    f"architecture='paper' is of sections, but 'mesh' has shape {mesh.shape}. "
                    "Take architecture='default'."
                )
            return tuple(mesh.shape), None if mesh.active is None else mesh.cells
        n = isqrt(n_cells)
        if n * n == n_cells:
            return (n, n), None
        warn(
            f"'mesh' is None and {n_cells} cells are not a square section: they are taken as one "
            "layer. Give 'mesh'."
        )
        return (1, n_cells), None

    def _resolved(self, n_samples: int, n_cells: int) -> Defaults:
        """Return the parameters given, with defaults of the architecture where they are None."""
        defaults = self._defaults[self.architecture]
        given = {name: getattr(self, name) for name in Defaults._fields}
        sizes = defaults._replace(**{k: v for k, v in given.items() if v is not None})
        limit = min(n_samples, n_cells)
        if self.architecture == "paper" or sizes.n_components <= limit:
            return sizes
        if self.n_components is not None:
            raise ValueError(
                f"'n_components' is {self.n_components}; it must be at most {limit}, the smaller "
                f"of {n_samples} samples and {n_cells} cells."
            )
        return sizes._replace(n_components=limit)

    def _scaled_by_range(self, X: Array) -> Array32:
        """Set the density range and scale training densities by it."""
        low, high = float(X.min()), float(X.max())
        if self.density_range is not None:
            low, high = check_range(self.density_range, "density_range")
        self.density_range_ = low, high
        if X.min() < low or X.max() > high:
            warn(
                f"'X' ranges from {X.min():g} to {X.max():g}, beyond density_range=({low:g}, "
                f"{high:g}), which the generator cannot leave. Give a wider 'density_range'."
            )
        return self._scaled(X)

    def _scaled(self, X: Array) -> Array32:
        low, high = self.density_range_
        scaled = np.empty(X.shape, dtype=np.float32)
        for rows in batches(len(X)):
            part = (X[rows].astype(np.float64) - low) / ((high - low) or 1.0)
            check_size(part, "X relative to the density_range")
            scaled[rows] = part
        return scaled

    def _decoding(self, module: Any) -> Any:
        """Remove parts of a module that are used in training only."""
        return module

    def _file_parameters(self) -> dict[str, Any]:
        parameters = self.get_params(deep=False)
        if hasattr(self, "net_"):  # the parameter may have changed after `fit`
            paper = self.net_.module.keywords["paper"]
            parameters["architecture"] = "paper" if paper else "default"
        return parameters

    def _file_state(self) -> dict[str, Any]:
        shape, cells, _ = self.net_.module.args
        network = weights_of(self.net_.module_)
        return vars(self) | {"shape_": shape, "cells_": cells, "network": network}

    def _file_restore(self, state: dict[str, Any]) -> None:
        shape, weights = state.pop("shape_"), state.pop("network")
        cells = state.pop("cells_", None)
        self.__dict__.update(state)
        n_block = prod(shape)
        fits = n_block == self.n_features_in_ if cells is None else _are_cells(cells, n_block)
        if len(shape) not in (2, 3) or min(shape) < 1 or not fits:
            kind = "volumes" if len(shape) == 3 else "sections"
            raise ValueError(f"{kind} of shape {shape} do not have {self.n_features_in_} cells")
        sizes = self._defaults[self.architecture]._replace(n_components=self.n_components_)
        trainer = Trainer(self, seed=0, resumable=False)
        net = self._make_net(trainer, shape, cells, sizes)
        check_weights(lambda: self._decoding(net.module()), weights)
        trainer.initialize(net)
        put_weights(self._decoding(net.module_), weights)
        net.optimizer_ = None  # as after unpickling: it refers to parts removed
        self.net_ = net

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    @property
    def _n_features_out(self) -> int:
        return self.n_components_


def start_linear(layer: torch.nn.Linear, weight: Array, bias: Array) -> None:
    """Set the weights of a linear layer."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)))
        layer.bias.copy_(torch.from_numpy(np.asarray(bias, dtype=np.float32)))


def _filled(scaled: Array32, shape: tuple[int, ...], cells: Indices | None) -> Array32:
    """Return scaled densities of whole sections or volumes, as networks see them."""
    if cells is None:
        return scaled
    whole = np.full((len(scaled), prod(shape)), FILL, dtype=np.float32)
    whole[:, cells] = scaled
    return whole


def _are_cells(cells: Indices, n_block: int) -> bool:
    """Return whether these are indices of cells of a section, in increasing order."""
    return bool(cells[0] >= 0 and cells[-1] < n_block and (np.diff(cells) > 0).all())


def batches(n_samples: int) -> Iterator[slice]:
    """Yield slices of the samples that bound the memory of a batch."""
    for start in range(0, n_samples, _BATCH):
        yield slice(start, start + _BATCH)
