"""Inversion in the latent space of a VAE: the paper's mode, the default, and starts from a CNN.

Trains a VAE and the paper's network on 10,000 sections, GANs on half of them, then inverts 1,000
others, clean and with noise. The time to the same objective, Gauss-Newton's against Adam's, is
taken on 20 of them; Adam may take up to 60 times as long. Prints two tables and writes them as CSV.
"""

import time
import warnings

import numpy as np
from _timing import markdown, put_into, report, versions
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from threadpoolctl import threadpool_limits

from skgrav import CNNInverter, GANGenerator, LatentInverter, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error

N_TRAIN, N_TEST, N_TIMED = 10_000, 1000, 20
LEVELS = (0.0, 0.001, 0.01, 0.05)
PAPER = {"solver": "adam", "init": "random", "prior": False, "approximation_error": False}
SEARCH = ("solver", "prior", "max_iter", "tol")
LIMIT = 60

warnings.simplefilter("ignore", ConvergenceWarning)


def main():
    data = make_gravity_dataset(n_samples=N_TRAIN + N_TEST, random_state=0)
    X, y = data.data[:N_TRAIN], data.target[:N_TRAIN]
    X_test, y_test = data.data[N_TRAIN:], data.target[N_TRAIN:]
    vae = FrozenEstimator(VAEGenerator(max_epochs=12, random_state=0).fit(y))
    gans = {
        epochs: FrozenEstimator(
            GANGenerator(160, max_epochs=epochs, random_state=0).fit(y[: N_TRAIN // 2])
        )
        for epochs in (8, 20)
    }
    cnn = FrozenEstimator(
        CNNInverter(
            "paper", max_epochs=16, batch_size=64, training_noise=(0.0, 0.02), random_state=0
        ).fit(X, y)
    )
    rms = np.sqrt(np.mean(X_test**2, axis=1, keepdims=True))
    noise = rms * np.random.default_rng(1).normal(size=X_test.shape)

    def inverted(generator, level, n_samples=N_TEST, **parameters):
        # What a search takes does not matter in fit, where searches only record iterations.
        search = {k: parameters.pop(k) for k in SEARCH if k in parameters}
        inverter = LatentInverter(
            generator, operator=data.operator, noise_level=level, random_state=0, **parameters
        )
        inverter.fit(X, y).set_params(**search)
        start = time.process_time()
        result = inverter.invert((X_test + level * noise)[:n_samples])
        return result, time.process_time() - start

    methods = {
        "VAE, paper's mode, 200 steps": (vae, PAPER | {"max_iter": 200}),
        "VAE": (vae, {}),
        "VAE, projected": (vae, {"projection": True}),
        "VAE, no approximation error": (vae, {"approximation_error": False}),
        "VAE, started from the CNN": (vae, {"init": cnn}),
        **{f"GAN, {epochs} epochs": (gan, {}) for epochs, gan in gans.items()},
        "PCA, 160 components": (PCA(160, random_state=0), {}),
        "PCA, started from the CNN": (PCA(160, random_state=0), {"init": cnn}),
    }
    rows = {"CNN": [], **{name: [] for name in methods}}
    for level in LEVELS:
        g = X_test + level * noise
        estimate = cnn.predict(g)
        misfit = relative_data_misfit(data.operator, estimate, g)
        rows["CNN"].append((relative_l2_error(y_test, estimate), misfit, 0, 0.0))
        for name, (generator, parameters) in methods.items():
            if "paper" in name and level not in (0.0, 0.01):
                rows[name].append(None)
                continue
            result, seconds = inverted(generator, level, **parameters)
            error = relative_l2_error(y_test, result.rho)
            rows[name].append((error, result.misfit.mean(), result.n_iter.max(), seconds))
    header = ["method", *(f"error, {level:.1%}" for level in LEVELS)]
    header += [f"misfit, {level:.1%}" for level in LEVELS] + ["most iterations", "CPU s, clean"]
    table = []
    for name, found in rows.items():
        errors = ["-" if f is None else f"{f[0]:.4f}" for f in found]
        misfits = ["-" if f is None else f"{f[1]:.1e}" for f in found]
        table.append([name, *errors, *misfits, max(f[2] for f in found if f), f"{found[0][3]:.1f}"])
    footer = (
        f"Mean relative L2 error of the density and misfit of the data over {N_TEST} sections, by "
        f"noise; training on {N_TRAIN}. {versions('skgrav', 'numpy', 'torch')}"
    )
    report("latent", header, table, footer)
    put_into("latent_inversion.md", "table of errors", f"{markdown(header, table)}\n\n{footer}")

    table = []
    with threadpool_limits(1):
        for level in (0.0, 0.01):
            newton, seconds = inverted(vae, level, N_TIMED)
            goal = newton.objective.mean()
            lbfgs, seconds_lbfgs = inverted(vae, level, N_TIMED, solver="lbfgs")
            row = [f"{level:.1%}", f"{goal:.2f}", f"{seconds:.1f}"]
            row += [f"{lbfgs.objective.mean():.2f}", f"{seconds_lbfgs / seconds:.1f}"]
            for start in ("regression", "random"):
                row.append(adam_ratio(inverted, vae, level, start, goal, seconds))
            steps = {"solver": "adam", "max_iter": 200, "tol": 0.0}
            _, together = inverted(vae, level, N_TIMED, **steps)
            _, alone = inverted(vae, level, 1, **steps)
            row.append(f"{alone / (together / N_TIMED):.1f}")
            table.append(row)
    header = ["noise", "objective", "Gauss-Newton, CPU s", "L-BFGS, objective", "L-BFGS, times"]
    header += ["Adam, same start, times", "Adam, random start, times"]
    header += ["Adam, one sample at a time, times more"]
    footer = (
        f"Mean objective of {N_TIMED} sections in nats, and CPU time relative to Gauss-Newton's; "
        f"Adam, all samples at once, until its mean objective is within 1 % of Gauss-Newton's, or "
        f"{LIMIT} times as long. {versions('skgrav', 'numpy', 'torch')}"
    )
    report("latent_time", header, table, footer)
    put_into("latent_inversion.md", "table of times", f"{markdown(header, table)}\n\n{footer}")


def adam_ratio(inverted, vae, level, start, goal, seconds):
    """Return how many times longer Adam takes to a goal, by doubling its steps."""
    steps = 100
    while True:
        result, spent = inverted(
            vae, level, N_TIMED, solver="adam", init=start, max_iter=steps, tol=0.0
        )
        objective = result.objective.mean()
        if objective <= 1.01 * goal:
            return f"{spent / seconds:.0f}"
        if spent > LIMIT * seconds:
            return f"> {spent / seconds:.0f} (at {objective:.2f})"
        steps *= 2


if __name__ == "__main__":
    main()
