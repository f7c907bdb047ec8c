"""Two Gaussians over the scores of one class: one of what is likely wrong, one of what is likely right.

In: scores, or bins of them with how many fell in. Out: `Mixture`, fitted by expectation maximisation, and the score
from which the upper component is the likelier one. Guaranteed: the same scores give the same mixture; it equals
scikit-learn's `GaussianMixture` from the same start; scores that cannot be parted give None, not an error.

Shapes: N scores, 2 components, the lower first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_BOXES = 20
"""Fewer scores are no sample to fit four numbers and a share to."""
LEAST_VARIANCE = 1e-6
"""Added to each variance, as scikit-learn does: a component cannot shrink to a point."""
TOLERANCE = 1e-6
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mixture:
    """Two Gaussians, the one with the lower mean first."""

    shares_2: Floats
    """They sum to 1."""
    means_2: Floats
    variances_2: Floats

    def upper_probability(self, scores_N: npt.ArrayLike) -> Floats:
        """Return how likely each score belongs to the upper component, shape (N,)."""
        densities_N2 = _log_densities(np.asarray(scores_N, np.float64), self)
        return np.asarray(1 / (1 + np.exp(np.clip(densities_N2[:, 0] - densities_N2[:, 1], -700, 700))))

    def threshold(self) -> float:
        """Return the score between the means from which on the upper component is the likelier one.

        Where it is so from the lower mean on, that mean; where it is so nowhere between, the upper mean.
        """
        grid = np.linspace(self.means_2[0], self.means_2[1], 10_001)
        unlikely = np.flatnonzero(self.upper_probability(grid) < 0.5)
        return float(grid[unlikely[-1]] if len(unlikely) else grid[0])


def fit_two_gaussians(scores_N: npt.ArrayLike, counts_N: npt.ArrayLike | None = None) -> Mixture | None:
    """Fit the mixture; `counts_N` says how often each score stands, once where not given.

    Begins at the least and the greatest score with equal shares and the variance of all. Returns None for fewer
    than 20 scores, and for scores that are all the same or end in a single component.
    """
    scores = np.asarray(scores_N, np.float64)
    counts = np.ones(len(scores)) if counts_N is None else np.asarray(counts_N, np.float64)
    total = counts.sum()
    if total < MIN_BOXES or scores.min() == scores.max():
        return None
    mean = float(counts @ scores / total)
    variance = float(counts @ (scores - mean) ** 2 / total)
    mixture = Mixture(
        shares_2=np.full(2, 0.5),
        means_2=np.array([scores.min(), scores.max()]),
        variances_2=np.full(2, variance),
    )
    likelihood = -np.inf
    for _ in range(MAX_ITERATIONS):
        before = likelihood
        mixture, likelihood = _step(mixture, scores, counts)
        if abs(likelihood - before) < TOLERANCE:
            break
    if not np.isfinite(likelihood) or mixture.shares_2.min() * total < 1:
        return None
    return _ordered(mixture)


def _step(mixture: Mixture, scores: Floats, counts: Floats) -> tuple[Mixture, float]:
    """One round of expectation and maximisation; also the mean log likelihood before it."""
    densities_N2 = _log_densities(scores, mixture)
    evidence_N = np.logaddexp(densities_N2[:, 0], densities_N2[:, 1])
    shares_N2 = np.exp(densities_N2 - evidence_N[:, None]) * counts[:, None]
    mass_2 = shares_N2.sum(axis=0) + 10 * np.finfo(np.float64).eps
    means_2 = shares_N2.T @ scores / mass_2
    variances_2 = (shares_N2 * (scores[:, None] - means_2) ** 2).sum(axis=0) / mass_2 + LEAST_VARIANCE
    fitted = Mixture(shares_2=mass_2 / mass_2.sum(), means_2=means_2, variances_2=variances_2)
    return fitted, float(counts @ evidence_N / counts.sum())


def _log_densities(scores: Floats, mixture: Mixture) -> Floats:
    distances_N2 = (scores[:, None] - mixture.means_2) ** 2 / mixture.variances_2
    norms_2 = np.log(mixture.shares_2) - 0.5 * np.log(2 * np.pi * mixture.variances_2)
    return np.asarray(norms_2 - 0.5 * distances_N2)


def _ordered(mixture: Mixture) -> Mixture:
    order = np.argsort(mixture.means_2)
    return Mixture(
        shares_2=mixture.shares_2[order],
        means_2=mixture.means_2[order],
        variances_2=mixture.variances_2[order],
    )
