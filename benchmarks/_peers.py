"""The same gravity by this library and by its peers: who builds it, applies it and transposes it.

Every peer is a function of the shape of a mesh that returns `build`; that returns a pair of
products, forward and adjoint, of vectors in the peer's own order. Densities are in kg/m3 and
gravity in mGal; what a peer's units and signs make of them is undone in `compared`.
"""

import numpy as np

from skgrav import ForwardOperator, Mesh, Survey

SPACING, HEIGHT = 100.0, 50.0


def geometry(shape, share=1):
    """Return a mesh of cubes and one station above each column, or above one of `share`."""
    mesh = Mesh.regular(shape, SPACING)
    survey = Survey.grid(mesh, height=HEIGHT)
    return mesh, Survey(survey.stations[::share], "z") if share > 1 else survey


def skgrav(shape, **parameters):
    """Return what builds this library's operator, for vectors in C order from the top."""
    mesh, survey = geometry(shape)

    def build():
        operator = ForwardOperator(mesh, survey, **parameters).fit().aslinearoperator()
        return operator.matvec, operator.rmatvec

    return build


def simpeg_mesh(mesh):
    """Return the same mesh as one of discretize, z up."""
    from discretize import TensorMesh

    widths = [mesh.widths[axis] for axis in (2, 1)] + [mesh.widths[0][::-1]]
    origin = [mesh.edges[2][0], mesh.edges[1][0], -mesh.edges[0][-1]]
    return TensorMesh(widths, origin=origin)


def simpeg_survey(survey):
    """Return the same stations as a survey of gz, z up."""
    from simpeg.potential_fields import gravity

    receivers = gravity.receivers.Point(survey.stations[:, ::-1] * [1, 1, -1], components=["gz"])
    return gravity.Survey(gravity.sources.SourceField([receivers]))


def simpeg_simulation(mesh, survey, store="ram", dtype=np.float32):
    """Return SimPEG's simulation of the active cells by its compiled engine, on one thread."""
    from simpeg import maps
    from simpeg.potential_fields import gravity

    return gravity.simulation.Simulation3DIntegral(
        survey=simpeg_survey(survey),
        mesh=simpeg_mesh(mesh),
        rhoMap=maps.IdentityMap(nP=mesh.n_cells),
        active_cells=active_cells(mesh),
        store_sensitivities=store,
        sensitivity_dtype=dtype,
        engine="choclo",
        numba_parallel=False,
    )


def simpeg(shape, store="ram", share=1):
    """Return what builds SimPEG's sensitivity, for vectors through x first, from the bottom up."""
    mesh, survey = geometry(shape, share)
    # What is not stored is computed in float64 whatever the type.
    dtype = np.float32 if store == "ram" else np.float64

    def build():
        matrix = simpeg_simulation(mesh, survey, store, dtype).G
        return (
            lambda rho: matrix @ rho.astype(dtype, copy=False),
            lambda g: matrix.T @ g.astype(dtype, copy=False),
        )

    return build


def harmonica(shape, share=1):
    """Return what builds harmonica's layers of prisms, for vectors in C order from the top."""
    from harmonica import prism_gravity

    mesh, survey = geometry(shape, share)
    z, y, x = mesh.edges
    top, south, west = np.meshgrid(-z[:-1], y[:-1], x[:-1], indexing="ij")
    bottom, north, east = np.meshgrid(-z[1:], y[1:], x[1:], indexing="ij")
    prisms = np.stack([west, east, south, north, bottom, top], axis=-1).reshape(-1, 6)
    coordinates = tuple(survey.stations[:, ::-1].T * [[1], [1], [-1]])

    def build():
        def forward(rho):
            return prism_gravity(
                coordinates, prisms, rho, field="g_z", parallel=False, disable_checks=True
            )

        return forward, None

    return build


def active_cells(mesh):
    """Return the mask of active cells in SimPEG's order."""
    active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
    return active[::-1].ravel()


def from_simpeg(rho, shape):
    """Return densities in SimPEG's order in this library's, in kg/m3 to which its g/cm3 count."""
    return rho.reshape(shape)[::-1].ravel()
