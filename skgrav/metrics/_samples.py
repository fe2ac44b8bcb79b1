"""How well drawn density sections represent real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skgrav._checks import check_array, named, refuse_missing
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array

#: Principal components in which sections are compared, since distances over all cells are
#: dominated by fine details.
_N_COMPONENTS = 50


@checked(n_neighbors=[WHOLE])
def sample_coverage(
    y_true: ArrayLike,
    y_sampled: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_neighbors: int = 5,
) -> float | dict[str, float]:
    """Compute the share of real sections with a drawn one in their neighbourhood.

    It is small for a generator that has collapsed to few sections or families.

    Parameters
    ----------
    y_true : array-like of shape (n_true, n_cells)
        Real density sections.
    y_sampled : array-like of shape (n_sampled, n_cells)
        Drawn density sections, as many as real ones: the coverage grows with their number.
    labels : array-like of shape (n_true,), default=None
        Family of each real section.
    n_neighbors : int, default=5
        Number of real sections within the neighbourhood of each.

    Returns
    -------
    coverage : float or dict of float
        Between 0 and 1; about ``1 - 2**-n_neighbors`` for sections drawn from the same
        distribution. With `labels`, the coverage of each family.

    See Also
    --------
    sample_diversity : How different drawn sections are from one another.

    References
    ----------
    .. [1] Naeem, Oh, Uh, Choi and Yoo (2020), Reliable fidelity and diversity metrics for
       generative models, ICML, arXiv:2002.09797.

    Examples
    --------
    >>> from skgrav import Mesh
    >>> from skgrav.datasets import make_density_models
    >>> from skgrav.metrics import sample_coverage
    >>> rho = make_density_models(400, mesh=Mesh.square(10), random_state=0)
    >>> sample_coverage(rho[:200], rho[200:]) > 0.9
    True
    >>> sample_coverage(rho[:200], rho[200:201].repeat(200, axis=0)) < 0.2
    True
    """
    true, sampled = _components(y_true, y_sampled)
    if not 1 <= n_neighbors < len(true):
        raise ValueError(
            f"'n_neighbors' is {n_neighbors}; it must be at least 1 and below the {len(true)} "
            "sections of 'y_true'."
        )
    radius = NearestNeighbors(n_neighbors=n_neighbors).fit(true).kneighbors()[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(sampled).kneighbors(true)[0][:, 0]
    covered = nearest <= radius
    if labels is None:
        return float(covered.mean())
    refuse_missing(labels, "labels")
    with named("labels"):
        labels = column_or_1d(labels)
        check_consistent_length(true, labels)
        if (labels != labels).any():  # noqa: PLR0124 - NaN of any type
            raise ValueError("it contains NaN; give each section its family.")
    return {str(name): float(covered[labels == name].mean()) for name in np.unique(labels)}


def sample_diversity(y_true: ArrayLike, y_sampled: ArrayLike) -> float:
    """Compute the distance between drawn sections relative to the distance between real ones.

    Parameters
    ----------
    y_true : array-like of shape (n_true, n_cells)
        Real density sections.
    y_sampled : array-like of shape (n_sampled, n_cells)
        Drawn density sections.

    Returns
    -------
    diversity : float
        Ratio of the root mean square distances of pairs: 0 if all drawn sections are equal, and
        1 if they differ as much as real ones.

    See Also
    --------
    sample_coverage : Whether all kinds of real sections are drawn.

    Examples
    --------
    >>> from skgrav.metrics import sample_diversity
    >>> sample_diversity([[0.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 2.0]])
    0.5
    """
    true, sampled = _sections(y_true, y_sampled)
    # The mean squared distance of pairs is twice the variance.
    spread, sampled_spread = (np.var(v, axis=0).sum() for v in (true, sampled))
    return float(np.sqrt(sampled_spread / spread))


def _sections(y_true: ArrayLike, y_sampled: ArrayLike) -> tuple[Array, Array]:
    true = check_array(y_true, "y_true", ensure_min_samples=2)
    sampled = check_array(y_sampled, "y_sampled")
    if true.shape[1] != sampled.shape[1]:
        raise ValueError(
            f"'y_sampled' has {sampled.shape[1]} cells, but 'y_true' has {true.shape[1]}."
        )
    if not np.var(true, axis=0).any():
        raise ValueError("'y_true' has equal sections only; give sections that differ.")
    return true, sampled


def _components(y_true: ArrayLike, y_sampled: ArrayLike) -> tuple[Array, Array]:
    true, sampled = _sections(y_true, y_sampled)
    pca = PCA(min(_N_COMPONENTS, *true.shape), random_state=0).fit(true)
    return pca.transform(true), pca.transform(sampled)
