"""The last layer of a null-space network, whose densities fit the data."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from scipy.special import chdtri
from torch import nn

from skgrav._checks import check_array, check_matrix
from skgrav._constraints import checked
from skgrav.operators import AnywhereOperator, BaseOperator, ToeplitzOperator, thin_svd, whole_cells
from skgrav.solvers import IN_REACH, SIGNIFICANCE, SVDSystem

Tensor = torch.Tensor

#: Cut-off of singular values: that of Projection in float64, and a larger one in float32, as the
#: rounding errors of the data are divided by them.
_RCOND, _RCOND_SINGLE = 1e-8, 1e-5

#: Most steps of Newton's method, and its tolerance of the squared residual, relative.
_MAX_ITER, _TOLERANCE = 100, 2e-10


class DataConsistency(nn.Module):
    """Nearest densities that fit the data: the last layer of a null-space network.

    The network before it determines the null space only. Noise-free data are fitted exactly,
    which never increases the distance to the true density (Pythagoras); noisy data are fitted to
    `chi_factor`, as by `Projection`.

    Parameters
    ----------
    matrix : array-like of shape (n_data, n_cells)
        Map A from density to gravity, such as the `matrix_` of an operator.
    rcond : float, default=None
        Singular values below `rcond` times the largest are taken as zero. None takes 1e-8 in
        float64, as `Projection` does, and 1e-5 in float32, so that rounding errors of the data
        do not enter the densities.
    chi_factor : float, default=1.0
        Mean squared residual of noisy data in units of the noise, over all data, including the
        part that no density can fit. Densities that fit better are unchanged, and none is fitted
        closer than the 5 % quantile of the noise that densities can fit.
    physics : torch.nn.Module, default=None
        Applies `matrix` to densities, such as ``operator.to_torch()``, whose FFTs are faster
        for many cells. None multiplies by the factors of the matrix.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the matrix is not finite.

    See Also
    --------
    skgrav.solvers.Projection : The same for arrays, with bounds.

    Notes
    -----
    With the thin SVD ``A = U S V^T`` and the residual ``r = g - A rho``, a sample becomes

        rho + V f(s) / s U^T r  with  f = 1  or, with noise,  f = s^2 / (s^2 + alpha),

    where alpha is such that the new ``||r||^2`` is ``chi_factor n_data sigma^2``. Without noise it
    is ``A^+ g + (I - A^+ A) rho`` [1]_: densities are free in the null space only.

    Alpha is found by Newton's method on the reciprocal of the norm, without autograd. One more
    step, with autograd, does not change it but has its derivatives (implicit function theorem):
    first derivatives with respect to all inputs are exact, forward and backward, second ones are
    not. Samples whose `sigma` is below the rounding errors of their data count as noise-free.

    On the paper's survey, float32 fits noise-free data to 1e-6, and rounding changes densities by
    0.5 %; with an `rcond` of 1e-7 by 20 %. The SVD is kept in float64, too, so that `double` is
    exact. It follows from the matrix and is not part of the `state_dict`.

    References
    ----------
    .. [1] Schwab, Antholzer and Haltmeier (2019), Deep null space learning for inverse problems:
       convergence analysis and rates, Inverse Problems 35.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import DataConsistency
    >>> layer = DataConsistency([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> rho, g = torch.tensor([[4.0, 0.0, 2.0]]), torch.tensor([[2.0, 2.0]])
    >>> layer(rho, g, torch.tensor([0.0])).round(decimals=4)
    tensor([[2., 1., 0.]])
    """

    U: Tensor
    s: Tensor
    Vt: Tensor

    @checked(rcond=[Real, None], chi_factor=[Real])
    def __init__(
        self,
        matrix: ArrayLike,
        *,
        rcond: float | None = None,
        chi_factor: float = 1.0,
        physics: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if rcond is not None and not 0 <= rcond < 1:
            raise ValueError(
                f"'rcond' is {rcond!r}; it must be at least 0 and below 1, or None for the default "
                "of the precision."
            )
        if not 0 < chi_factor < float("inf"):
            raise ValueError(
                f"'chi_factor' is {chi_factor!r}; it must be positive and finite. Give 1.0 to fit "
                "data to their noise; 'sigma' of 0 fits them exactly."
            )
        self.rcond, self.chi_factor, self.physics = rcond, chi_factor, physics
        matrix = check_matrix(check_array(matrix, "matrix", copy=True), "matrix")
        self.n_data, self.n_cells = matrix.shape
        svd = SVDSystem(thin_svd(matrix))
        self._exact = {name: torch.tensor(getattr(svd, name)) for name in ("U", "s", "Vt")}
        for name, values in self._exact.items():
            factor = values.to(torch.get_default_dtype(), copy=True)
            self.register_buffer(name, factor, persistent=False)
        self._least = float(chdtri(svd.n_data, 0.95))
        self._n_lost = svd.n_lost

    def forward(self, rho: Tensor, g: Tensor, sigma: Tensor) -> Tensor:
        """Move densities to the nearest ones that fit the data.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in the unit of the operator, not scaled to [0, 1].
        g : torch.Tensor of shape (n_samples, n_data)
            Gravity, component-major, not standardised.
        sigma : torch.Tensor of shape (n_samples,)
            Standard deviation of each sample's white noise in the unit of `g`; 0 is noise-free.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities that fit the data.
        """
        self._check(rho, g, sigma)
        s, noise2 = self.s, sigma**2
        coordinates = g @ self.U
        if self.physics is None:
            d = coordinates - (rho @ self.Vt.mT) * s
        else:
            d = coordinates - self.physics(rho) @ self.U
        rcond = self.rcond
        if rcond is None:
            rcond = _RCOND if s.dtype == torch.float64 else _RCOND_SINGLE
        kept = s > rcond * s[0]
        # No density changes the residual outside the range of A or along singular values cut off,
        # so only the rest of the target is left to fit.
        lost2 = (g - coordinates @ self.U.mT).square().sum(dim=1)
        cut2 = torch.where(kept, 0.0, d).square().sum(dim=1)
        if self._n_lost:
            # As in `Projection`: more out of reach than noise explains raises the noise.
            exceeds = (noise2 > 0) & (lost2 > noise2 * float(chdtri(self._n_lost, SIGNIFICANCE)))
            noise2 = torch.where(exceeds, lost2 / self._n_lost, noise2)
        target2 = self.chi_factor * g.shape[1] * noise2 - lost2
        target2 = torch.maximum(target2, self._least * noise2)
        target2 = torch.maximum(target2 - cut2, IN_REACH * target2)

        rounding2 = (4.0 * torch.finfo(s.dtype).eps) ** 2 * g.square().sum(dim=1)
        noisy = (target2 > rounding2)[:, None]
        # Relative to the target and to the largest singular value nothing overflows.
        h = torch.where(kept, s / s[0], 0.0) ** 2
        e2 = torch.where(noisy & kept, d, 0.0) ** 2 / torch.where(noisy, target2[:, None], 1.0)
        damping = h * _strength(h, e2)
        filtered = torch.where(noisy, damping / (1.0 + damping), 1.0)
        return rho + (filtered * torch.where(kept, 1.0 / s, 0.0) * d) @ self.Vt

    def _check(self, rho: Any, g: Any, sigma: Any) -> None:
        for name, values in {"rho": rho, "g": g, "sigma": sigma}.items():
            if not isinstance(values, Tensor):
                raise TypeError(f"'{name}' is a {type(values).__name__}; give a torch.Tensor.")
        n, dtype = len(rho), self.s.dtype
        shapes = {"rho": (n, self.Vt.shape[1]), "g": (n, self.U.shape[0]), "sigma": (n,)}
        for (name, shape), values in zip(shapes.items(), (rho, g, sigma), strict=True):
            if values.shape != shape:
                raise ValueError(
                    f"'{name}' has shape {tuple(values.shape)}; with {n} densities in 'rho' "
                    f"and this matrix it must be {shape}."
                )
            if values.dtype != dtype:
                raise ValueError(
                    f"'{name}' is {values.dtype}, but the layer is {dtype}. Convert it with "
                    f".to({dtype}), or the layer with .to({values.dtype})."
                )
        if not ((sigma >= 0) & sigma.isfinite()).all():
            raise ValueError(
                f"'sigma' has minimum {sigma.min():g} and maximum {sigma.max():g}; standard "
                "deviations are finite and at least 0. Give 0 for noise-free data."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        # Float32 factors converted to float64 would keep their rounding errors.
        for name, values in self._exact.items():
            getattr(self, name).copy_(values)
        return self


def fast_physics(operator: BaseOperator, to_coordinates: ArrayLike) -> nn.Module | None:
    """Return the map from densities to ``data @ to_coordinates`` by FFTs, None without FFTs."""
    if not isinstance(whole_cells(operator.products_), ToeplitzOperator | AnywhereOperator):
        return None
    return nn.Sequential(operator.to_torch(), _Coordinates(to_coordinates))


class _Coordinates(nn.Module):
    """Product with a fixed matrix."""

    matrix: Tensor

    def __init__(self, matrix: ArrayLike) -> None:
        super().__init__()
        matrix = torch.tensor(matrix, dtype=torch.get_default_dtype())
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, g: Tensor) -> Tensor:
        return g @ self.matrix


def _strength(h: Tensor, e2: Tensor) -> Tensor:
    """Return the t at which the sum of ``e2 / (1 + h t)**2`` is 1, or 0 where it never exceeds 1.

    `h` are squared singular values, (rank,), and `e2` squared residuals relative to their target,
    (n_samples, rank), 0 where `h` is. t is 1 / alpha, with the derivatives of this equation.
    """

    def at(t: Tensor) -> tuple[Tensor, Tensor]:
        damped2 = e2 / (1.0 + h * t) ** 2
        slope = (damped2 * h / (1.0 + h * t)).sum(dim=1, keepdim=True)
        return damped2.sum(dim=1, keepdim=True), slope

    tolerance = max(_TOLERANCE, 8.0 * torch.finfo(e2.dtype).eps)
    t = torch.zeros_like(e2[:, :1])
    with torch.no_grad():
        for _ in range(_MAX_ITER):
            norm2, slope = at(t)
            active = norm2 > 1.0 + tolerance
            if not active.any():
                break
            # Newton on 1 / norm, which is concave in t, so that t grows to the solution.
            t = torch.where(active, t + norm2 * (norm2.sqrt() - 1.0) / slope, t)
    # At the solution a step changes nothing, but has the derivatives of the implicit function.
    norm2, slope = at(t)
    step = (norm2 - 1.0) / torch.where(t > 0, 2.0 * slope, 1.0).detach()
    return torch.where(t > 0, t + step, t)
