"""
Your own inverter, and its evaluation
=====================================

For developers of methods. An inverter of forty lines is written as an estimator, passes
scikit-learn's checks, and is evaluated by one call, as is an estimator of another library. The
tables show its errors and the calibration of its uncertainty, and the picture shows how its errors
grow with noise.
"""

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import skgrav
from skgrav import Mesh, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import InverterMixin
from skgrav.metrics import relative_l2_error
from skgrav.noise import Noise
from skgrav.operators import resolve_operator

# %%
# A method: a Wiener filter of the singular components
# ----------------------------------------------------
# In the singular value decomposition of the sensitivity matrix, ``A = U S V^T``, the coefficient of
# the data along each column of ``U`` depends only on the coefficient of the density along the same
# column of ``V``. The variance of the latter is computed from the training sections. If the signal
# is small compared with the noise, the estimate stays near the mean of the sections. The filter is
# a truncated SVD with a smooth cut-off that follows from the variances.
#
# ``Noise`` whitens data and matrix, so that noise levels, uncertainties and trends of a survey are
# treated as in all other inverters. The standard deviations of ``predict`` with `return_std`
# combine the remaining variance along each singular vector with the variance of the sections in the
# null space.


class WienerInverter(InverterMixin, BaseEstimator):
    """Filter of the coefficients of density along the singular vectors of the operator."""

    def __init__(self, *, noise_level=None, operator=None):
        self.noise_level = noise_level
        self.operator = operator

    def fit(self, X, y):
        X, y = validate_data(self, X, y, multi_output=True)
        self._y_ndim, rho = y.ndim, y.reshape(len(y), -1)
        self.n_outputs_ = rho.shape[1]
        self.operator_ = resolve_operator(self.operator, rho, X)
        noise = Noise.of(self.operator_, self.noise_level)
        matrix = noise.whitening.matrix(self.operator_.matrix_)
        U, self.values_, self.vectors_ = np.linalg.svd(matrix, full_matrices=False)
        self.data_vectors_ = U.T
        self.mean_ = rho.mean(axis=0)
        coefficients = (rho - self.mean_) @ self.vectors_.T
        self.variance_ = coefficients.var(axis=0)
        self.unseen_ = (rho - self.mean_ - coefficients @ self.vectors_).var(axis=0)
        return self

    def predict(self, X, return_std=False, *, noise_level=None):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        noise = Noise.of(self.operator_, self.noise_level).at(noise_level)
        # At least the rounding of single precision: no data are more exact.
        sigma2 = np.maximum(noise.scale_or(X, 0.0), 1e-6 * noise.rms(X))[:, None] ** 2
        residual = noise.whitening(X - self.operator_.transform(self.mean_[None]))
        signal = self.variance_ * self.values_**2
        gain = signal / np.maximum(signal + sigma2, np.finfo(float).tiny)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(self.values_ > 1e-12 * self.values_[0], 1 / self.values_, 0.0)
        rho = self.mean_ + (gain * inverse * (residual @ self.data_vectors_.T)) @ self.vectors_
        if not return_std:
            return self._as_fitted(rho)
        variance = ((1 - gain) * self.variance_) @ self.vectors_**2 + self.unseen_
        return self._as_fitted(rho), self._as_fitted(np.sqrt(variance))


# %%
# Checks of scikit-learn
# ----------------------
# The checks detect errors that would occur in a search, a pipeline or a pickle.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # random numbers are not gravity
    checks = check_estimator(WienerInverter(), on_skip=None)
print(f"{sum(check['status'] == 'passed' for check in checks)} checks passed")

# %%
# The benchmark
# -------------
# Here sections are small, so that this page is built quickly. By default, the benchmark uses the
# paper's sections, and public problems as well.

mesh = Mesh.square(16)
small = {
    "tables": ("accuracy", "calibration"),
    "mesh": mesh,
    "n_train": 1500,
    "noise_levels": (0.001, 0.01, 0.05),
}
own = skgrav.benchmark(WienerInverter(), **small)
print(own)

# %%
# With noise of 1 % and more, its errors are smaller than those of the minimum norm and of the
# smoothest density, which use no training sections; with less noise, the smoothest is as good. The
# best linear estimate is better at all levels, since it also uses the correlations between the
# coefficients, which this filter neglects. The calibration agrees with this: the CRPS is a little
# larger than that of the best linear estimate, and the coverage of the intervals is about the same.
#
# The same call evaluates an estimator of another library. Kernel ridge regression does not use the
# operator, and its `predict` has no noise level, so that the benchmark trains it with data of each
# level. It is as good with little noise, but not with much noise.

kernel = make_pipeline(StandardScaler(), KernelRidge(alpha=1e-3, kernel="rbf", gamma=1e-3))
other = skgrav.benchmark(kernel, **small, references=False)
print(other)

# %%
# As the start of a refiner
# -------------------------
# A `Refiner` can start from the estimate of any inverter. "bayes" computes the covariance of the
# errors of held-out estimates, which the filter neglects, and corrects the errors that the data
# resolve.

train = make_gravity_dataset(1500, mesh=mesh, random_state=0)
test = make_gravity_dataset(100, mesh=mesh, noise_level=0.01, random_state=1)
start = WienerInverter(noise_level=0.01, operator=test.operator)
refiner = Refiner("bayes", init=start, operator=test.operator, noise_level=0.01, random_state=0)
refiner.fit(train.data, train.target)
for name, rho in {
    "filter": refiner.init_.predict(test.data),
    "filter, refined": refiner.predict(test.data),
}.items():
    error = relative_l2_error(test.target, rho)
    chi = skgrav.metrics.chi_factor(test.operator, rho, test.data, noise_level=0.01)
    print(f"{name:15s} error {error:.3f}, chi factor {chi:.2f}")

# %%
# How errors grow with noise
# --------------------------
# `to_frame` returns all figures as numbers, and needs pandas; `records` holds the same without it.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
records = [*own.accuracy.records, *other.accuracy.records]
for axis, geology in zip(axes, ("trained", "unseen"), strict=True):
    for method in dict.fromkeys(record["method"] for record in records):
        points = [
            (record["noise"], record["error"])
            for record in records
            if (record["method"], record["geology"]) == (method, geology)
        ]
        width = 2.5 if method == "WienerInverter" else 1.2
        axis.semilogx(*zip(*points, strict=True), marker="o", linewidth=width, label=method)
    axis.set(title=f"{geology} families", xlabel="noise, relative to the rms of the data")
axes[0].set_ylabel("relative L2 error of density")
axes[0].legend(fontsize="small", loc="upper left", bbox_to_anchor=(0.02, 0.7))

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "your_own_inverter.png", dpi=80)
