"""Benchmarks of estimators of density from gravity, also of other libraries."""

from skgrav.benchmarking._benchmark import benchmark
from skgrav.benchmarking._bodies import Problem, block, bodies, measures, published, slab
from skgrav.benchmarking._calibration import of_draws, of_marginals, ranks
from skgrav.benchmarking._candidate import QUANTILES
from skgrav.benchmarking._result import BenchmarkResult, BenchmarkTable
from skgrav.benchmarking._sections import HELD_OUT, ROUNDING, pairs
from skgrav.benchmarking._volumes import (
    BOUNDS,
    COMPARED,
    FAMILIES,
    GRAVIGNN,
    NOISY,
    TOLD,
    evaluate,
    with_noise,
)

__all__ = ["BenchmarkResult", "BenchmarkTable", "benchmark"]
