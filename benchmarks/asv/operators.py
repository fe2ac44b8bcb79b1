"""What the operator costs, commit by commit: set-up, product, adjoint and memory in 3D."""

import time

import numpy as np

from skgrav import ForwardOperator, Mesh, Survey


class Forward:
    """One station above each column of n x n x n/2 cubes."""

    params = ([40, 80], ["float64", "float32"])
    param_names = ("n", "precision")
    # CPU time: other processes make the clock on the wall say anything.
    timer = time.process_time

    def setup(self, n, precision):
        self.mesh = Mesh.regular((n // 2, n, n), 100.0)
        self.survey = Survey.grid(self.mesh, height=50.0)
        self.parameters = {"method": "fft", "precision": precision}
        self.rho = np.random.default_rng(0).uniform(0.0, 1.0, (1, self.mesh.n_cells))
        # In other units, so that what is timed in `time_setup` cannot be shared with this one.
        self.operator = ForwardOperator(
            self.mesh, self.survey, units="normalized", **self.parameters
        ).fit()
        self.g = self.operator.transform(self.rho)

    def time_setup(self, n, precision):
        ForwardOperator(self.mesh, self.survey, **self.parameters).fit()

    def time_product(self, n, precision):
        self.operator.transform(self.rho)

    def time_adjoint(self, n, precision):
        self.operator.adjoint(self.g)

    def track_bytes(self, n, precision):
        return self.operator.memory_usage()
