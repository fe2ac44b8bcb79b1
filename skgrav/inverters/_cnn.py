"""Convolutional networks from gravity to density, by composition over skorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.dataset import ValidSplit

from skgrav.inverters._base import InverterMixin
from skgrav.networks._augmentation import Augmentation, Mirror
from skgrav.networks._paper import PaperCNN
from skgrav.networks._training import (
    BatchIterator,
    DensityLoss,
    EpochBar,
    ExponentialDecay,
    KeepBest,
    TrainingNet,
    resolve_device,
    seeded,
    train,
)
from skgrav.operators._base import BaseOperator
from skgrav.operators._forward import ForwardOperator

Array = NDArray[np.float64]

#: Learning rate after 100 epochs relative to the first, as the paper's.
_DECAY = 0.8


class CNNInverter(InverterMixin, BaseEstimator):
    """Convolutional network that estimates density from gravity, the paper's first method.

    Data are standardised and density is scaled by its range inside. The estimate is the mean
    over what training shows possible; it fits the data only roughly, which `Refiner` mends.

    Parameters
    ----------
    architecture : "paper" or callable, default="paper"
        ``"paper"`` is the network of [1]_. A callable ``f(n_data, n_cells, n_components)``
        returns a torch module from standardised data to densities scaled to [0, 1].
    operator : ForwardOperator, default=None
        Tells the components of the survey, the channels of the network, and its symmetry. None
        takes the paper's two components if the sizes are its own (n * n cells, 6 n data), and
        one component otherwise.
    max_epochs : int, default=100
        Passes over the training set. The paper trains up to 3000.
    batch_size : int, default=25
        Samples per step of the optimiser; larger is faster and less thorough.
    learning_rate : float, default=1e-3
        Initial learning rate of AdamW; it shrinks by 0.8 per 100 epochs.
    weight_decay : float, default=1e-4
        Decoupled weight decay.
    early_stopping : bool, default=False
        Whether to hold out a validation set, stop when its loss stops falling, and keep the
        best weights.
    validation_fraction : float, default=0.1
        Share of the training set held out with `early_stopping`.
    n_iter_no_change : int, default=10
        Epochs without a better validation loss before training stops.
    noise_level : float or tuple of two floats, default=0.0
        Standard deviation of the noise added to the training data relative to the rms of each
        sample, drawn afresh each epoch; a pair draws a level between both for each sample. The
        default trains for noise-free data.
    augment : {"mirror"} or None, default=None
        ``"mirror"`` flips half of the sections along x, and the sign of gx. The survey and the
        mesh must be symmetric.
    density_range : tuple of two floats, default=None
        Densities that the network can return; None takes the range of the training densities.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last call, with the training parameters of
        now. Standardisation, density range, architecture and symmetry stay those of the first.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, shuffling, dropout, noise and the validation set.
    device : str, default="auto"
        Torch device; ``"auto"`` takes a GPU where there is one.
    verbose : bool, default=False
        Whether to show a progress bar over epochs.
    callbacks : sequence of skorch callbacks, default=None
        Further callbacks of the training loop.

    Attributes
    ----------
    net_ : skorch.NeuralNetRegressor
        The trained net.
    loss_curve_ : list of float
        Training loss of each epoch, the mean squared error with densities scaled to 12 units.
    validation_loss_curve_ : list of float
        Validation loss of each epoch; empty without `early_stopping`.
    n_epochs_ : int
        Epochs trained so far.
    density_range_ : tuple of two floats
        Densities that the network can return.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If sizes contradict the operator, or 'mirror' meets a geometry that isn't symmetric.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted; the weights of the best epoch are kept.

    See Also
    --------
    Refiner : Fits the estimate to the data.

    Notes
    -----
    Adam's moments make denormal numbers, which slow CPUs down: they count as zero meanwhile. The
    seeds of NumPy and torch stay untouched.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632.

    Examples
    --------
    >>> from skgrav import CNNInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(n_samples=60, mesh=Mesh.square(8), random_state=0)
    >>> inverter = CNNInverter(max_epochs=5, random_state=0).fit(data.data, data.target)
    >>> inverter.predict(data.data).shape
    (60, 64)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "architecture": [StrOptions({"paper"}), callable],
        "operator": [BaseOperator, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "noise_level": [Interval(Real, 0, None, closed="left"), tuple],
        "augment": [StrOptions({"mirror"}), None],
        "density_range": [tuple, list, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
        "callbacks": ["array-like", None],
    }

    def __init__(
        self,
        architecture: Literal["paper"] | Callable[[int, int, int], Any] = "paper",
        *,
        operator: BaseOperator | None = None,
        max_epochs: int = 100,
        batch_size: int = 25,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        noise_level: float | tuple[float, float] = 0.0,
        augment: Literal["mirror"] | None = None,
        density_range: tuple[float, float] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.architecture = architecture
        self.operator = operator
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.noise_level = noise_level
        self.augment = augment
        self.density_range = density_range
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities, flattened in C order, top layer first.

        Returns
        -------
        self : CNNInverter
            The fitted inverter.
        """
        if self.warm_start and hasattr(self, "net_"):
            self._renew_net()
        return self._train(X, y, self.max_epochs, fresh=not self.warm_start)

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train for one epoch on a chunk of data, from the weights of the last call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities. The first chunk decides on standardisation and density range; give
            `density_range` if later ones may exceed it.

        Returns
        -------
        self : CNNInverter
            The inverter.
        """
        return self._train(X, y, 1, fresh=False)

    def predict(self, X: ArrayLike) -> Array:
        """Estimate densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities in the unit of the training set, within its range.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        low, high = self.density_range_
        scaled = self.net_.predict(self._standardised(X)).astype(np.float64)
        return self._as_fitted(low + (high - low) * scaled)

    def _train(self, X: ArrayLike, y: ArrayLike, n_epochs: int, *, fresh: bool) -> Self:
        self._validate_params()
        fresh = fresh or not hasattr(self, "net_")
        X, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, reset=fresh
        )
        y = np.asarray(y, dtype=np.float64)
        if not fresh and y.size // len(y) != self.n_outputs_:
            raise ValueError(
                f"'y' has {y.size // len(y)} cells, but the network was trained for "
                f"{self.n_outputs_}; fit anew with warm_start=False."
            )
        self._y_ndim = y.ndim
        y = y.reshape(len(y), -1)
        if fresh:
            self._prepare(X, y)
        low, high = self.density_range_
        if y.min() < low or y.max() > high:
            warnings.warn(
                f"'y' ranges from {y.min():g} to {y.max():g}, beyond density_range=({low:g}, "
                f"{high:g}), which the network cannot leave. Give a wider 'density_range'.",
                stacklevel=3,
            )
        scaled = ((y - low) / ((high - low) or 1.0)).astype(np.float32)
        self._run(self._standardised(X), scaled, n_epochs)
        return self

    def _prepare(self, X: Array, y: Array) -> None:
        """Fix everything that training must not change: scales, ranges, seed and net."""
        self._n_components, operator = self._geometry(X.shape[1], y.shape[1])
        self._mirror = mirror = None
        if self.augment == "mirror" and operator is not None:
            self._mirror = mirror = Mirror.of(operator.mesh_, operator.survey_)
            images = X[:, mirror.data] * mirror.sign
            mean = (X.mean(axis=0) + images.mean(axis=0)) / 2
            scale = np.sqrt(((X - mean) ** 2 + (images - mean) ** 2).mean(axis=0) / 2)
        else:
            mean, scale = X.mean(axis=0), X.std(axis=0)
        self._mean, self._scale = mean, np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        if self.density_range is None:
            self.density_range_ = float(y.min()), float(y.max())
        else:
            low, high = self.density_range
            if not low < high:
                raise ValueError(
                    f"'density_range' is {self.density_range}; the lower bound must be below the "
                    "upper."
                )
            self.density_range_ = float(low), float(high)
        self.n_outputs_ = y.shape[1]
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.net_ = self._make_net()
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []
        self.n_epochs_ = 0

    def _geometry(self, n_data: int, n_cells: int) -> tuple[int, ForwardOperator | None]:
        """Return the number of components and the operator that knows about symmetry."""
        operator = self.operator
        if operator is None and n_data**2 == 36 * n_cells:
            operator = ForwardOperator()
        if isinstance(operator, ForwardOperator):
            operator = clone(operator).fit(np.zeros((1, n_cells)))
            if operator.n_data_ != n_data:
                raise ValueError(
                    f"'operator' has {operator.n_data_} data, but X has {n_data} columns. Give the "
                    "operator of the survey that measured X."
                )
            return len(operator.survey_.components), operator
        if self.augment == "mirror":
            raise ValueError(
                f"augment='mirror' needs 'operator', a ForwardOperator with mesh and survey: "
                f"{n_data} data and {n_cells} cells are not the paper's geometry."
            )
        return 1, None

    def _renew_net(self) -> None:
        """Put the weights and the history into a net with the training parameters of now."""
        self._validate_params()
        if (self.augment == "mirror") != (self._mirror is not None):
            raise ValueError(
                f"'augment' is now {self.augment!r}, but the data were standardised for another "
                "value; fit anew with warm_start=False."
            )
        old, self.net_ = self.net_, self._make_net()
        with seeded(self._seed, self.net_.device):
            self.net_.initialize()
        self.net_.module_.load_state_dict(old.module_.state_dict())
        self.net_.history_ = old.history_

    def _make_net(self) -> TrainingNet:
        """Compose the skorch net; its weights are drawn when training starts."""
        device = resolve_device(self.device)
        module = PaperCNN if self.architecture == "paper" else self.architecture
        monitor = "valid_loss" if self.early_stopping else "train_loss"
        callbacks: list[Any] = [
            ("decay", ExponentialDecay(_DECAY)),
            *(self.callbacks or []),
        ]
        if self.verbose:
            callbacks.append(("bar", EpochBar()))
        patience = self.n_iter_no_change if self.early_stopping else None
        callbacks.append(("keep_best", KeepBest(monitor, patience)))
        split = ValidSplit(self.validation_fraction, random_state=self._seed)
        low, high = np.ravel(self.noise_level)[[0, -1]]
        if np.size(self.noise_level) > 2 or not 0 <= low <= high:
            raise ValueError(
                f"'noise_level' is {self.noise_level}; it must be a number of at least 0 or an "
                "increasing pair of them."
            )
        augment = None
        if high > 0 or self._mirror is not None:
            augment = Augmentation((low, high), self._mean, self._scale, self._mirror, device)
        return TrainingNet(
            partial(module, len(self._mean), self.n_outputs_, self._n_components),
            criterion=DensityLoss,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            optimizer__eps=1e-7,
            optimizer__fused=True,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            iterator_train=BatchIterator,
            iterator_train__shuffle=True,
            iterator_valid=BatchIterator,
            iterator_valid__batch_size=1024,
            train_split=split if self.early_stopping else None,
            callbacks=callbacks,
            callbacks__print_log=None,
            augment=augment,
            device=device,
            verbose=0,
        )

    def _run(self, X: NDArray[np.float32], y: NDArray[np.float32], n_epochs: int) -> None:
        """Train for some epochs with a seed that follows from those before."""
        net, done = self.net_, self.n_epochs_
        try:
            finished = train(net, X, y, n_epochs, self._seed + done)
        except FloatingPointError:
            if not net.history:  # there are no good weights yet
                del self.net_
            raise
        if net.interrupted_:
            warnings.warn(
                f"training was stopped by the user after {len(finished) - done} of {n_epochs} "
                "epochs; the weights of the best of them are kept.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.loss_curve_ = [epoch["train_loss"] for epoch in finished]
        self.validation_loss_curve_ = [e["valid_loss"] for e in finished if "valid_loss" in e]
        self.n_epochs_ = len(finished)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _standardised(self, X: Array) -> NDArray[np.float32]:
        return ((X - self._mean) / self._scale).astype(np.float32)
