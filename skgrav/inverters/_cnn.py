"""Networks from gravity to density, by composition over skorch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._network import SETTINGS, NetTraining
from skgrav.inverters._noise import CONTRADICTED, check_levels
from skgrav.inverters._pairs import ScaledPairs, WhitenedPairs
from skgrav.inverters._pretrained import pretrained_file
from skgrav.io import Field, Weights, saved
from skgrav.networks._augmentation import LEAST_NOISE
from skgrav.networks._paper import PaperCNN
from skgrav.networks._weights import check_weights, least_precision, weights_of
from skgrav.operators import BaseOperator, is_lazy, lazily
from skgrav.solvers import Projection

Array = NDArray[np.float64]


@saved
class CNNInverter(InverterMixin, NetTraining):
    """Network that estimates density from gravity.

    The default adds to the best linear estimate, that of `BayesLinearInverter`, what it misses. It
    is told the noise of each sample or estimates it, so that one fitted network serves data of
    any noise it was trained for. The estimate is the mean over what training shows possible; it
    fits the data only roughly, which `Refiner` mends.

    Parameters
    ----------
    architecture : {"residual", "paper"} or callable, default="residual"
        ``"residual"`` is a residual network on whitened data. ``"paper"`` is the convolutional
        network of [1]_ on standardised data. A callable ``f(n_data, n_cells, n_components)``
        returns a torch module from standardised data to densities scaled to [0, 1], and is trained
        as the paper's.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics, for ``"residual"``. None takes the paper's geometry for these sizes if it
        reproduces the training pairs, and otherwise identifies the operator from them, with a
        warning. To other architectures it tells the components of the survey, the channels of
        the network, and its symmetry; None takes the paper's two components if the sizes are its
        own (n * n cells, 6 n data), and one component otherwise.
    max_epochs : int, default=None
        Passes over the training set; None takes 50 for ``"residual"`` and 100 for others. The
        paper trains up to 3000.
    batch_size : int, default=None
        Samples per step of the optimiser; None takes 128 for ``"residual"`` and the paper's 25
        for others.
    learning_rate : float, default=1e-3
        Highest learning rate of AdamW. For ``"residual"`` it rises and falls in one cycle; for
        others it shrinks by 0.8 per 100 epochs.
    weight_decay : float, default=None
        Decoupled weight decay; None takes 1e-2 for ``"residual"`` and the paper's 1e-4 for others.
    n_components : int, default=200
        Principal components of density that the ``"residual"`` network estimates.
    data_consistency : bool, default=False
        Whether the ``"residual"`` network is trained through the projection onto the data, as a
        null-space network. Its estimates fit noise-free data exactly and others to their noise,
        and may leave the density range; `Refiner` with a bounded `Projection` does not.
    early_stopping : bool, default=False
        Whether to hold out a validation set, stop when its loss stops falling, and keep the
        best weights.
    validation_fraction : float, default=0.1
        Share of the training set held out with `early_stopping`.
    n_iter_no_change : int, default=10
        Epochs without a better validation loss before training stops.
    noise_level : float or tuple of two floats, default=None
        Standard deviation of the noise of the training data relative to the rms of each sample,
        drawn afresh each epoch; a pair draws a level between both for each sample, even in its
        logarithm with more near the upper end, and 0 for three in ten if it begins at 0. None
        takes (0, 0.1) for ``"residual"``, and no noise for others, which get it on top of that
        of X.
    augment : {"mirror"} or None, default=None
        ``"mirror"`` flips sections along x, and the sign of gx: half of each batch, or for
        ``"residual"`` all, beside the originals. The survey and the mesh must be symmetric.
    density_range : tuple of two floats, default=None
        Densities that the network can return, unless `data_consistency` is True; None takes the
        range of the training densities.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last call, with the training parameters of
        now. Scales stay those of the first; another architecture, operator or symmetry is refused.
    precision : {"float32", "bfloat16"}, default="float32"
        Numbers in which the network computes while it trains. ``"bfloat16"`` takes half the time
        on CPUs and GPUs that are made for it, and longer on others.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, shuffling, dropout, noise and the validation set.
    device : str, default="auto"
        Torch device; ``"auto"`` takes a GPU where there is one.
    verbose : bool, default=False
        Whether to show a progress bar over epochs.
    callbacks : sequence of skorch callbacks, default=None
        Further callbacks of the training loop.
    checkpoint : str or path-like, default=None
        Directory, of this training alone, where `fit` keeps its state from epoch to epoch. If its
        process is killed or interrupted, the same fit goes on from there and ends with the weights
        of one that was not; another one is refused. When training has ended, nothing is left.

    Attributes
    ----------
    net_ : skorch.NeuralNetRegressor
        The trained net.
    operator_ : BaseOperator
        The fitted operator in use; only for ``"residual"``.
    loss_curve_ : list of float
        Training loss of each epoch: the mean relative L2 error for ``"residual"``, and for others
        the mean squared error with densities scaled to 12 units.
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
        If sizes contradict the operator, 'mirror' meets a geometry that isn't symmetric, or
        `checkpoint` holds another training.
    OSError
        If nothing can be written to `checkpoint`.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted, or pairs ran out; the weights of the best epoch are kept.
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If data of `predict` have noise that the network was not trained for, or more than they are
        told to have, or if densities exceed the range.
    RuntimeWarning
        If a checkpoint cannot be written; training goes on, and the last one is kept.

    See Also
    --------
    BayesLinearInverter : The linear estimate.
    Refiner : Fits the estimate to the data.

    Notes
    -----
    With C the covariance of training densities, each coordinate of the whitened data has signal
    of variance 1 and noise of its own. The ``"residual"`` network sees its posterior mean, zero
    where noise hides the signal, and the noise itself; it returns principal components of density,
    which are added to the linear estimate, itself fixed. Its loss is the mean relative L2 error.

    Training copies no data set. The ``"residual"`` network holds its inputs, a tenth of densities
    in float64 at the paper's sizes and twice that with mirror images; others, and the densities of
    `data_consistency`, are encoded batch by batch. Means and covariances go through the set in
    blocks; 6000 pairs tell the physics and 10,000 sections the principal components.

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
    >>> inverter = CNNInverter(operator=data.operator, max_epochs=5, random_state=0)
    >>> inverter.fit(data.data, data.target).predict(data.data).shape
    (60, 64)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "architecture": [StrOptions(set(SETTINGS)), callable],
        "operator": [BaseOperator, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "data_consistency": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "noise_level": [Interval(Real, 0, None, closed="left"), tuple, None],
        "augment": [StrOptions({"mirror"}), None],
        "density_range": [tuple, list, None],
        "warm_start": ["boolean"],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
        "callbacks": ["array-like", None],
        "checkpoint": [str, os.PathLike, None],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator, optional=True),
        Field("_pairs", WhitenedPairs | ScaledPairs),
        Field("_n_components", int, optional=True),
        Field("_sigma", float | None, optional=True),
        Field("_seed", int),
        Field("density_range_", tuple[float, float]),
        Field("loss_curve_", list[float]),
        Field("validation_loss_curve_", list[float]),
        Field("network", Weights, least=least_precision),
    )
    # Training goes on from the weights of a file, but as a new history.
    _file_left_out: ClassVar = {"net_", "n_epochs_", "_made_with"}

    def __init__(
        self,
        architecture: Literal["residual", "paper"] | Callable[[int, int, int], Any] = "residual",
        *,
        operator: BaseOperator | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float | None = None,
        n_components: int = 200,
        data_consistency: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        noise_level: float | tuple[float, float] | None = None,
        augment: Literal["mirror"] | None = None,
        density_range: tuple[float, float] | None = None,
        warm_start: bool = False,
        precision: Literal["float32", "bfloat16"] = "float32",
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: bool = False,
        callbacks: Sequence[Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.architecture = architecture
        self.operator = operator
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_components = n_components
        self.data_consistency = data_consistency
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.noise_level = noise_level
        self.augment = augment
        self.density_range = density_range
        self.warm_start = warm_start
        self.precision = precision
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.callbacks = callbacks
        self.checkpoint = checkpoint

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data), callable or iterator
            Gravity, component-major. ``"residual"`` checks the physics by it and trains on that
            of y, but for a constant part. A callable draws fresh pairs for each epoch: called with
            `random_state`, an int, it returns gravity and density, as `make_gravity_dataset` or
            as a pair of arrays. An iterator yields such pairs, and training ends with it.
            Memory-mapped arrays of floats stay on disk, as those of y do.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities, flattened in C order, top layer first. None if X draws them.

        Returns
        -------
        self : CNNInverter
            The fitted inverter.
        """
        if self.warm_start and hasattr(self, "net_"):
            self._renew_net()
        n_epochs = self._settings("max_epochs")
        return self._train(X, y, n_epochs, fresh=not self.warm_start, resumable=True)

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train for one epoch on a chunk of data, from the weights of the last call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities. The first chunk decides on scales and density range; give
            `density_range` if later ones may exceed it. The learning rate rises and falls over
            `max_epochs` chunks, and again over the next.

        Returns
        -------
        self : CNNInverter
            The inverter.
        """
        return self._train(X, y, 1, fresh=False)

    def predict(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Array:
        """Estimate densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float, array-like of shape (n_samples,) or "auto", default=None
            Relative noise of each sample, for ``"residual"``; ``"auto"`` estimates it from what
            the data hold where signal is rare. None takes the uncertainty of the operator's
            survey, or the one level that the network was trained for, or else ``"auto"``.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities in the unit of the training set, within `density_range_` unless
            `data_consistency` is True.
        """
        if is_lazy(X):
            return lazily(self.predict, X, noise_level=noise_level)
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        pairs = self._pairs
        if isinstance(pairs, WhitenedPairs):
            sigma = self._noise(X, noise_level)
            inputs, linear = pairs.inputs(X, sigma)
            rho = pairs.densities(linear, self.net_.predict(inputs))
            if pairs.whole:
                # The network fits as well as float32 can; this does so in float64.
                noise = sigma[:, None] if self._sigma is None else self._sigma / pairs.rows[None]
                solved = Projection().solve(self.operator_, X - pairs.level, rho, sigma=noise)
                return self._as_fitted(solved.rho)
        elif noise_level is not None:
            raise ValueError(
                f"'noise_level' is {noise_level!r}, but only a network of architecture='residual' "
                "can be told the noise of a sample; leave it out."
            )
        else:
            rho = pairs.densities(self.net_.predict(pairs.inputs(X)))
        return self._as_fitted(np.clip(rho, *self.density_range_, out=rho))

    @classmethod
    def from_pretrained(cls, name: Literal["paper"] = "paper", *, device: str = "auto") -> Self:
        """Return a network that is trained already.

        Parameters
        ----------
        name : {"paper"}, default="paper"
            ``"paper"`` is for the paper's geometry, 50 x 50 cells under 150 stations with gx and
            gz in its units, for densities in (0, 12] and relative noise up to 10 %. It learned
            from sections of all families of `make_density_models`.
        device : str, default="auto"
            Torch device, as in the constructor.

        Returns
        -------
        inverter : CNNInverter
            The fitted inverter.
        """
        return cls.load(pretrained_file(name), device=device)

    def _file_parameters(self) -> dict[str, Any]:
        """Return the parameters, of which some are those that the network was made with."""
        return self.get_params(deep=False) | vars(self).get("_made_with", {})

    def _file_state(self) -> dict[str, Any]:
        return vars(self) | {"network": weights_of(self.net_.module_)}

    def _file_restore(self, state: dict[str, Any]) -> None:
        weights, pairs = state.pop("network"), state["_pairs"]
        sizes = fitted = state["n_features_in_"], state["n_outputs_"]
        self.__dict__.update(state)
        self.n_epochs_ = 0
        if (self.architecture == "residual") != isinstance(pairs, WhitenedPairs):
            raise ValueError(f"its {type(pairs).__name__} do not belong to {self.architecture!r}")
        if isinstance(pairs, WhitenedPairs):
            sizes = len(pairs.rows), len(pairs.mean)
            if state["operator_"] is not pairs.operator or "_sigma" not in state:
                raise ValueError("its operators or their noise differ")
        else:
            sizes = len(pairs.mean), self.n_outputs_
            check_weights(partial(PaperCNN, *sizes, state["_n_components"]), weights)
        if sizes != fitted:
            raise ValueError(f"its sizes are {fitted}, but {sizes} in its network")
        self._take_weights(weights)

    def _noise(self, X: Array, noise_level: Any) -> Array:
        """Return the noise of weighted data, and warn if the network was not trained for it."""
        pairs = self._pairs
        assert isinstance(pairs, WhitenedPairs)
        low, high = self.net_.augment.noise_level  # of training, whatever the parameter is now
        rms, told = pairs.rms(X), None
        if self._sigma is not None:
            told = np.full(len(X), self._sigma)
            if noise_level is not None:
                raise ValueError(
                    f"'noise_level' is {noise_level!r}, but the operator's survey tells the "
                    "uncertainty of each datum already; leave one of them out."
                )
        elif noise_level is None and low == high:
            told = low * rms
        elif noise_level is not None and not (
            isinstance(noise_level, str) and noise_level == "auto"
        ):
            told = check_levels(noise_level, len(X)) * rms
        sigma = pairs.noise(X, told)
        # Few data tell little of their noise: estimates keep to the range, up to a contradiction.
        slack = CONTRADICTED if told is None else 1.0 + 1e-6
        level, high = (sigma if told is None else told) / rms, max(high, LEAST_NOISE)
        level = np.maximum(level, 0.1 * LEAST_NOISE)
        outside = (level > slack * high) | (level < low / slack) & (level < high)
        if told is None and low < high:
            sigma = np.where(outside, sigma, np.clip(sigma, low * rms, high * rms))
        if outside.any():
            worst = level[outside][np.argmax(np.abs(np.log(level[outside] / high)))]
            warnings.warn(
                f"{outside.sum()} of {len(X)} samples have relative noise that the network was not "
                f"trained for, such as {worst:.2g}; it was trained for {low:g} to {high:g}. Fit it "
                "with another 'noise_level'.",
                stacklevel=3,
            )
        return sigma
