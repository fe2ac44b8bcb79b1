"""
Inversion as machine learning: data, baselines, and what a score does not show
==============================================================================

For users who know machine learning and want to try a network. Gravity is ``X``, density is ``y``: a
regression with more outputs than inputs, whose physics is known exactly. It differs from other
regressions in three respects. Linear estimates are strong baselines. The error is larger for
geology outside the training set. And since many ``y`` have the same ``X``, an estimate is of little
use without its uncertainty.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgrav import BayesLinearInverter, CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import interval_coverage, relative_l2_error, relative_l2_scorer
from skgrav.plotting import SampleGalleryDisplay

output = Path(os.environ.get("SKGRAV_PICTURES", "."))

# %%
# Data
# ----
# Sections have 20 x 20 cells, with gx and gz at stations above them. Seven of nine geological
# families are used for training; faults and salt domes are kept for the end. Training and test
# sections have different seeds, and the test data have noise of 1 % of the rms of each sample. A
# row of ``X`` holds gx at all stations, then gz; a row of ``y`` holds the cells, top layer first.

NOISE = 0.01
UNSEEN = ["faults", "salt_domes"]
FAMILIES = ["flat_layers", "folded_layers", "dipping_layers", "intrusions", "basins"]
FAMILIES += ["blocks", "dykes"]
mesh = Mesh.square(20)
train = make_gravity_dataset(2500, mesh=mesh, families=FAMILIES, random_state=0)
options = {"mesh": mesh, "noise_level": NOISE}
test = make_gravity_dataset(200, families=FAMILIES, random_state=1, **options)
other = make_gravity_dataset(200, families=UNSEEN, random_state=2, **options)
print(train.DESCR)
print("X", train.data.shape, "y", train.target.shape)

# %%
# Baselines
# ---------
# There are three baselines. The mean of the training sections has a relative error of only some
# 40 %, since densities are positive. Ridge regression from scikit-learn is trained on data with
# noise, and its penalty is found by a search. The best linear estimate also uses the operator, and
# the noise of each sample.

rng = np.random.default_rng(0)
rms = np.sqrt(np.mean(train.data**2, axis=1, keepdims=True))
noisy = train.data + NOISE * rms * rng.normal(size=train.data.shape)
ridge = GridSearchCV(
    make_pipeline(StandardScaler(), Ridge()),
    {"ridge__alpha": [1.0, 10.0, 100.0, 1000.0]},
    scoring=relative_l2_scorer,
    cv=3,
)
methods = {
    "mean": DummyRegressor().fit(noisy, train.target),
    "Ridge": ridge.fit(noisy, train.target),
    "best linear": BayesLinearInverter(operator=train.operator).fit(train.data, train.target),
}
print("Ridge's alpha:", ridge.best_params_["ridge__alpha"])

# %%
# A network, and a search
# -----------------------
# `CNNInverter` is a scikit-learn estimator, so that a grid search with cross-validation can choose
# between two architectures by the relative L2 error, here with a part of the sections and few
# epochs: that of Negahdari et al., and the default, which corrects the best linear estimate. Noise
# of all levels is drawn during training, so that the training data are given without noise. The
# better network is then trained on all sections. A network of your own is ``CNNInverter(f)``, where
# ``f(n_data, n_cells, n_components)`` returns a torch module.

network = CNNInverter(
    operator=train.operator,
    max_epochs=5,
    training_noise=(0.0, 0.1),
    uncertainty=False,
    n_analogues=0,
    random_state=0,
)
search = GridSearchCV(
    network,
    {"architecture": ["paper", "residual"]},
    scoring=relative_l2_scorer,
    cv=2,
    refit=False,
).fit(train.data[:1000], train.target[:1000])
for name, score in zip(
    search.cv_results_["param_architecture"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{name:8s} error {-score:.3f} after 5 epochs of 500 sections, without noise")
network.set_params(uncertainty=True, max_epochs=8, **search.best_params_)
methods["network"] = network.fit(train.data, train.target)

# %%
# The score, and other geology
# ----------------------------
# The same methods are evaluated on sections of the training families, and of the two other
# families: there, the errors of all methods are larger, by similar amounts. `applicability` is a
# p-value: the share of training data that are at least as unusual as the given data, uniform
# between 0 and 1 for the training families. `predict` warns of data that are far from those of all
# training sections. The data of faults and salt domes are not far from them, since layers and
# blocks can have the same gravity. A wrong choice of training geology therefore cannot always be
# detected from the data.

table = np.empty((len(methods), 2))
for i, method in enumerate(methods.values()):
    for k, data in enumerate((test, other)):
        table[i, k] = relative_l2_error(data.target, method.predict(data.data))
print(f"{'relative L2 error':18s} trained  unseen families")
for name, errors in zip(methods, table, strict=True):
    print(f"{name:18s} {errors[0]:7.3f}  {errors[1]:7.3f}")
linear = methods["best linear"]
for name, data in (("trained", test), ("unseen", other)):
    p = linear.applicability(data.data, noise_level=NOISE)
    share = np.mean(p < 0.05)
    print(f"{name:8s} families: {share:.0%} of the data more unusual than 95 % of training")

# %%
# Calibration, in one number
# --------------------------
# The coverage is the share of the true densities within the 90 % intervals, and should be 0.9. For
# unseen families it is smaller: the intervals are valid for geology like that of the training set.

for name, data in (("trained", test), ("unseen", other)):
    bounds = network.predict_quantiles(data.data, [0.05, 0.95], noise_level=NOISE)
    inside = interval_coverage(data.target, bounds, quantiles=[0.05, 0.95], levels=0.9)
    width = np.mean(bounds[..., 1] - bounds[..., 0])
    print(f"{name:8s} families: {np.squeeze(inside):.3f} within 90 %, mean width {width:.2f}")

# %%
# Errors and sections
# -------------------
# Errors as bars, and six sections, the last three of unseen families. The sections show what the
# errors do not: all estimates are smooth where the data have little resolution, since they are
# means over many possible sections.

figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
place = np.arange(len(methods))
for k, label in enumerate(("families of training", "unseen families")):
    axis.barh(place + 0.38 * k - 0.19, table[:, k], 0.36, label=label)
axis.set_yticks(place, methods)
axis.set(xlabel="relative L2 error", xlim=(0, None))
axis.invert_yaxis()
axis.legend(fontsize="small")
figure.savefig(output / "learn_errors.png", dpi=90)

g, rho = (np.vstack([test[key][:3], other[key][:3]]) for key in ("data", "target"))
names = [f.replace("_", " ") for f in (*test.family[:3], *other.family[:3])]
gallery = SampleGalleryDisplay.from_predictions(
    rho,
    {name: methods[name].predict(g) for name in ("best linear", "network")},
    operator=train.operator,
    titles=names,
)
gallery.figure_.savefig(output / "learn_sections.png", dpi=80)

# %%
# When is a method better?
# ------------------------
# A method is better if its errors are smaller than those of the best linear estimate, by more than
# the differences between seeds, for training families and others and for several noise levels, and
# if its estimates fit the data and its intervals have their nominal coverage. First train longer,
# on fresh sections: :doc:`/guide/train`. :doc:`/accuracy` compares methods with equal training
# time.
