"""The geological families that `make_density_models` draws from."""

from ._families_bodies import blocks, dykes, intrusions, salt_domes
from ._families_layers import basins, dipping_layers, faults, flat_layers, folded_layers

#: Name -> ``family(n_samples, x, z, rng, *, aspect=1.0) -> (n_samples, nz, nx)``.
#:
#: ``x`` (nx,) and ``z`` (nz,) are cell centres, scaled so that the section is the unit square
#: with its top at z = 0; ``aspect`` is its true width over depth, and ``rng`` a
#: `numpy.random.Generator`. The result is relative density: 0 the lightest, 1 the densest.
FAMILIES = {
    "flat_layers": flat_layers,
    "folded_layers": folded_layers,
    "dipping_layers": dipping_layers,
    "faults": faults,
    "salt_domes": salt_domes,
    "intrusions": intrusions,
    "basins": basins,
    "blocks": blocks,
    "dykes": dykes,
}
