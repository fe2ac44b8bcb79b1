"""Curves over alpha."""

from __future__ import annotations

from dataclasses import dataclass

from skgrav._typing import Array


@dataclass(frozen=True)
class AlphaCurve:
    """Misfit, model norm and criteria of Tikhonov estimates as functions of alpha.

    Parameters
    ----------
    alpha : ndarray of shape (n_alphas, n_samples)
        Weights of the model norm, in ascending order.
    misfit : ndarray of shape (n_alphas, n_samples)
        Norms of the residual ``(g - A rho) / sigma``.
    model_norm : ndarray of shape (n_alphas, n_samples)
        Norms of ``W (rho - reference)``.
    gcv : ndarray of shape (n_alphas, n_samples)
        Values of the robust generalised cross-validation function.
    chi_factor : ndarray of shape (n_alphas, n_samples)
        Chi factors, 1 where the residual is as large as the noise.

    See Also
    --------
    TikhonovInverter : Returns it.
    skgrav.plotting.LCurveDisplay : Draws it.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = TikhonovInverter("lcurve", operator=data.operator).fit(data.data)
    >>> curve = inverter.alpha_curve(data.data, alphas=[0.01, 0.1, 1.0])
    >>> curve.misfit.shape, curve.model_norm.shape
    ((3, 5), (3, 5))
    """

    alpha: Array
    misfit: Array
    model_norm: Array
    gcv: Array
    chi_factor: Array
