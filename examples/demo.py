"""
Demo: training, inversion and refining of simulated sections
============================================================

Simulates a training set in the geometry of the paper, trains its network, refines its estimates
with each solver, inverts in the latent space of generators, and applies the pretrained network of
this library. Prints the errors on unseen sections, without noise and with 1 % noise.
"""

import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    GANGenerator,
    LatentInverter,
    Refiner,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error

# The paper's gradient descent and ICG end after 100 iterations, converged or not.
warnings.simplefilter("ignore", ConvergenceWarning)

NOISE = 0.01
N_TEST = 1000
N_TRAIN = 10_000
N_SEARCHED = 200  # test sections of the searches in latent space
N_HELD_OUT = 2000  # sections from which the correction learns the errors of the network

print(f"Drawing {N_TRAIN + N_TEST} sections and their gravity ...")
data = make_gravity_dataset(n_samples=N_TRAIN + N_TEST, random_state=0)
held_out = make_gravity_dataset(n_samples=N_HELD_OUT, random_state=2)
X_train, X_test = data.data[:N_TRAIN], data.data[N_TRAIN:]
y_train, y_test = data.target[:N_TRAIN], data.target[N_TRAIN:]
sigma = NOISE * np.sqrt(np.mean(X_test**2, axis=1, keepdims=True))
X_noisy = X_test + sigma * np.random.default_rng(1).normal(size=X_test.shape)
print(data.DESCR)

print("Training the paper's network, on noise from 0 to 2 % ...")
cnn = CNNInverter(
    "paper", max_epochs=16, batch_size=64, training_noise=(0.0, 0.02), random_state=0, verbose=True
)
start = time.perf_counter()
cnn.fit(X_train, y_train)
seconds_cnn = time.perf_counter() - start

default = CNNInverter.from_pretrained()
linear = BayesLinearInverter(operator=data.operator).fit(X_train, y_train)

print("Training a VAE and a GAN, small ones ...")
start = time.perf_counter()
vae = VAEGenerator(100, max_epochs=8, random_state=0).fit(y_train[:5000])
gan = GANGenerator(max_epochs=8, random_state=0).fit(y_train[:5000])
seconds_generators = time.perf_counter() - start


def refined(solver, noise_level, start=cnn):
    """Return a refiner that starts from a trained network and knows the noise."""
    refiner = Refiner(
        solver,
        init=FrozenEstimator(start),
        operator=data.operator,
        noise_level=noise_level,
        cv="prefit",
        random_state=0,
    )
    return refiner.fit(held_out.data, held_out.target)


def minimum_norm(noise_level):
    """Return the density of least norm that fits the data to their noise."""
    refiner = Refiner("projection", init="zero", operator=data.operator, noise_level=noise_level)
    return refiner.fit(X_train[:50], y_train[:50])


def tikhonov(noise_level):
    """Return the smoothest density that fits the data to their noise."""
    inverter = TikhonovInverter(order=1, noise_level=max(noise_level, 1e-6), operator=data.operator)
    return inverter.fit(X_test[:50])


def latent(generator, noise_level, init="auto"):
    """Return an inverter that searches the code of a generator and knows the noise."""
    inverter = LatentInverter(
        generator, operator=data.operator, init=init, noise_level=noise_level, random_state=0
    )
    return inverter.fit(X_train, y_train)


mean = DummyRegressor().fit(X_train[:1], y_train.mean(axis=0, keepdims=True))
methods = {
    "mean model": lambda noise_level: mean,
    "minimum norm": minimum_norm,
    "smoothest": tikhonov,
    "best linear": lambda noise_level: linear,
    "CNN": lambda noise_level: cnn,
    "CNN + GD": lambda noise_level: refined("gd", noise_level),
    "CNN + GMRES": lambda noise_level: refined("gmres", noise_level),
    "CNN + LGMRES": lambda noise_level: refined("lgmres", noise_level),
    "CNN + ICG": lambda noise_level: refined("icg", noise_level),
    "CNN + projection": lambda noise_level: refined("projection", noise_level),
    "CNN + bayes": lambda noise_level: refined("bayes", noise_level),
    "default": lambda noise_level: default,
    "default + projection": lambda noise_level: refined("projection", noise_level, default),
    "PCA latent": lambda noise_level: latent(PCA(100, random_state=0), noise_level),
    "VAE latent": lambda noise_level: latent(FrozenEstimator(vae), noise_level),
    "CNN + VAE latent": lambda noise_level: latent(
        FrozenEstimator(vae), noise_level, init=FrozenEstimator(cnn)
    ),
    "GAN latent": lambda noise_level: latent(FrozenEstimator(gan), noise_level),
}

print(f"\nRelative L2 errors and misfits, means over {N_TEST} unseen sections")
print(
    f"({N_SEARCHED} for VAE and GAN; CNN is the paper's network, trained for {seconds_cnn:.0f} s, "
    f"the generators took\n{seconds_generators:.0f} s; default is CNNInverter.from_pretrained(); "
    "seconds are those of the clean estimates)\n"
)
print(f"{'':20s} {'clean data':^20s} {f'{NOISE:.0%} noise':^20s}")
print(f"{'method':20s} {'model':>9s} {'misfit':>10s} {'model':>9s} {'misfit':>10s} {'seconds':>9s}")
estimates = {}
for name, method in methods.items():
    row = []
    n = N_SEARCHED if "VAE" in name or "GAN" in name else N_TEST
    for X, noise_level in ((X_test, 0.0), (X_noisy, NOISE)):
        estimator = method(noise_level)
        start = time.perf_counter()
        rho = estimator.predict(X[:n])
        row.append((rho, time.perf_counter() - start))
    (clean, seconds), (noisy, _) = row
    estimates[name] = clean
    figures = [
        relative_l2_error(y_test[:n], clean),
        relative_data_misfit(data.operator, clean, X_test[:n]),
        relative_l2_error(y_test[:n], noisy),
        relative_data_misfit(data.operator, noisy, X_noisy[:n]),
    ]
    model, misfit, model_noisy, misfit_noisy = figures
    print(
        f"{name:20s} {model:9.4f} {misfit:10.1e} {model_noisy:9.4f} {misfit_noisy:10.1e} "
        f"{seconds:9.2f}"
    )

# One section of each of five families: truth, estimates, and how they fit the data.
test_family = data.family[N_TRAIN:]
shown = [np.flatnonzero(test_family == f)[0] for f in np.unique(test_family)[::2]]
mesh, survey = data.operator.mesh_, data.operator.survey_
z, x = mesh.edges
columns = ["truth", "CNN", "CNN + LGMRES", "default", "VAE latent"]
figure, axes = plt.subplots(
    len(shown),
    7,
    figsize=(19, 2.7 * len(shown)),
    layout="constrained",
    gridspec_kw={"width_ratios": [1, 1, 1, 1, 1, 1.2, 1.2]},
)
along = survey.stations[:, 1]
for row, i in zip(axes, shown, strict=True):
    for axis, name in zip(row, columns, strict=False):
        section = mesh.unflatten(y_test[i] if name == "truth" else estimates[name][i])
        image = axis.pcolormesh(x, z, section, vmin=0, vmax=12, cmap="viridis")
        title = name
        if name != "truth":
            title += f", error {relative_l2_error(y_test[[i]], estimates[name][[i]]):.2f}"
        axis.set(ylim=(z[-1], z[0]), aspect="equal", title=title)
    row[0].set_ylabel(f"{test_family[i].replace('_', ' ')}\ndepth (m)")
    for k, component in enumerate(survey.components):
        row[5].plot(along, survey.unflatten(X_test[i])[k], f"C{k}", label=f"g{component}")
        for name, style in (("CNN", ":"), ("default", "-")):
            residual = X_test[i] - data.operator.transform(estimates[name][[i]])[0]
            percent = 100 * survey.unflatten(residual)[k] / np.sqrt(np.mean(X_test[i] ** 2))
            row[6].plot(along, percent, f"C{k}{style}", label=f"g{component}, {name}")
    row[5].set(title="gravity")
    row[6].set(title="residual (% of the rms)")
axes[0, 5].legend(fontsize="x-small")
axes[0, 6].legend(fontsize="x-small")
for axis in axes[-1]:
    axis.set_xlabel("x (m)")
figure.colorbar(image, ax=axes[:, :5], label="density", location="bottom", shrink=0.4, aspect=40)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "demo.png", dpi=80)
print(f"\nPicture: {output / 'demo.png'}")
