"""Tables I to III of arXiv:2510.09632 beside the paper's own figures.

Trains the paper's network, a VAE and a GAN, inverts by each method, and prints the tables, which
are also written as CSV and as a page of the documentation. On the simulated sections only the order
of the methods compares with the paper; ``--data negahdari2025`` takes the authors' own split.

    python benchmarks/paper_tables.py                              # about 15 minutes on two cores
    python benchmarks/paper_tables.py --data negahdari2025 --epochs 3000 25 45 --architecture paper
"""

import argparse
import time
import warnings

import numpy as np
from _timing import markdown, put_into, report, versions
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from skgrav import CNNInverter, GANGenerator, LatentInverter, Refiner, VAEGenerator
from skgrav.datasets import fetch_negahdari2025, make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error, sample_coverage

# The paper's figures: model error train, test; data error train, test.
PAPER_I = {
    "CNN": ("0.035", "0.049", "0.0005", "0.0027"),
    "VAE latent": ("-", "0.121", "-", "9.2e-5"),
    "GAN latent": ("-", "0.095", "-", "3.1e-5"),
    "CNN + GD": ("-", "0.048", "-", "9.8e-4"),
    "CNN + GMRES": ("-", "0.047", "-", "5.1e-5"),
    "CNN + LGMRES": ("-", "0.046", "-", "3.5e-5"),
    "CNN + ICG": ("-", "0.049", "-", "4.1e-4"),
}
PAPER_II = {"reconstruction": ("110", "129"), "KL": ("50", "51")}
PAPER_III = {"generator": "1.08", "discriminator": "0.95"}

NOTE = (
    "The sections are this library's own: other geology, other errors. The figures in them are not "
    "comparable with the published ones; only the order of the methods is."
)
NOTE_AUTHORS = "The sections are the authors' own, with their split."


def main():
    options = parsed()
    warnings.simplefilter("ignore", ConvergenceWarning)
    started = time.perf_counter()
    X, y, X_test, y_test, operator = pairs(options)
    epochs_cnn, epochs_vae, epochs_gan = options.epochs
    seconds = {}

    def fitted(name, estimator, *data):
        start = time.perf_counter()
        estimator.fit(*data)
        seconds[name] = time.perf_counter() - start
        print(f"{name} trained in {seconds[name]:.0f} s", flush=True)
        return FrozenEstimator(estimator)

    # None in the batch sizes is each architecture's own.
    size = {"architecture": options.architecture, "random_state": options.seed}
    cnn = fitted(
        "CNN",
        CNNInverter(
            "paper",
            max_epochs=epochs_cnn,
            batch_size=options.batch,
            random_state=options.seed,
        ),
        X,
        y,
    )
    vae = fitted("VAE", VAEGenerator(max_epochs=epochs_vae, **size), y)
    gan = fitted("GAN", GANGenerator(max_epochs=epochs_gan, **size), y)

    paper = {"solver": "adam", "init": "random", "prior": False, "approximation_error": False}
    paper |= {"max_iter": options.steps, "random_state": options.seed}
    known = {"operator": operator, "noise_level": 0.0}
    mean = y.mean(axis=0)
    methods = {"CNN": cnn}
    few = {}  # searches of the paper's kind are slow: on fewer sections
    for name, generator in (("VAE", vae), ("GAN", gan)):
        few[f"{name} latent"] = LatentInverter(generator, **known, **paper)
        few[f"{name} latent, default"] = LatentInverter(generator, **known, random_state=0)
        few[f"{name} latent from the CNN"] = LatentInverter(
            generator, **known, init=cnn, random_state=0
        )
    few["PCA latent, default"] = LatentInverter(PCA(64, random_state=0), **known)
    for solver, label in (("gd", "GD"), ("gmres", "GMRES"), ("lgmres", "LGMRES"), ("icg", "ICG")):
        methods[f"CNN + {label}"] = Refiner(solver, init=cnn, **known)
    methods["CNN + projection"] = Refiner("projection", init=cnn, **known)

    table = []
    for name, method in {**methods, **few}.items():
        n = min(options.few, len(X_test)) if name in few else len(X_test)
        n_train = 0 if name in few else min(1000, len(X))
        start = time.perf_counter()
        if name != "CNN":
            method.fit(X, y) if name in few else method.fit(X[:50], y[:50])
        found = [figures(method, operator, X[:n_train], y[:n_train])] if n_train else [("-", "-")]
        found.append(figures(method, operator, X_test[:n], y_test[:n]))
        (train, data_train), (test, data_test) = found
        published = PAPER_I.get(name, ("-",) * 4)
        spent = f"{time.perf_counter() - start:.0f}"
        table.append([name, train, test, data_train, data_test, n, spent, *published])
        print(*table[-1][:5], flush=True)
    order = [*PAPER_I, *(row[0] for row in table if row[0] not in PAPER_I)]
    table.sort(key=lambda row: order.index(row[0]))
    baseline = relative_l2_error(y_test, np.tile(mean, (len(y_test), 1)))
    table.append(["mean model", "-", f"{baseline:.3f}", "-", "-", len(y_test), "0", *("-",) * 4])
    header_i = ["method", "model, train", "model, test", "data, train", "data, test"]
    header_i += ["test sections", "s", *(f"paper: {h}" for h in header_i[1:])]

    header_ii = ["VAE loss", "train", "test", "paper: train", "paper: test"]
    terms = [vae_terms(vae.estimator, part) for part in (y[:1000], y_test)]
    table_ii = [
        [name, *(f"{t[i]:.0f}" for t in terms), *PAPER_II[name]] for i, name in enumerate(PAPER_II)
    ]
    header_iii = ["GAN", "here", "paper"]
    table_iii = [
        ["generator loss", f"{gan.generator_loss_curve_[-1]:.2f}", PAPER_III["generator"]],
        ["discriminator loss", f"{gan.loss_curve_[-1]:.2f}", PAPER_III["discriminator"]],
        ["diversity of samples", f"{gan.diversity_:.2f}", "-"],
        ["coverage by samples", f"{coverage(gan, y_test):.2f}", "-"],
        ["reconstruction error", f"{-gan.score(y_test[: options.few]):.3f}", "-"],
        ["... of the VAE", f"{-vae.score(y_test[: options.few]):.3f}", "-"],
    ]
    trained = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    setting = (
        f"{len(X)} training sections, {len(X_test)} test sections of {operator.mesh_.shape[0]} x "
        f"{operator.mesh_.shape[1]} cells, noise-free; architecture of VAE and GAN: "
        f"{options.architecture}; training: {trained}; latent searches of the paper's kind take "
        f"{options.steps} steps of Adam. {versions('skgrav', 'numpy', 'torch')}."
    )
    notes = [
        NOTE_AUTHORS if options.data == "negahdari2025" else NOTE,
        setting,
        f"Everything took {(time.perf_counter() - started) / 60:.0f} minutes.",
    ]
    titles = ["Table I: mean relative L2 errors", "Table II: loss of the VAE", "Table III: the GAN"]
    parts = ((header_i, table), (header_ii, table_ii), (header_iii, table_iii))
    page = notes
    for k, (title, (header, rows)) in enumerate(zip(titles, parts, strict=True)):
        print(f"\n{title}")
        report(f"paper_table_{k + 1}", header, rows, notes[0])
        page = [*page, f"## {title}", markdown(header, rows)]
    print("\n".join(["", *notes]))
    put_into("paper_tables.md", "tables", "\n\n".join(page))


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["simulated", "negahdari2025"], default="simulated")
    parser.add_argument("--train", type=int, default=8000, help="training sections")
    parser.add_argument("--test", type=int, default=1000, help="test sections")
    parser.add_argument("--few", type=int, default=100, help="test sections of latent searches")
    parser.add_argument("--steps", type=int, default=500, help="steps of the paper's searches")
    parser.add_argument("--batch", type=int, default=64, help="batch size of the CNN")
    parser.add_argument(
        "--epochs", type=int, nargs=3, default=[20, 12, 20], metavar=("CNN", "VAE", "GAN")
    )
    parser.add_argument("--architecture", choices=["default", "paper"], default="default")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def pairs(options):
    if options.data == "negahdari2025":
        data = fetch_negahdari2025()
        n, m = options.train, options.test
        return (
            data.data_train[:n],
            data.target_train[:n],
            data.data_test[:m],
            data.target_test[:m],
            data.operator,
        )
    n = options.train
    data = make_gravity_dataset(n_samples=n + options.test, random_state=options.seed)
    return data.data[:n], data.target[:n], data.data[n:], data.target[n:], data.operator


def figures(method, operator, X, y):
    """Return model and data error as text."""
    rho = method.predict(X)
    misfit = relative_data_misfit(operator, rho, X)
    return f"{relative_l2_error(y, rho):.3f}", f"{misfit:.1e}"


def vae_terms(vae, y):
    """Return the two parts of the paper's loss, with densities scaled to 12 units."""
    low, high = vae.density_range_
    error = (y - vae.inverse_transform(vae.transform(y))) * 12 / (high - low)
    return 1000 * np.mean(error**2), vae.kl_divergence(y).mean()


def coverage(gan, y):
    return sample_coverage(y, gan.sample(len(y), random_state=0))


if __name__ == "__main__":
    main()
