"""Search for codes that fit data, in closed form or by iteration in torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import chdtri

from skgrav._typing import Array, Indices, Mask
from skgrav.inverters._latent_space import LatentSpace
from skgrav.noise import Noise
from skgrav.operators import BaseOperator
from skgrav.solvers import LinearSystem

#: Samples in a batch, which limits the memory, and bytes of Jacobians weighted for each sample.
_BATCH, _BYTES = 250, 2**28

#: Codes, objectives, numbers of iterations, and whether the search converged.
Found = tuple[Array, Array, Indices, Mask]


@dataclass(frozen=True)
class LatentResult:
    """Densities and codes of each sample, and the course of the search.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        Densities of the best start of each sample: the sections of `codes`, unless the search
        started from an estimate or ended with a projection.
    codes : ndarray of shape (n_samples, n_components)
        Codes of the best starts.
    misfit : ndarray of shape (n_samples,)
        Their relative data misfit ``||A rho - g|| / ||g||``.
    objective : ndarray of shape (n_starts, n_samples)
        Minima: half the squared misfit in units of the data error, plus half the squared distance
        from the prior mean. The best start has the lowest.
    n_iter : ndarray of shape (n_samples,)
        Number of iterations of the best start.
    converged : ndarray of shape (n_samples,)
        Whether the best start met the stopping rule within `max_iter`.
    candidates : ndarray of shape (n_starts, n_samples, n_cells)
        Densities of all starts, in the order of `objective`.

    See Also
    --------
    LatentInverter : Returns it.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skgrav import LatentInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(n_samples=50, mesh=Mesh.square(8), random_state=0)
    >>> inverter = LatentInverter(PCA(10), operator=data.operator, noise_level=0.01)
    >>> result = inverter.fit(data.data, data.target).invert(data.data)
    >>> result.codes.shape, result.candidates.shape
    ((50, 10), (1, 50, 64))
    """

    rho: Array
    codes: Array
    misfit: Array
    objective: Array
    n_iter: Indices
    converged: Mask
    candidates: Array


@dataclass(frozen=True)
class LatentSearch:
    """Data of some samples, and the settings of the search for their codes.

    `system` maps densities to data coordinates, and `to_coordinates` gravity; in these coordinates
    are `data` and their noise `sigma`. `centre` is the mean of the prior in whitened codes.
    """

    space: LatentSpace
    generator: Any
    system: LinearSystem
    operator: BaseOperator
    to_coordinates: Array
    data: Array
    sigma: Array
    centre: Array
    is_noisy: bool
    prior: float
    solver: str
    max_iter: int
    tol: float
    learning_rate: float

    def run(self, u: Array) -> Found:
        """Search from whitened codes."""
        error = self.space.error
        target, weights = error.rotated(self.data), error.weights(self.sigma)
        decoder = self.space.decoder
        # From whitened codes to data; of a nonlinear decoder it is an average, to precondition.
        jacobian = self.space.prior.root.T @ (self._forward(decoder.matrix) @ error.rotation)
        if self.space.is_linear:
            target = target - (self._forward(decoder.offset[None]) @ error.rotation)[0]
            size = max(1, _BYTES // jacobian.nbytes) if len(weights) > 1 else len(target)
            parts = [
                self._closed_form(
                    target[k], weights[k] if len(weights) > 1 else weights, jacobian, k
                )
                for k in (slice(i, i + size) for i in range(0, len(target), size))
            ]
            codes, objective, n_iter, converged = map(np.concatenate, zip(*parts, strict=True))
            return codes, objective, n_iter, converged
        from skgrav.networks import own_settings

        with own_settings():
            return self._iterate(target, weights, jacobian, u)

    def perturbed(self, rng: np.random.RandomState) -> LatentSearch:
        """Return the search with data and prior mean perturbed as much as they are uncertain."""
        error = self.space.error
        noise = rng.normal(size=self.data.shape) / error.weights(self.sigma)
        centre = self.centre + rng.normal(size=(len(self.data), self.centre.shape[1]))
        return replace(self, data=self.data + noise @ error.rotation.T, centre=centre)

    def errors_of(self, rho: Array, g: Array, noise: Noise, rng: np.random.RandomState) -> Array:
        """Draw the part of the residuals of densities, as gravity, that is no noise.

        What codes leave of the data is noise and approximation error, as their variances are.
        """
        error, sigma = self.space.error, noise.scale_or(g, 0.0)
        residual = error.rotated(g @ self.to_coordinates - self._forward(rho))
        noise2 = sigma[:, None] ** 2
        total = noise2 + error.variance
        share = np.divide(error.variance, total, out=np.zeros_like(total), where=total > 0)
        drawn = share * residual + np.sqrt(share * noise2) * rng.normal(size=residual.shape)
        # Whitening divides by the weights, so that its transpose does once more.
        image = (error.mean + drawn @ error.rotation.T) @ self.to_coordinates.T
        return image * noise.whitening.weights**2

    def _forward(self, rho: Array) -> Array:
        """Return the data coordinates of densities."""
        return self.system.forward(self.system.model_coordinates(rho))

    def _closed_form(self, target: Array, weights: Array, jacobian: Array, rows: slice) -> Found:
        """Solve the normal equations of some rows, with two steps of iterative refinement."""
        n = len(target)
        centre = self.centre[rows] if len(self.centre) > 1 else self.centre
        weighted = jacobian * weights[:, None]
        hessian = weighted @ weighted.mT
        if self.prior > 0:
            inverse = np.linalg.inv(hessian + self.prior * np.eye(len(jacobian)))
        else:
            inverse = np.linalg.pinv(hessian, rcond=1e-12, hermitian=True)
        inverse = np.asarray(inverse, dtype=np.float64)
        u = np.repeat(centre, n // len(centre), axis=0)
        for _ in range(3):  # the condition number of the normal equations is that of A G squared
            residual = weights * (target - u @ jacobian)
            gradient = self.prior * (u - centre) - _rows(weighted, residual)
            u = u - _rows(inverse, gradient)
        misfit2 = np.sum((weights * (target - u @ jacobian)) ** 2, axis=1)
        objective = (misfit2 + self.prior * np.sum((u - centre) ** 2, axis=1)) / 2
        codes = self.space.prior.codes(u)
        return codes, objective, np.ones(n, dtype=np.intp), np.ones(n, dtype=bool)

    def _iterate(self, target: Array, weights: Array, jacobian: Array, u: Array) -> Found:
        import torch

        from skgrav.networks import fast_physics
        from skgrav.solvers import NonlinearProblem, adam, gauss_newton, lbfgs

        device = getattr(getattr(self.generator, "net_", None), "device", "cpu")

        def tensor(values: Array) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        root = tensor(self.space.prior.root.T)
        to_data = self.to_coordinates @ self.space.error.rotation
        fast = fast_physics(self.operator, to_data)
        if fast is None:
            physics = tensor(self.operator.matrix_.T @ to_data)
            predict = lambda rho: rho @ physics  # noqa: E731
        else:
            predict = fast.to(device)
        problem = NonlinearProblem(
            forward=lambda u: predict(self.generator.decode(u @ root)),
            data=tensor(target),
            weights=tensor(weights),
            jacobian=tensor(jacobian),
            centre=tensor(self.centre),
            prior=self.prior,
            target=self._discrepancy(),
        )
        minimise: Any = {
            "gauss-newton": gauss_newton,
            "adam": partial(adam, learning_rate=self.learning_rate),
            "lbfgs": lbfgs,
        }[self.solver]
        parts = []
        for start in range(0, len(u), _BATCH):
            rows = torch.arange(len(u), device=device)[start : start + _BATCH]
            first = tensor(u[start : start + _BATCH])
            found = minimise(problem.take(rows), first, self.max_iter, self.tol)
            numbers = found.u.double(), found.objective.double(), found.n_iter, found.converged
            parts.append([values.cpu().numpy() for values in numbers])
        whitened, *rest = (np.concatenate(values) for values in zip(*parts, strict=True))
        objective, n_iter, converged = rest
        return self.space.prior.codes(whitened), objective, n_iter, converged

    def _discrepancy(self) -> float:
        """Return the squared misfit at which iterations without a prior stop."""
        if self.prior > 0 or not (self.is_noisy or self.space.error.variance.any()):
            return 0.0
        return float(chdtri(self.data.shape[1], 0.05))


def _rows(matrices: Array, vectors: Array) -> Array:
    """Multiply each row by its matrix, or by the same one."""
    return (matrices @ vectors[..., None])[..., 0]
