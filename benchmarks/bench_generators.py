"""What the generators represent and cover: a VAE, PCA, and GANs of three seeds.

Trains on 10,000 sections, or 5,000 for the GANs, and compares with 1,000 others. Prints a table and
writes it as CSV and into the docs.
"""

import time

from _timing import markdown, put_into, report, versions
from sklearn.decomposition import PCA

from skgrav import GANGenerator, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.metrics import relative_l2_error, sample_coverage, sample_diversity

N_TRAIN, N_GAN, N_TEST = 10_000, 5000, 1000


def main():
    rho, family = make_density_models(N_TRAIN + N_TEST, random_state=0, return_family=True)
    train, test, labels = rho[:N_TRAIN], rho[N_TRAIN:], family[N_TRAIN:]
    table = []
    for k in (64, 160):
        start = time.perf_counter()
        pca = PCA(k, svd_solver="covariance_eigh").fit(train)
        seconds = time.perf_counter() - start
        decoded = pca.inverse_transform(pca.transform(test))
        table.append([f"PCA, {k}", f"{seconds:.0f}", error(test, decoded), "-", "-", "-"])
    for name, generator, data in (
        ("VAE", VAEGenerator(random_state=0), train),
        *((f"GAN, seed {s}", GANGenerator(max_epochs=20, random_state=s), train) for s in range(3)),
    ):
        part = data if name == "VAE" else data[:N_GAN]
        start = time.perf_counter()
        generator.fit(part)
        seconds = time.perf_counter() - start
        shown = test if name == "VAE" else test[:200]  # a GAN must search each code
        decoded = generator.inverse_transform(generator.transform(shown))
        samples = generator.sample(N_TEST, random_state=0)
        by_family = sample_coverage(test, samples, labels=labels)
        least = min(by_family, key=by_family.get)
        row = [f"{name}, {generator.n_components_}", f"{seconds:.0f}", error(shown, decoded)]
        row += [
            f"{sample_diversity(test, samples):.2f}",
            f"{sample_coverage(test, samples):.2f}",
            f"{by_family[least]:.2f} ({least})",
        ]
        table.append(row)
        print(*row, flush=True)
    drawn = train[:N_TEST]
    by_family = sample_coverage(test, drawn, labels=labels)
    least = min(by_family, key=by_family.get)
    table.append(
        [
            "real sections",
            "-",
            "-",
            f"{sample_diversity(test, drawn):.2f}",
            f"{sample_coverage(test, drawn):.2f}",
            f"{by_family[least]:.2f} ({least})",
        ]
    )
    header = ["generator, length of code", "training, s", "reconstruction error"]
    header += ["diversity", "coverage", "least covered family"]
    footer = (
        f"Error on {N_TEST} unseen sections (200 for the GANs); diversity and coverage of as many "
        f"samples. {N_TRAIN} training sections of 50 x 50, {N_GAN} for the GANs, which took 20 "
        f"epochs. {versions('skgrav', 'torch', 'scikit-learn')}."
    )
    report("generators", header, table, footer)
    put_into("latent_inversion.md", "table of generators", f"{markdown(header, table)}\n\n{footer}")


def error(true, decoded):
    return f"{relative_l2_error(true, decoded):.4f}"


if __name__ == "__main__":
    main()
