"""The linear map after which errors are equal and independent, and the trend is gone."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import linalg

from skgrav._typing import Array


class Whitening:
    """Linear map of data after which independent errors have equal standard deviations.

    Data are divided by their weights and, if there is a trend, rotated so that its basis spans the
    first coordinates, which are dropped: as the coefficients are free, these contain no information
    about densities. The rotation is orthogonal, so white noise stays white.

    Parameters
    ----------
    weights : ndarray of shape (n_data,)
        Relative standard deviations of the data.
    basis : ndarray of shape (n_data, n_coefficients)
        Linearly independent columns that span the trend; no columns without a trend.

    See Also
    --------
    Noise : Its attribute `whitening`.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.noise import Whitening
    >>> whitening = Whitening(np.ones(4), np.ones((4, 1)))
    >>> bool(np.allclose(whitening(np.full((1, 4), 7.0)), 0.0))
    True
    """

    def __init__(self, weights: Array, basis: Array) -> None:
        self.weights, self.basis = weights, basis
        self.n_data, self.n_white = len(weights), len(weights) - basis.shape[1]
        self._is_weighted = bool(np.any(weights != 1.0))

    @property
    def is_identity(self) -> bool:
        """Whether data are unchanged."""
        return not self._is_weighted and self.n_white == self.n_data

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Hashable key, the same for equal maps."""
        return self.weights.tobytes(), self.basis.tobytes()

    @cached_property
    def _reflectors(self) -> tuple[Array, Array]:
        # Q = H_1 ... H_k = I - V T V^T, the compact form of the Householder reflectors of the QR
        # decomposition: n_data * k numbers instead of the n_data^2 of Q. Columns of the basis are
        # scaled, since powers of coordinates in metres differ by orders of magnitude.
        weighted = self.basis / self.weights[:, None]
        (qr, tau), _ = linalg.qr(weighted / np.linalg.norm(weighted, axis=0), mode="raw")
        k = len(tau)
        V = np.tril(qr, -1)
        V[np.arange(k), np.arange(k)] = 1.0
        T = np.zeros((k, k))
        for j in range(k):
            T[:j, j] = -tau[j] * T[:j, :j] @ (V[:, :j].T @ V[:, j])
            T[j, j] = tau[j]
        return V, T

    def __call__(self, data: Array) -> Array:
        """Return whitened data, (n_samples, n_white)."""
        if self._is_weighted:
            data = data / self.weights
        if self.n_white == self.n_data:
            return data
        # Q^T d, without its first coordinates, which the trend spans.
        V, T = self._reflectors
        return (data - ((data @ V) @ T) @ V.T)[:, self.n_data - self.n_white :]

    def adjoint(self, white: Array) -> Array:
        """Apply the transpose.

        Parameters
        ----------
        white : ndarray of shape (n_samples, n_white)
            Whitened data.

        Returns
        -------
        image : ndarray of shape (n_samples, n_data)
            For instance the gradient of a misfit with respect to the data.
        """
        if self.n_white < self.n_data:
            # Q w, with zeros for the dropped coordinates.
            V, T = self._reflectors
            padded = np.zeros((len(white), self.n_data))
            padded[:, self.n_data - self.n_white :] = white
            white = padded - ((padded @ V) @ T.T) @ V.T
        return white / self.weights if self._is_weighted else white

    @property
    def adjoint_norms2(self) -> Array:
        """Sum of squares, over an orthonormal basis of white data, of their adjoints, (n_data,)."""
        q = np.linalg.qr(self.basis / self.weights[:, None])[0]
        return np.asarray((1.0 - np.sum(q**2, axis=1)) / self.weights**2)

    def matrix(self, matrix: Array) -> Array:
        """Whiten the columns of a sensitivity matrix.

        Parameters
        ----------
        matrix : ndarray of shape (n_data, n_cells)
            Map from densities to data.

        Returns
        -------
        white : ndarray of shape (n_white, n_cells)
            Map from densities to whitened data.
        """
        return matrix if self.is_identity else self(matrix.T).T

    @cached_property
    def _inverse(self) -> Array:
        """Least-squares map of weighted data to the coefficients, (n_coefficients, n_data)."""
        weighted = self.basis / self.weights[:, None]
        size = np.linalg.norm(weighted, axis=0)
        return np.linalg.pinv(weighted / size) / size[:, None]

    def coefficients(self, data: Array) -> Array:
        """Fit the trend to data by weighted least squares.

        Parameters
        ----------
        data : ndarray of shape (n_samples, n_data)
            Data.

        Returns
        -------
        coefficients : ndarray of shape (n_samples, n_coefficients)
            Coefficients of the trend.
        """
        return data @ self.coefficient_matrix.T

    @property
    def coefficient_matrix(self) -> Array:
        """Matrix that fits the trend to data, (n_coefficients, n_data)."""
        return self._inverse / self.weights

    @property
    def coefficient_variance(self) -> Array:
        """Variance of each coefficient for whitened noise of variance 1."""
        return np.sum(self._inverse**2, axis=1)

    def detrended(self, data: Array) -> Array:
        """Subtract the fitted trend.

        Parameters
        ----------
        data : ndarray of shape (n_samples, n_data)
            Data.

        Returns
        -------
        detrended : ndarray of shape (n_samples, n_data)
            Data without their trend.
        """
        if self.n_white == self.n_data:
            return data
        return data - self.coefficients(data) @ self.basis.T
