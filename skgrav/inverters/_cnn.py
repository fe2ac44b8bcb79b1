"""Networks from gravity to density, by composition over skorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_range, real_array, validate_data
from skgrav._constraints import COUNT, POSITIVE, Interval, StrOptions
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._applicability import ApplicabilityMixin
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._calibration import Calibration
from skgrav.inverters._cnn_posterior import NetworkPosterior
from skgrav.inverters._encoding import Encoding, Numbers, PairEncoder
from skgrav.inverters._image import ImageEncoding
from skgrav.inverters._linear_encoding import LinearEncoding
from skgrav.inverters._plausible import warn_implausible
from skgrav.inverters._pretrained import pretrained_file
from skgrav.inverters._shuffle import Analogues
from skgrav.inverters._standardised import StandardisedEncoding
from skgrav.inverters._whitened import WhitenedEncoding
from skgrav.io import Field, Weights, saved
from skgrav.networks import (
    check_weights,
    has_bfloat16,
    least_precision,
    own_settings,
    put_weights,
    weights_of,
)
from skgrav.operators import BaseOperator, is_lazy
from skgrav.training import EncodedPairs, FreshPairs, HoldOut, Outcome, Trainer, TrainingNet

#: Encoding of each named architecture; callables have that of the paper's network.
_ENCODINGS: dict[str, type[Encoding]] = {
    "residual": WhitenedEncoding,
    "unet": ImageEncoding,
    "paper": StandardisedEncoding,
}

#: Parameters that a warm start must not change.
_FIXED = (
    "architecture",
    "operator",
    "n_components",
    "data_consistency",
    "uncertainty",
    "augment",
)

#: Parameters that files keep as they were when the net was made.
_MADE_WITH = (*_FIXED, "training_noise", "precision")


@saved
class CNNInverter(
    NetworkPosterior, ApplicabilityMixin, InverterMixin, CallbackSupportMixin, BaseEstimator
):
    """Network that estimates density from gravity.

    The default network corrects the linear estimate of `BayesLinearInverter`; that of
    ``architecture="unet"``, for sections and volumes, corrects images of it by convolutions, and
    may be used for other surveys and numbers of columns. The noise level of each sample, given or
    estimated, enters the estimate, so that one fitted network serves all noise levels that it was
    trained for. The estimate is close to the posterior mean under the training densities and fits
    the data only roughly; use `Refiner` to fit the data.

    Parameters
    ----------
    architecture : {"residual", "unet", "paper"} or callable, default="residual"
        ``"residual"`` is a residual network on whitened data. ``"unet"`` is a U-Net on linear
        estimates as images on the mesh, in 2D and 3D, whose columns must have one width.
        ``"paper"`` is the convolutional network of [1]_ on standardised data. A callable
        ``f(n_data, n_cells, n_components)`` returns a torch module from standardised data to
        densities scaled to [0, 1], which is trained like the paper's.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics, for ``"residual"`` and ``"unet"``, which needs a ForwardOperator. None takes
        the paper's geometry for these sizes if it reproduces the training pairs, and otherwise,
        for ``"residual"``, identifies the operator from them, with a warning. Other architectures
        take from it the components of the survey, which are the channels of the network, and its
        symmetry; None takes the paper's two components for its sizes (n * n cells, 6 n data), and
        one component otherwise.
    max_epochs : int, default=None
        Passes over the training set; None takes 50 for ``"residual"``, 10 for ``"unet"`` and 100
        for others. The paper trains up to 3000.
    batch_size : int, default=None
        Samples per step of the optimiser; None takes 128 for ``"residual"``, 32 for ``"unet"``
        and the paper's 25 for others.
    learning_rate : float, default=None
        Highest learning rate of AdamW, or for ``"unet"`` of Muon [2]_, whose updates of weights are
        orthogonal and of the size of AdamW's. None takes 4e-3 for ``"unet"`` and 1e-3 for others.
        For ``"residual"`` and ``"unet"`` it rises and falls in one cycle; for others it is
        multiplied by 0.8 every 100 epochs.
    weight_decay : float, default=None
        Decoupled weight decay; None takes 1e-2 for ``"residual"`` and ``"unet"``, and the paper's
        1e-4 for others.
    n_components : int, default=200
        Principal components of density that the ``"residual"`` network estimates.
    data_consistency : bool, default=False
        Whether the ``"residual"`` network is trained through the projection onto the data, as a
        null-space network. Its estimates fit noise-free data exactly and others to their noise,
        and may leave the density range; `Refiner` with a bounded `Projection` does not.
    uncertainty : bool, default=True
        Whether ``"residual"``, without `data_consistency`, and ``"unet"`` learn the distribution of
        each density, too, which hardly changes the estimates. It takes a sixth more time for
        ``"unet"``, and a quarter more for ``"residual"``.
    early_stopping : bool, default=False
        Whether to hold out a validation set, stop when its loss stops falling, and keep the
        best weights.
    validation_fraction : float, default=0.1
        Share of the training set held out with `early_stopping`.
    n_iter_no_change : int, default=10
        Epochs without a better validation loss before training stops.
    training_noise : float or tuple of two floats, default=None
        Standard deviation of the noise of the training data relative to the rms of each sample,
        drawn anew in each epoch. For a pair, levels are log-uniform between both with more near
        the upper end, and 0 for three in ten if the pair begins at 0. None takes (0, 0.1) for
        ``"residual"`` and ``"unet"``, and no noise for others, which add it to the noise of X. The
        noise of data to invert is `noise_level` of `predict`.
    augment : {"mirror", "turns"} or None, default=None
        ``"mirror"`` flips sections along x, and the sign of gx: half of each batch, or for
        ``"residual"`` all, added to the originals. ``"unet"`` flips whole batches at random, in 3D
        along y and x; with ``"turns"`` it exchanges y and x, too; its estimates are means over all
        these images. The survey and the mesh must be symmetric.
    n_analogues : int, default=2000
        Training sections, evenly chosen, that `fit` keeps in half precision for `sample_y`, where
        the network learns distributions; with `augment` it takes their mirror images, too. 0 keeps
        none.
    density_range : tuple of two floats, default=None
        Range to which estimates are clipped, unless `data_consistency` is True; None takes the
        range of the training densities.
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the last call, with the present training
        parameters and the first scales. Another architecture, operator or symmetry is refused.
    precision : {"float32", "bfloat16"}, default="float32"
        Floating-point format in training. ``"bfloat16"`` takes half the time on CPUs and GPUs that
        have it, and several times longer on others, of which `fit` warns.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, shuffling, dropout, noise and the validation set.
    device : str or torch.device, default="auto"
        Torch device; ``"auto"`` takes a GPU where there is one.
    verbose : bool, default=False
        Whether to show a progress bar over epochs.
    callbacks : sequence of skorch callbacks, default=None
        Further callbacks of the training loop.
    checkpoint : str or path-like, default=None
        Directory for this training only, where `fit` keeps its state after each epoch. If it is
        killed or interrupted, the same fit continues from there and ends with the same weights;
        another fit is refused. The file is removed at the end of training.

    Attributes
    ----------
    net_ : skorch.NeuralNetRegressor
        The trained net.
    operator_ : BaseOperator
        The fitted operator in use; only for ``"residual"`` and ``"unet"``.
    loss_curve_ : list of float
        Training loss of each epoch: the mean relative L2 error for ``"residual"`` and ``"unet"``,
        and for others the mean squared error with densities scaled to 12 units.
    validation_loss_curve_ : list of float
        Validation loss of each epoch; empty without `early_stopping`.
    n_epochs_ : int
        Number of epochs trained.
    density_range_ : tuple of two floats
        Range to which estimates are clipped.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If sizes contradict the operator, the geometry is not symmetric for `augment` or not one
        for ``"unet"``, torch cannot use the device, or `checkpoint` is of another training.
    OSError
        If nothing can be written to `checkpoint`.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted, which keeps the weights of the best epoch, or pairs ran out,
        which keeps the last weights or, with `early_stopping`, the best ones.
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If data of `predict` have noise that the network was not trained for, or more than stated,
        are unlike the training data, see `applicability`, or of a sign or size that no density
        within `density_range_` explains; if estimates are far beyond the training densities; if
        training densities exceed `density_range`, or the processor does not have the `precision`.
    RuntimeWarning
        If a checkpoint cannot be written; training continues, and the last one is kept.

    See Also
    --------
    BayesLinearInverter : The linear estimate.
    Refiner : Fits the estimate to the data.

    Notes
    -----
    The coordinates of the data in which their covariance under the training densities is diagonal
    are scaled to signals of unit variance. Input of the ``"residual"`` network are the posterior
    means of these coordinates, near zero where noise hides the signal, and the noise level; output
    are principal components of density, which are added to the linear estimate. The loss is the
    mean relative L2 error.

    ``"unet"`` learns the mean of each layer, and covariances of two layers that depend on the
    horizontal offset alone. Input of the network are three of the best linear estimates under this
    prior, each with the gz that it has above each column: at the noise of the sample, and at
    relative noise of 1 % and 10 % added to it, which blur; further the noise level, and the active
    cells where there are others. The layers are channels of convolutions along the horizontal
    axes. The output is added to the first estimate, clipped to the range of the training densities.
    The weights are averages over the last steps of training. `with_operator` computes the linear
    estimates anew for another survey.

    The distribution of each density is a mixture of two Gaussians [3]_, which a part of the network
    learns by the continuous ranked probability score. `predict_quantiles` and the standard
    deviations of `predict` are those of the mixture, about the estimate before it is clipped. They
    hold for densities like those of training, see `applicability`. `calibrate` corrects quantiles
    with sections that were not trained on. `sample_y` draws whole sections.

    Data sets are not copied. The inputs of the ``"residual"`` network take a tenth of the memory
    of densities in float64 at the paper's sizes, and twice that with mirror images; those of
    ``"unet"`` are as large as the data in float32. Other inputs, and the densities of ``"unet"``
    and of `data_consistency`, are encoded batch by batch. The operator is checked with 1000 pairs,
    and principal components are learned from 10,000 sections, covariances for ``"unet"`` from
    2000. Denormal numbers, which slow CPUs down, count as zero in training.
    Global random states are not changed.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632.
    .. [2] Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks.
    .. [3] Bishop (1994), Mixture density networks, Aston University.

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
        "architecture": [StrOptions(set(_ENCODINGS)), callable],
        "operator": [BaseOperator, None],
        "max_epochs": [COUNT, None],
        "batch_size": [POSITIVE, None],
        "learning_rate": [Interval(Real, 0, 1e30, closed="right"), None],
        "weight_decay": [Interval(Real, 0, 1e30, closed="both"), None],
        "n_components": [POSITIVE],
        "data_consistency": ["boolean"],
        "uncertainty": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [POSITIVE],
        "training_noise": [Interval(Real, 0, None, closed="left"), tuple, None],
        "augment": [StrOptions({"mirror", "turns"}), None],
        "n_analogues": [Interval(Integral, 0, None, closed="left")],
        "density_range": [tuple, list, None],
        "warm_start": ["boolean"],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "callbacks": ["array-like", None],
        "checkpoint": [str, os.PathLike, None],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator, optional=True),
        Field("_encoding", WhitenedEncoding | ImageEncoding | StandardisedEncoding),
        Field("_seed", int),
        Field("density_range_", tuple[float, float]),
        Field("loss_curve_", list[float]),
        Field("validation_loss_curve_", list[float]),
        Field("network", Weights, least=least_precision),
        Field("_analogues", Analogues | None, optional=True),
        Field("_calibration", Calibration | None, optional=True),
    )
    # Training continues from the weights of a file with a new history.
    _file_left_out: ClassVar = {"net_", "n_epochs_", "_made_with"}

    net_: TrainingNet
    operator_: BaseOperator
    density_range_: tuple[float, float]
    _encoding: Encoding
    _seed: int
    _made_with: dict[str, Any]

    def __init__(
        self,
        architecture: Literal["residual", "unet", "paper"]
        | Callable[[int, int, int], Any] = "residual",
        *,
        operator: BaseOperator | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        n_components: int = 200,
        data_consistency: bool = False,
        uncertainty: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        training_noise: float | tuple[float, float] | None = None,
        augment: Literal["mirror", "turns"] | None = None,
        n_analogues: int = 2000,
        density_range: tuple[float, float] | None = None,
        warm_start: bool = False,
        precision: Literal["float32", "bfloat16"] = "float32",
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
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
        self.uncertainty = uncertainty
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.training_noise = training_noise
        self.augment = augment
        self.n_analogues = n_analogues
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
            Gravity, component-major. ``"residual"`` and ``"unet"`` check the operator with it and
            train on the gravity of y; a constant difference is allowed. A callable draws pairs for
            each epoch: called with `random_state`, an int, it returns gravity and density, as
            `make_gravity_dataset` or as a pair of arrays. An iterator yields such pairs, and
            training ends with it. Memory-mapped arrays of floats, here and as y, stay on disk.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities, flattened in C order, top layer first. None if X draws them.

        Returns
        -------
        self : CNNInverter
            The fitted inverter.
        """
        self._validate_params()
        fresh = not (self.warm_start and hasattr(self, "net_"))
        if not fresh:
            self._check_unchanged()
        trainer = Trainer(self, seed=None if fresh else self._seed)
        if not fresh:
            self._renew_net(trainer)
        return self._train(trainer, X, y, self._parameter("max_epochs"), fresh=fresh)

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train for one epoch on a chunk of data, from the weights of the last call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities. The first chunk fixes scales and density range; give `density_range` if
            later ones may exceed it. A cycle of learning rates takes `max_epochs` chunks.

        Returns
        -------
        self : CNNInverter
            The inverter.
        """
        self._validate_params()
        fresh = not hasattr(self, "net_")
        trainer = Trainer(self, seed=None if fresh else self._seed, resumable=False)
        return self._train(trainer, X, y, 1, fresh=fresh)

    @overload
    def predict(
        self,
        X: ArrayLike,
        return_std: Literal[False] = False,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array: ...

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True], *, noise_level: ArrayLike | None = None
    ) -> tuple[Array, Array]: ...

    def predict(
        self, X: ArrayLike, return_std: bool = False, *, noise_level: ArrayLike | None = None
    ) -> Array | tuple[Array, Array]:
        """Estimate densities, and their standard deviations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        return_std : bool, default=False
            Whether to return the standard deviation of each cell as well, which needs
            `uncertainty`.
        noise_level : float, array-like of shape (n_samples,) or "auto", default=None
            Relative noise of each sample, for ``"residual"`` and ``"unet"``; ``"auto"`` estimates
            it by maximum likelihood. None takes the uncertainty of the operator's survey, or the
            level that the network was trained for if there is only one, or else ``"auto"``.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities in the unit of the training set, within `density_range_` unless
            `data_consistency` is True.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Standard deviation of each density given the data. Only if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        if return_std:
            rho, marginals, _ = self._posterior(X, noise_level)
            return self._as_fitted(rho), self._as_fitted(marginals.std)
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        rho = self._encoding.estimate(self.net_, X, noise_level, self.density_range_)
        warn_implausible(rho, self._encoding.operator, self.density_range_)
        return self._as_fitted(rho)

    def with_operator(self, operator: BaseOperator) -> Self:
        """Return this network for another survey, or for another number of columns.

        Parameters
        ----------
        operator : ForwardOperator
            The operator of the other survey. Its mesh has the same layers, and columns of the same
            width; their number, the place of the mesh, the stations and the components may differ.

        Returns
        -------
        inverter : CNNInverter
            A fitted copy, with the same weights.

        Raises
        ------
        ValueError
            If `architecture` is not ``"unet"``, layers, columns or units differ, or the survey has
            more than 6000 data.

        Warns
        -----
        UserWarning
            If the mesh has inactive cells, but the network was trained without any.

        See Also
        --------
        from_pretrained : Networks to begin with.

        Notes
        -----
        The linear images that the network corrects follow from the covariance of the training
        densities and the operator, and are computed when the copy first estimates. Densities of
        two cells farther apart than the training mesh is wide count as independent.

        Examples
        --------
        >>> from skgrav import CNNInverter, ForwardOperator, Mesh, Survey
        >>> from skgrav.datasets import make_gravity_dataset
        >>> mesh = Mesh.regular((4, 8, 8), 50.0)
        >>> data = make_gravity_dataset(n_samples=60, mesh=mesh, random_state=0)
        >>> network = CNNInverter("unet", operator=data.operator, max_epochs=1, random_state=0)
        >>> wider = Mesh.regular((4, 8, 12), 50.0)
        >>> stations = [[-10.0, 0.0, x] for x in range(-250, 251, 50)]
        >>> survey = Survey(stations, "z")
        >>> other = ForwardOperator(wider, survey, units="normalized").fit()
        >>> g = other.transform([[5.0] * wider.n_cells])
        >>> network.fit(data.data, data.target).with_operator(other).predict(g).shape
        (1, 384)
        """
        check_is_fitted(self)
        encoding = self._encoding
        if not isinstance(encoding, ImageEncoding):
            raise ValueError(
                f"'architecture' is {self.architecture!r}, whose network is for one mesh and survey"
                " alone. Take architecture='unet', or fit a network for this operator."
            )
        encoding = encoding.for_operator(operator)
        other = type(self)(**self._file_parameters() | {"operator": operator})
        own = {name: getattr(self, name) for name in ("_seed", "density_range_", "_calibration")}
        other.__dict__.update(
            own,
            _encoding=encoding,
            operator_=encoding.operator,
            n_features_in_=encoding.operator.n_data_,
            n_outputs_=encoding.operator.n_cells_,
            _y_ndim=2,
            loss_curve_=list(self.loss_curve_),
            validation_loss_curve_=list(self.validation_loss_curve_),
            n_epochs_=0,  # training would continue with a new history, as after `load`
        )
        if self._analogues is not None:
            other._analogues = self._analogues.for_operator(encoding.operator)
        other._take_weights(weights_of(self.net_.module_))
        return other

    @classmethod
    def from_pretrained(
        cls, name: Literal["paper", "huang2021"] = "paper", *, device: str = "auto"
    ) -> Self:
        """Return a pretrained network.

        Parameters
        ----------
        name : {"paper", "huang2021"}, default="paper"
            ``"paper"`` is for the paper's geometry, 50 x 50 cells under 150 stations with gx and
            gz in its units, for densities in (0, 12] and relative noise up to 10 %. It was trained
            on 600,000 sections of all families of `make_density_models`. ``"huang2021"`` is for
            volumes with layers and columns of `skgrav.datasets.fetch_huang2021`, 16 layers and any
            number of columns of 50 m, see `with_operator`; for a few compact bodies of up to 1000
            kg/m3 in rock of 0, with gz in mGal and relative noise up to 40 %. It was trained on the
            20,000 random-walk bodies of that set. Both are U-Nets that give distributions; those of
            ``"paper"`` are calibrated by 3000 other sections.
        device : str, default="auto"
            Torch device, as in the constructor.

        Returns
        -------
        inverter : CNNInverter
            The fitted inverter.
        """
        return cls.load(pretrained_file(name), device=device)

    def _file_parameters(self) -> dict[str, Any]:
        """Return the parameters, some as they were when the net was made."""
        return self.get_params(deep=False) | vars(self).get("_made_with", {})

    def _file_state(self) -> dict[str, Any]:
        return vars(self) | {"network": weights_of(self.net_.module_)}

    def _file_restore(self, state: dict[str, Any]) -> None:
        weights, encoding = state.pop("network"), state["_encoding"]
        sizes = state["n_features_in_"], state["n_outputs_"]
        self.__dict__.update(state)
        self.n_epochs_ = 0
        if not isinstance(encoding, self._encoding_class):
            name = type(encoding).__name__
            raise ValueError(f"its {name} is not the encoding of {self.architecture!r}")
        encoding.check_file(sizes, state.get("operator_"))
        check_weights(encoding.network(self.architecture, self.n_outputs_), weights)
        self._take_weights(weights)

    def _p_values(self, X: Array, noise_level: ArrayLike | None) -> Array:
        if not isinstance(self._encoding, LinearEncoding):
            raise ValueError(
                f"'architecture' is {self.architecture!r}, whose network has no covariance of the"
                " data to compare them with. Take architecture='residual' or 'unet'."
            )
        return self._encoding.p_values(X, noise_level, self.net_.augment.noise_level)

    def _train(self, trainer: Trainer, X: Any, y: Any, n_epochs: int, *, fresh: bool) -> Self:
        """Train for some epochs, with a seed that depends on the number of epochs before."""
        if self.precision == "bfloat16" and not has_bfloat16(trainer.device):
            warn(
                f"'precision' is 'bfloat16', which the processor of device {trainer.device!r} does "
                "not have: training takes several times as long. Take precision='float32'."
            )
        drawn: FreshPairs | None = None
        self._seed = trainer.seed
        if y is None and (callable(X) or hasattr(X, "__next__")):
            drawn = FreshPairs(X, self._seed + (0 if fresh else self.n_epochs_))
            X, y = next(drawn, (None, None))
            if X is None:
                raise ValueError("'X' is an iterator without a pair left; create it again.")
        X, y = self._checked(X, y, reset=fresh)
        trainer.check_data(X=X, y=y)
        if fresh:
            self._prepare(trainer, X, y)
        elif isinstance(self._encoding, LinearEncoding):
            self._encoding.check_pairs(X, y)
        fixed = self.density_range is not None
        encoder = PairEncoder(self._checked, self._encoding, self.density_range_, fixed)
        inputs, targets = encoder.encode(X, y)
        self._calibration = None  # is that of the weights before
        del X, y  # frees the memory of drawn pairs before the next ones are drawn
        net, done, length = self.net_, self.n_epochs_, self._parameter("max_epochs")
        had_weights = net.initialized_
        try:
            outcome = trainer.train(
                net,
                inputs,
                targets,
                n_epochs,
                seed=self._seed + done,
                # The epochs of `partial_fit` share a cycle of learning rates, and then the next.
                cycle=(done if n_epochs == length else done // length * length, length),
                later_pairs=None if drawn is None else EncodedPairs(drawn, encoder),
            )
        except FloatingPointError:
            if not (had_weights or net.history):  # no epoch has given good weights
                del self.net_
            raise
        finally:
            self.density_range_ = encoder.density_range
            self._take_history(net.history or ())  # none if the network could not be made
        self._warn_of_end(outcome, n_epochs)
        return self

    def _checked(self, X: Any, y: Any, *, reset: bool = False) -> tuple[Numbers, Numbers]:
        """Return valid pairs as two matrices, of the sizes of the first unless `reset`.

        Float arrays are not copied, so that memory-mapped ones stay on disk.
        """
        X, y = validate_data(self, X, y, reset=reset, dtype=(np.float64, np.float32))
        if not reset and y.size // len(y) != self.n_outputs_:
            raise ValueError(
                f"'y' has {y.size // len(y)} cells, but the network was trained for "
                f"{self.n_outputs_}. Fit again with warm_start=False."
            )
        self._y_ndim = y.ndim
        return X, y.reshape(len(y), -1)

    def _prepare(self, trainer: Trainer, X: Numbers, y: Numbers) -> None:
        """Learn the encoding, set the range of densities, and compose the net."""
        if self.augment == "turns" and self.architecture != "unet":
            raise ValueError(
                "'augment' is 'turns', but only the network of architecture='unet' is trained on "
                "turned densities; take it, or augment='mirror'."
            )
        self._training_noise()  # checks it before the encoding is learned, which takes long
        density_range = float(y.min()), float(y.max())
        if self.density_range is not None:
            density_range = check_range(self.density_range, "density_range")
        encoding = self._encoding_class.learn(X, y, self, self._seed)
        # A fit that fails before this line leaves the fitted attributes unchanged.
        self._encoding, self.density_range_, self.n_outputs_ = encoding, density_range, y.shape[1]
        self.__dict__.pop("operator_", None)
        if encoding.operator is not None:
            self.operator_ = encoding.operator
        self._analogues = None
        if self.n_analogues and self._has_std:
            mirrored = self.augment is not None
            self._analogues = Analogues.of(self.operator_, y, self.n_analogues, mirrored=mirrored)
        self.net_ = self._compose(trainer)
        self._take_history()

    def _compose(self, trainer: Trainer) -> TrainingNet:
        """Return the net for the encoding, with the present training parameters."""
        self._made_with = {name: getattr(self, name) for name in _MADE_WITH}
        encoding = self._encoding
        with own_settings():
            return trainer.compose(
                encoding.network(self.architecture, self.n_outputs_),
                callbacks=encoding.callbacks(self.callbacks or []),
                monitor="valid_loss" if self.early_stopping else "train_loss",
                split=HoldOut(self.validation_fraction, encoding.n_images, self._seed),
                criterion=encoding.criterion,
                optimizer__weight_decay=self._parameter("weight_decay"),
                lr=self._parameter("learning_rate"),
                batch_size=self._parameter("batch_size"),
                augment=encoding.augmentation(self._training_noise(), trainer.device),
                precision=self.precision,
                **{"optimizer": torch.optim.AdamW} | encoding.optimizer,
            )

    @property
    def _encoding_class(self) -> type[Encoding]:
        architecture = self.architecture
        return _ENCODINGS[architecture if isinstance(architecture, str) else "paper"]

    @property
    def _takes_noise_level(self) -> bool:
        """Whether `predict` takes the noise of a sample."""
        return self._encoding_class.takes_noise_level

    def _parameter(self, name: str) -> Any:
        """Return a parameter, or the default of the encoding where it is None."""
        value = getattr(self, name)
        return getattr(self._encoding_class.defaults, name) if value is None else value

    def _training_noise(self) -> tuple[float, float]:
        """Return the bounds of the relative noise of training data."""
        training_noise = self._parameter("training_noise")
        levels = real_array(training_noise, "training_noise")
        low, high = levels.min(initial=np.inf), levels.max(initial=0.0)
        if levels.shape not in ((), (2,)) or not 0 <= low <= high or levels.ravel()[0] > low:
            raise ValueError(
                f"'training_noise' is {training_noise}; it must be a number of at least 0 or an "
                "increasing pair of them."
            )
        return float(low), float(high)

    def _check_unchanged(self) -> None:
        """Raise ValueError if parameters of a warm start contradict the network."""
        for name in _FIXED:
            value, fitted = getattr(self, name), self._made_with[name]
            if value is not fitted and value != fitted:
                raise ValueError(
                    f"'{name}' is now {value!r}, but the network was made with {fitted!r}. Fit "
                    "again with warm_start=False."
                )

    def _renew_net(self, trainer: Trainer) -> None:
        """Move weights and history to a net with the present training parameters."""
        old, self.net_ = self.net_, trainer.initialize(self._compose(trainer))
        self.net_.module_.load_state_dict(old.module_.state_dict())
        self.net_.history_ = old.history_

    def _take_weights(self, weights: dict[str, NDArray[Any]]) -> None:
        """Make the net with given weights."""
        trainer = Trainer(self, seed=self._seed, resumable=False)
        self.net_ = trainer.initialize(self._compose(trainer))
        put_weights(self.net_.module_, weights)

    def _take_history(self, history: Sequence[dict[str, Any]] = ()) -> None:
        """Set the losses of the epochs completed."""
        self.loss_curve_ = [epoch["train_loss"] for epoch in history]
        self.validation_loss_curve_ = [e["valid_loss"] for e in history if "valid_loss" in e]
        self.n_epochs_ = len(history)

    def _warn_of_end(self, outcome: Outcome, n_epochs: int) -> None:
        """Warn if training was interrupted, or pairs ran out."""
        epochs = f"{outcome.n_epochs} of {n_epochs} epochs"
        if outcome.stopped_by == "interrupt":
            text = (
                f"training was stopped by the user after {epochs}; the weights of the best of them "
                "are kept."
            )
        elif outcome.stopped_by == "pairs" and not self.early_stopping:
            text = (
                f"'X' had pairs for {epochs}, so that the learning rate ended high; the weights of "
                "the last epoch are kept. Set 'max_epochs' to the number of chunks."
            )
        else:
            return
        warn(text, ConvergenceWarning)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")
