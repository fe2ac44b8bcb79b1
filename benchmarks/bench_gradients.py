"""What gradients add to gravity: errors of linear estimates from gz, gzz and both.

In the paper's geometry, for sections of all families; and in 3D for the bodies of Huang et al.
(2021, doi 10.1029/2021JB022476), if a file of their models as bits, ``m`` of shape (23000, 2048),
is given as the argument. Prints the tables and writes them to doc/gradients.md.
"""

import sys
import time
import warnings

import numpy as np
from _timing import markdown, put_into, report, versions
from scipy import linalg

from skgrav import BayesLinearInverter, ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.datasets import make_density_models
from skgrav.metrics import relative_l2_error

N_TRAINED, N_TESTED, N_TIKHONOV = 4000, 500, 60
N_VALIDATED = 100

#: Noise of data called clean, relative to their rms.
CLEAN = 1e-3

#: Damping of the best linear estimate in 3D, in units of the noise.
RIDGES = (1, 4, 16, 64, 256)

#: Components, and noise relative to the rms of gravity and of gradients.
CASES = [
    ("gz", "z", CLEAN, CLEAN),
    ("gzz", "zz", CLEAN, CLEAN),
    ("gz and gzz", "z zz", CLEAN, CLEAN),
    ("gz", "z", 0.01, 0.01),
    ("gz, each station read twice", "z", 0.01 / np.sqrt(2), 0.01),
    ("gzz", "zz", 0.01, 0.01),
    ("gz and gzz", "z zz", 0.01, 0.01),
    ("gz and gzz", "z zz", 0.01, 0.03),
    ("gz and gzz", "z zz", 0.01, 0.1),
]
MORE_COMPONENTS = [
    ("gx and gz", "x z", 0.01, 0.01),
    ("gx, gz, gxz and gzz", "x z xz zz", 0.01, 0.01),
]


def noisy(survey, g, gravity, gradient):
    """Return data with noise relative to the rms of all samples, and its standard deviation."""
    profiles = survey.unflatten(g)
    is_gravity = np.array([len(c) == 1 for c in survey.components])
    sigma = np.empty(profiles.shape[1:])
    for kind, level in ((is_gravity, gravity), (~is_gravity, gradient)):
        if kind.any():
            sigma[kind] = level * np.sqrt(np.mean(profiles[:, kind] ** 2))
    noise = np.random.default_rng(1).normal(size=profiles.shape)
    return survey.flatten(profiles + sigma * noise), sigma.ravel()


def section_errors(mesh, rho, components, gravity, gradient):
    """Return errors of the best linear estimate and of two of Tikhonov's."""
    survey = Survey.line(mesh, components=components)
    exact = ForwardOperator(mesh, survey, units="normalized").fit()
    trained, tested = rho[:N_TRAINED], rho[N_TRAINED:]
    g, sigma = noisy(survey, exact.transform(tested), gravity, gradient)
    survey = Survey(survey.stations, components, sigma)
    operator = ForwardOperator(mesh, survey, units="normalized")
    bayes = BayesLinearInverter(operator=operator).fit(exact.transform(trained), trained)
    errors = [relative_l2_error(tested, bayes.predict(g))]
    for weighting in (0.5, "sensitivity"):
        tikhonov = TikhonovInverter(order=1, depth_weighting=weighting, operator=operator)
        smooth = tikhonov.fit(g[:N_TIKHONOV]).predict(g[:N_TIKHONOV])
        errors.append(relative_l2_error(tested[:N_TIKHONOV], smooth))
    return errors


def sections():
    """Return the table of the paper's geometry."""
    mesh = Mesh.square(50)
    rho = make_density_models(N_TRAINED + N_TESTED, mesh=mesh, random_state=0)
    rows = []
    for name, components, *levels in [*CASES, *MORE_COMPONENTS]:
        errors = section_errors(mesh, rho, tuple(components.split()), *levels)
        rows.append([name, *noise_of(components, *levels), *(f"{e:.4f}" for e in errors)])
    header = ["data", "noise of gravity", "noise of gradients", "best linear", "Tikhonov, 0.5"]
    return [*header, 'Tikhonov, "sensitivity"'], rows


def noise_of(components, gravity, gradient):
    """Return the noise levels as text."""
    sizes = {len(c) for c in components.split()}
    return [f"{level:.2g}" if n in sizes else "-" for n, level in ((1, gravity), (2, gradient))]


class BestLinear:
    """Best linear estimate from means and covariances of 3D models and their mirror images."""

    def __init__(self, rho, g, shape):
        self.shape, self.data_shape = shape, (g.shape[1] // (shape[1] * shape[2]), *shape[1:])
        self.mean, self.data_mean = rho.mean(axis=0), g.mean(axis=0)
        rho, g = rho - self.mean, g - self.data_mean
        self.cross = self._symmetric(g.T @ rho / len(g), (self.data_shape, shape))
        self.covariance = self._symmetric(g.T @ g / len(g), (self.data_shape,) * 2)
        self.mean = self._symmetric(self.mean, (shape,))
        self.data_mean = self._symmetric(self.data_mean, (self.data_shape,))

    @staticmethod
    def _symmetric(values, shapes):
        """Return the mean over mirror images and quarter turns about the vertical."""
        image = values.reshape([n for shape in shapes for n in shape])
        rows = [3 * k + 1 for k in range(len(shapes))]
        columns = [k + 1 for k in rows]
        for axes in (rows, columns):
            image = (image + np.flip(image, axes)) / 2
        order = list(range(image.ndim))
        for i, j in zip(rows, columns, strict=True):
            order[i], order[j] = j, i
        return ((image + image.transpose(order)) / 2).reshape(
            [int(np.prod(shape)) for shape in shapes]
        )

    def error(self, chosen, sigma, g, rho):
        """Return the error for some data, with the damping that is best for the first models."""
        covariance = self.covariance[np.ix_(chosen, chosen)] / np.outer(sigma, sigma)
        s, V = linalg.eigh(covariance.astype(np.float64), driver="evd")
        back = V.T.astype(np.float32) @ (self.cross[chosen] / sigma[:, None]).astype(np.float32)
        c = ((g[:, chosen] - self.data_mean[chosen]) / sigma) @ V

        def found(part, ridge):
            damped = (c[part] / (np.maximum(s, 0.0) + ridge)).astype(np.float32)
            estimate = np.clip(self.mean + damped @ back, 0, 1000)
            return relative_l2_error(rho[part], estimate)

        best = min(RIDGES, key=lambda ridge: found(slice(N_VALIDATED), ridge))
        return found(slice(N_VALIDATED, None), best)


class Volumes:
    """Data of three-dimensional bodies at stations of some height above the cells."""

    def __init__(self, packed, height):
        shape = (16, 32, 32)
        mesh = Mesh([50.0 * np.arange(n + 1) for n in shape])
        self.survey = Survey.grid(mesh, height=height, components=("z", "zz"))
        self.operator = ForwardOperator(mesh, self.survey, method="fft").fit()
        rho, g = self._pairs(packed[:N_TRAINED])
        self.rms = np.sqrt(np.mean(self.survey.unflatten(g) ** 2, axis=(0, 2)))
        scale = np.repeat(self.rms, self.survey.n_stations)
        self.linear = BestLinear(rho, (g / scale).astype(np.float32), shape)
        self.rho, g = self._pairs(packed[20000 : 20000 + N_VALIDATED + N_TESTED])
        self.g, self.noise = g / scale, np.random.default_rng(1).normal(size=g.shape)

    def _pairs(self, bits):
        rho = 1000 * np.unpackbits(bits, axis=1).astype(np.float32)
        parts = np.array_split(rho, 8)
        return rho, np.concatenate([self.operator.transform(part) for part in parts])

    def error(self, components, *levels):
        """Return the error of the best linear estimate."""
        is_gravity = np.arange(self.g.shape[1]) < self.survey.n_stations
        sigma = np.where(is_gravity, *levels)
        chosen = np.flatnonzero(np.isin(np.where(is_gravity, "z", "zz"), components.split()))
        g = self.g + sigma * self.noise
        return f"{self.linear.error(chosen, sigma[chosen], g, self.rho):.4f}"


def volumes(path):
    """Return the table of three-dimensional bodies, and the rms of gz and gzz."""
    packed = np.load(path)["m"]
    near = Volumes(packed, 0.1)
    field = 0.02 / near.rms[0], 5.0 / near.rms[1]
    fields = [("gz", "z", *field), ("gzz", "zz", *field), ("gz and gzz", "z zz", *field)]
    cases, rms = [*CASES, *fields], near.rms
    rows = [
        [name, *noise_of(components, *levels), near.error(components, *levels)]
        for name, components, *levels in cases
    ]
    del near
    high = Volumes(packed, 50.0)
    for row, (_, components, *levels) in zip(rows, cases, strict=True):
        few = levels in ([0.01, 0.01], [CLEAN, CLEAN])
        row.append(high.error(components, *levels) if few else "-")
    header = ["data", "noise of gravity", "noise of gradients", "0.1 m above", "50 m above"]
    return header, rows, rms


def write_sections(made):
    """Write the table of the paper's geometry."""
    start = time.process_time()
    header, rows = sections()
    footer = f"{time.process_time() - start:.0f} CPU seconds. {made}."
    report("gradients_sections", header, rows, footer)
    put_into("gradients.md", "sections", f"{markdown(header, rows)}\n\n{footer}")


def write_volumes(path, made):
    """Write the table of three-dimensional bodies."""
    start = time.process_time()
    header, rows, rms = volumes(path)
    footer = (
        f"The rms of gz is {rms[0]:.2f} mGal and that of gzz {rms[1]:.0f} E, 0.1 m above the "
        "cells; the last three rows have noise of 0.02 mGal and 5 E. "
        f"{time.process_time() - start:.0f} CPU seconds. {made}."
    )
    report("gradients_volumes", header, rows, footer)
    put_into("gradients.md", "volumes", f"{markdown(header, rows)}\n\n{footer}")


def main():
    warnings.simplefilter("ignore")
    made = versions("skgrav", "numpy", "scipy")
    write_sections(made)
    if len(sys.argv) > 1:
        write_volumes(sys.argv[1], made)


if __name__ == "__main__":
    main()
