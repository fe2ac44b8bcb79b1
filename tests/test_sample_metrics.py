"""Coverage and diversity of drawn sections."""

import numpy as np
import pytest

from skgrav import Mesh
from skgrav.datasets import make_density_models
from skgrav.metrics import sample_coverage, sample_diversity

RHO, FAMILY = make_density_models(2400, mesh=Mesh.square(10), random_state=0, return_family=True)
TRUE, OTHER, LABELS = RHO[:1200], RHO[1200:], FAMILY[:1200]


def test_fresh_sections_cover_what_theory_says():
    # A neighbourhood of k real sections is missed by as many fresh ones with probability 2^-k.
    for k in (1, 3, 5):
        coverage = sample_coverage(TRUE, OTHER, n_neighbors=k)
        assert coverage == pytest.approx(1 - 2.0**-k, abs=0.08)


def test_real_sections_cover_themselves():
    assert sample_coverage(TRUE, TRUE) == 1.0


def test_samples_that_are_all_alike_cover_next_to_nothing():
    assert sample_coverage(TRUE, np.repeat(OTHER[:1], 1200, axis=0)) < 0.1


def test_a_family_that_is_never_drawn_loses_most_coverage():
    drawn = OTHER[FAMILY[1200:] != "basins"]
    before, after = (sample_coverage(TRUE, d, labels=LABELS) for d in (OTHER, drawn))
    assert set(after) == set(LABELS)
    assert max(after, key=lambda name: before[name] - after[name]) == "basins"
    mean = np.mean([after[name] for name in LABELS])
    assert mean == pytest.approx(sample_coverage(TRUE, drawn))


def test_diversity_is_the_ratio_of_rms_distances():
    def rms_distance(sections):
        return np.sqrt(np.mean((sections[:, None] - sections) ** 2))

    ratio = rms_distance(OTHER[:99]) / rms_distance(TRUE[:99])
    assert sample_diversity(TRUE[:99], OTHER[:99]) == pytest.approx(ratio)
    assert sample_diversity(TRUE, 5 + 0.5 * TRUE) == pytest.approx(0.5)
    assert sample_diversity(TRUE, TRUE[:1]) == 0.0


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="'y_sampled' has 99 cells, but 'y_true' has 100"):
        sample_coverage(TRUE, OTHER[:, 1:])
    with pytest.raises(ValueError, match="'n_neighbors' is 1200; it must be at least 1 and below"):
        sample_coverage(TRUE, OTHER, n_neighbors=1200)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        sample_coverage(TRUE, OTHER, labels=LABELS[1:])
    with pytest.raises(ValueError, match="'y_true' has equal sections only"):
        sample_diversity(np.ones((3, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="Input y_sampled contains NaN"):
        sample_diversity(TRUE, np.full_like(TRUE, np.nan))
