"""The geological families that `make_density_models` draws from."""

from skgrav.datasets import _families_bodies as bodies
from skgrav.datasets import _families_layers as layers

#: Name -> ``family(draw)``, which returns relative density of shape (n_samples, nz, nx), in 3D
#: (n_samples, nz, ny * nx): 0 is the lightest, 1 the densest.
FAMILIES = {
    "flat_layers": layers.flat_layers,
    "folded_layers": layers.folded_layers,
    "dipping_layers": layers.dipping_layers,
    "faults": layers.faults,
    "salt_domes": bodies.salt_domes,
    "intrusions": bodies.intrusions,
    "basins": layers.basins,
    "blocks": bodies.blocks,
    "dykes": bodies.dykes,
    "random_walks": bodies.random_walks,
}

#: Drawn if none is named: in sections, the nine that the paper's geometry is studied with.
DEFAULTS = {2: tuple(FAMILIES)[:-1], 3: tuple(FAMILIES)}
