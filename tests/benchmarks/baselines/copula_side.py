"""What runs in the environment of `copulas`: a Gaussian copula for each class, fitted and drawn from.

::

    python copula_side.py JOB.npz DRAWN.npz

JOB holds ``columns`` (n, d), ``labels`` (n,), ``counts`` (classes,) and ``seed``; the first ``marginals`` columns get a kernel density
each, the others, spectral coefficients of windows of equal power, a Gaussian. DRAWN holds ``columns`` and ``labels`` of the synthetic rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from copulas.multivariate import GaussianMultivariate
from copulas.univariate import GaussianKDE, GaussianUnivariate

MOST_FITTED = 1500
"""Rows of each class: a kernel density's cost grows with their square."""


def main(job: Path, drawn: Path) -> None:
    """Fit and draw."""
    with np.load(job, allow_pickle=False) as file:
        columns, labels, counts = file["columns"], file["labels"], file["counts"]
        seed, kernels = int(file["seed"]), int(file["marginals"])
    names = [f"c{i}" for i in range(columns.shape[1])]
    kinds = {name: GaussianKDE if i < kernels else GaussianUnivariate for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    made = []
    for label, count in enumerate(counts):
        rows = rng.permutation(np.flatnonzero(labels == label))[:MOST_FITTED]
        copula = GaussianMultivariate(distribution=kinds, random_state=seed + label)
        copula.fit(pd.DataFrame(columns[rows], columns=names))
        made.append(copula.sample(int(count))[names].to_numpy())
    np.savez(drawn, columns=np.concatenate(made), labels=np.repeat(np.arange(len(counts)), counts))


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
