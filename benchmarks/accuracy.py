"""How accurate each method is: at which noise, on which geology, for how many seconds of training.

Networks are trained for the same CPU seconds on one thread, drawing their sections included, and
are compared on the same unseen sections, noise-free (as float32 holds them) and noisy. Each part
writes its figures to build/benchmarks/accuracy_PART.csv; the last makes a page of the docs of them.

    python benchmarks/accuracy.py main ablation heads ...  # all parts: 2 hours
    python benchmarks/accuracy.py page
"""

import argparse
import csv
import time
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from _accuracy_page import LEVELS, make_page, note_minutes
from _clock import fast_precision
from _timing import OUTPUT
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback
from torch import nn

from skgrav import BayesLinearInverter, CNNInverter, Mesh, Refiner, Survey, TikhonovInverter
from skgrav.benchmarking import HELD_OUT, pairs
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error
from skgrav.solvers import Projection
from skgrav.training import LEAST_NOISE, OneCycle

TRAINED = [
    "flat_layers",
    "folded_layers",
    "dipping_layers",
    "intrusions",
    "basins",
    "blocks",
    "dykes",
]
CHUNK = 20_000
N_TEST = 1000
BOUNDS = (0.0, 12.0)


class Source:
    """Sections drawn anew at each call, or `n_sections` of them again and again."""

    def __init__(self, n_sections=None, chunk=CHUNK, **options):
        self.n_sections, self.chunk, self.options, self.n_calls = n_sections, chunk, options, 0

    def __call__(self, random_state):
        chunk = self.chunk if self.n_sections is None else min(self.chunk, self.n_sections)
        if self.n_sections is not None:
            random_state = 1000 + self.n_calls % max(1, self.n_sections // chunk)
        self.n_calls += 1
        return make_gravity_dataset(chunk, random_state=random_state, **self.options)


class Budget(Callback):
    """End training after some CPU seconds, and let the schedule of learning rates end with it."""

    def __init__(self, seconds):
        self.seconds, self.start = seconds, time.process_time()

    def on_epoch_end(self, net, **kwargs):
        elapsed, done = time.process_time() - self.start, len(net.history)
        total = round(done * self.seconds / elapsed)
        net.run_.cycle_start, net.run_.cycle_length = 0, max(done + 1, total)
        if done >= total:
            net.stop("callback")


def trained(inverter, source, seconds):
    """Train for some CPU seconds, the drawing of sections included; return it and its seconds."""
    budget = Budget(seconds)
    inverter.set_params(max_epochs=1000, callbacks=[*(inverter.callbacks or []), budget])
    quietly(inverter.fit, source)
    return inverter, time.process_time() - budget.start


def default(seed, **parameters):
    settings = {"augment": "mirror", "precision": fast_precision(), "random_state": seed}
    return CNNInverter(**settings | parameters)


def papers(seed, **parameters):
    """Return the paper's network, with what makes it better: noise, one cycle, larger batches."""
    settings = {
        "batch_size": 64,
        "training_noise": (0.0, 0.1),
        "augment": "mirror",
        "precision": fast_precision(),
        "callbacks": [OneCycle()],
        "random_state": seed,
    }
    return CNNInverter("paper", **settings | parameters)


def tests(families, **geometry):
    """Yield noise level, test pairs and noisy data; float32's rounding counts as noise."""
    data = pairs(N_TEST, 1_000_000, families, **geometry)
    rms = np.sqrt(np.mean(data.data**2, axis=1, keepdims=True))
    noise = np.random.default_rng(1).normal(size=data.data.shape)
    for level in LEVELS:
        yield max(level, LEAST_NOISE), data, data.data + level * rms * noise


class Report:
    """CSV file that grows by a row at a time."""

    header = ("method", "seed", "geology", "noise", "error", "misfit", "chi factor", "cpu seconds")

    def __init__(self, part):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.path = OUTPUT / f"accuracy_{part}.csv"
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerow(self.header)

    def add(self, method, seed, geology, level, data, X, rho, seconds=0.0):
        row = [
            method,
            seed,
            geology,
            0.0 if level == LEAST_NOISE else level,
            f"{relative_l2_error(data.target, rho):.5f}",
            f"{relative_data_misfit(data.operator, rho, X):.3g}",
            f"{chi_factor(data.operator, rho, X, noise_level=level):.4g}",
            f"{seconds:.0f}",
        ]
        print(*row, flush=True)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)


def quietly(function, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ConvergenceWarning, UserWarning))
        return function(*arguments, **keywords)


def refined(solver, start, data, level, held_out):
    refiner = Refiner(
        solver,
        init=FrozenEstimator(start),
        operator=data.operator,
        noise_level=level,
        cv="prefit",
        random_state=0,
    )
    return quietly(refiner.fit, held_out.data, held_out.target)


def main_part(options):
    """Compare all methods within the trained families and beyond."""
    report = Report("main")
    for seed in range(options.seeds):
        source = Source(families=TRAINED)
        fixed = pairs(27_000, seed, TRAINED)
        held_out = pairs(3000, 500_000 + seed, TRAINED)
        operator = fixed.operator
        networks = {
            "default": trained(default(seed), source, options.seconds),
            "paper's network": trained(papers(seed), source, options.seconds),
        }
        mean = DummyRegressor().fit(fixed.data[:1], fixed.target.mean(axis=0, keepdims=True))
        linear = BayesLinearInverter(operator=operator).fit(fixed.data, fixed.target)
        for geology, families in (("trained", TRAINED), ("unseen", HELD_OUT)):
            for level, data, X in tests(families):
                add = partial(report.add, seed=seed, geology=geology, level=level, data=data, X=X)
                add("mean model", rho=mean.predict(X))
                tikhonov = TikhonovInverter(order=1, noise_level=level, operator=operator)
                add("Tikhonov, first order", rho=quietly(tikhonov.fit(X[:2]).predict, X))
                best = np.clip(quietly(linear.predict, X, noise_level=level), *BOUNDS)
                add("best linear", rho=best)
                for name, (network, seconds) in networks.items():
                    add(name, rho=network.predict(X), seconds=seconds)
                    solvers = {"LGMRES": "lgmres", "projection": "projection", "bayes": "bayes"}
                    for label, solver in solvers.items():
                        refiner = refined(solver, network, data, level, held_out)
                        add(f"{name} + {label}", rho=quietly(refiner.predict, X))


class SquaredLoss(nn.Module):
    """Mean squared error of the components, and CRPS of the spread as in the default."""

    def forward(self, predicted, true):
        predicted, mixtures = predicted
        n = predicted.shape[1]
        components, _, cells = true.tensor_split((n, n + 2), dim=1)
        crps = mixtures.crps(cells if cells.shape[1] else components)
        return (predicted - components).square().mean() + crps - crps.detach()


class Variant(CNNInverter):
    """Default network without one of its parts."""

    def __init__(self, *, without="", **parameters):
        super().__init__(**parameters)
        self.without = without

    @classmethod
    def _get_param_names(cls):
        return sorted([*CNNInverter._get_param_names(), "without"])

    def _compose(self, trainer):
        if self.without == "linear skip":
            known = self._encoding  # in coordinates of unit variance
            linear2 = np.sum((known.regression @ known.components.T) ** 2, axis=0)
            scale = np.sqrt(known.scale**2 + linear2)
            self._encoding = replace(known, regression=0.0 * known.regression, scale=scale)
        net = super()._compose(trainer)
        if self.without == "relative loss":
            net.set_params(criterion=SquaredLoss)
        if self.without == "noise as an input":
            net.set_params(module=partial(Deaf, net.module))
        if self.without == "shrinkage of noisy data":
            net.set_params(module=partial(Unshrunk, net.module, net.augment))
        return net


class Deaf(nn.Module):
    """Network that is not told the noise."""

    def __init__(self, make):
        super().__init__()
        self.network = make()

    def forward(self, x):
        return self.network(torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], dim=1))


class Unshrunk(nn.Module):
    """Network that sees noisy data with unit variance: noise alone where it hides the signal."""

    def __init__(self, make, augment):
        super().__init__()
        self.network, self.data_rms = make(), augment.data_rms
        self.register_buffer("std", augment.std.clone())

    def forward(self, x):
        ratio = self.data_rms * 10.0 ** x[:, -1:] / self.std
        v = x[:, :-1] * torch.sqrt(1.0 + ratio.square())
        return self.network(torch.cat([v, x[:, -1:]], dim=1))


def ablation_part(options):
    """Take parts of the default away, one by one, and give them to the paper's network."""
    report = Report("ablation")
    seconds = options.seconds / 3
    fixed = {"n_sections": 27_000, "chunk": 27_000, "families": TRAINED}
    kinds = {
        "paper's network, as published": (
            papers(0, training_noise=0.0, callbacks=None, augment=None, batch_size=25),
            Source(**fixed),
        ),
        "... noise of all levels": (papers(0, callbacks=None, augment=None), Source(**fixed)),
        "... one cycle": (papers(0, augment=None), Source(**fixed)),
        "... mirrored": (papers(0), Source(**fixed)),
        "... fresh sections": (papers(0), Source(families=TRAINED)),
        "default": (default(0), Source(families=TRAINED)),
        "default, fixed sections": (default(0), Source(**fixed)),
        "default, fixed, not mirrored": (default(0, augment=None), Source(**fixed)),
        "default, trained clean": (default(0, training_noise=0.0), Source(families=TRAINED)),
    }
    parts = "linear skip", "relative loss", "noise as an input", "shrinkage of noisy data"
    for without in parts:
        variant = Variant(
            without=without, augment="mirror", precision=fast_precision(), random_state=0
        )
        kinds[f"default without {without}"] = (variant, Source(families=TRAINED))
    for name, (inverter, source) in kinds.items():
        network, took = quietly(trained, inverter, source, seconds)
        for geology, families in (("trained", TRAINED), ("unseen", HELD_OUT)):
            for level, data, X in tests(families):
                rho = quietly(network.predict, X)
                report.add(name, 0, geology, level, data, X, rho, took)


class Sharpened(nn.Module):
    """Network whose estimate is corrected by convolutions over the section, a small U-Net."""

    def __init__(self, make, frame, shape, width=16):
        super().__init__()
        self.network, self.shape = make(), shape
        for name in ("mean", "regression", "components"):
            value = torch.tensor(getattr(frame, name), dtype=torch.float32)
            self.register_buffer(name, value, persistent=False)
        self.down = nn.Conv2d(1, width, 3, padding=1)
        self.coarse = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(2 * width, width, 2, stride=2),
        )
        self.up = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        found = self.network(x)  # with the distributions in training
        components, *mixtures = found if isinstance(found, tuple) else (found,)
        rho = self.mean + x[:, :-1] @ self.regression + components @ self.components
        image = (rho / 6.0 - 1.0).unflatten(1, (1, *self.shape))
        fine = nn.functional.gelu(self.down(image.to(memory_format=torch.channels_last)))
        correction = self.up(nn.functional.gelu(fine + self.coarse(fine))).flatten(1)
        components = components + 6.0 * correction @ self.components.T
        return (components, *mixtures) if mixtures else components


class WithHead(CNNInverter):
    """Default network with the 2D head."""

    def _compose(self, trainer):
        net = super()._compose(trainer)
        return net.set_params(module=partial(Sharpened, net.module, self._encoding, (50, 50)))


def heads_part(options):
    """Tell what a 2D head, a wider network and an ensemble of five buy."""
    report = Report("heads")
    source, seconds = Source(families=TRAINED), options.seconds / 4
    settings = {"augment": "mirror", "precision": fast_precision()}
    members = [trained(default(seed), source, seconds) for seed in range(5)]
    head, took_head = trained(WithHead(random_state=0, **settings), source, seconds)
    five, took_five = trained(default(0), source, 5 * seconds)
    for geology, families in (("trained", TRAINED), ("unseen", HELD_OUT)):
        for level, data, X in tests(families):
            rho = [member.predict(X) for member, _ in members]
            took = [t for _, t in members]
            add = partial(report.add, seed=0, geology=geology, level=level, data=data, X=X)
            add("default", rho=rho[0], seconds=took[0])
            add("with a 2D head", rho=head.predict(X), seconds=took_head)
            add("ensemble of five", rho=np.mean(rho, axis=0), seconds=sum(took))
            add("one network, five times as long", rho=five.predict(X), seconds=took_five)


def consistency_part(options):
    """Tell what fitting the data costs or buys: afterwards, within bounds, in training."""
    report = Report("consistency")
    source, seconds = Source(families=TRAINED), options.seconds / 3
    plain, took = trained(default(0), source, seconds)
    through, took_through = trained(default(0, data_consistency=True), source, seconds)
    held_out = pairs(100, 500_000, TRAINED)
    solvers = {
        "projected": Projection(),
        "projected to chi factor 1": Projection(chi_factor=1.0),
        "clipped after the projection": Projection(),
        "projected within bounds": Projection(bounds=BOUNDS),
    }
    few = slice(300)  # the bounded projection solves a system for each
    for level, data, noisy in tests(TRAINED):
        X = noisy[few]
        data.target = data.target[few]
        add = partial(report.add, seed=0, geology="trained", level=level, data=data, X=X)
        add("default", rho=plain.predict(X), seconds=took)
        for name, solver in solvers.items():
            start = time.process_time()
            rho = quietly(refined(solver, plain, data, level, held_out).predict, X)
            if "clipped" in name:
                rho = np.clip(rho, *BOUNDS)
            add(name, rho=rho, seconds=time.process_time() - start)
        add("trained through the projection", rho=through.predict(X), seconds=took_through)


def sections_part(options):
    """Tell how accuracy grows with training sections."""
    report = Report("sections")
    for n_sections in options.sections:
        source = Source(n_sections, chunk=10_000, families=TRAINED)
        network, took = trained(default(0), source, options.seconds / 4)
        for level, data, X in tests(TRAINED):
            name = f"{n_sections} sections"
            report.add(name, 0, "trained", level, data, X, quietly(network.predict, X), took)


def seconds_part(options):
    """Tell how accuracy grows with seconds of training on fresh sections."""
    report = Report("seconds")
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1):
        network, took = trained(default(0), Source(families=TRAINED), share * options.seconds)
        for level, data, X in tests(TRAINED):
            name = f"{took:.0f} seconds"
            report.add(name, 0, "trained", level, data, X, network.predict(X), took)


def geometry_part(options):
    """Tell what height, stations and components of the survey are worth."""
    report = Report("geometry")
    mesh = Mesh.square(50)
    for height, spacings in ((1, "1 spacing"), (10, "10 spacings")):
        for n_stations in (50, 150):
            for components in (("z",), ("x", "z")):
                survey = Survey.line(
                    mesh, n_stations=n_stations, height=0.8 * height - 0.4, components=components
                )
                both = "gx and gz" if len(components) > 1 else "gz"
                name = f"{spacings} high, {n_stations} stations, {both}"
                for seed in range(options.seeds):
                    train = pairs(20_000, seed, survey=survey)
                    linear = BayesLinearInverter(operator=train.operator)
                    linear.fit(train.data, train.target)
                    source = Source(survey=survey)
                    inverter = default(seed, operator=train.operator)
                    network, took = trained(inverter, source, options.seconds / 8)
                    for level, data, X in tests(None, survey=survey):
                        add = partial(report.add, seed=seed, level=level, data=data, X=X)
                        best = quietly(linear.predict, X, noise_level=level)
                        add("best linear", geology=name, rho=np.clip(best, *BOUNDS))
                        add("default", geology=name, rho=quietly(network.predict, X), seconds=took)


PARTS = {
    "main": main_part,
    "ablation": ablation_part,
    "consistency": consistency_part,
    "heads": heads_part,
    "sections": sections_part,
    "seconds": seconds_part,
    "geometry": geometry_part,
    "page": make_page,
}


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=400.0, help="CPU seconds of training")
    parser.add_argument("--seeds", type=int, default=3)
    many = [1000, 3000, 10_000, 30_000, 100_000, 300_000]
    parser.add_argument("--sections", type=int, nargs="+", default=many)
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = parsed()
    for part in chosen.parts:
        start = time.process_time()
        PARTS[part](chosen)
        if part != "page":
            note_minutes(part, (time.process_time() - start) / 60)
