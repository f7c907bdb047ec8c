"""Two Gaussians: equal to scikit-learn from the same start, and a threshold where they cross."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from analysis.mixtures import MIN_BOXES, TOLERANCE, fit_two_gaussians


def two_groups(seed: int, low: int, high: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.2, 0.08, low), rng.normal(0.75, 0.1, high)])
    return np.clip(scores, 0.05, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(30, 400), st.integers(30, 400))
def test_it_is_the_mixture_of_scikit_learn(seed: int, low: int, high: int) -> None:
    scores = two_groups(seed, low, high)
    oracle = GaussianMixture(
        2,
        covariance_type="diag",
        tol=TOLERANCE,
        max_iter=1000,
        weights_init=[0.5, 0.5],
        means_init=[[scores.min()], [scores.max()]],
        precisions_init=[[1 / scores.var()]] * 2,
        reg_covar=1e-6,
    ).fit(scores[:, None])
    order = np.argsort(oracle.means_[:, 0])
    mixture = fit_two_gaussians(scores)
    assert mixture is not None
    np.testing.assert_allclose(mixture.means_2, oracle.means_[order, 0], atol=2e-4)
    np.testing.assert_allclose(mixture.shares_2, oracle.weights_[order], atol=2e-3)
    np.testing.assert_allclose(mixture.variances_2, oracle.covariances_[order, 0], atol=2e-4)
    probabilities = oracle.predict_proba(scores[:, None])[:, order[1]]
    np.testing.assert_allclose(mixture.upper_probability(scores), probabilities, atol=2e-2)


def test_counted_scores_are_as_good_as_listed_ones() -> None:
    scores = np.round(two_groups(3, 200, 100), 2)
    values, counts = np.unique(scores, return_counts=True)
    listed, counted = fit_two_gaussians(scores), fit_two_gaussians(values, counts)
    assert listed is not None
    assert counted is not None
    assert counted.threshold() == pytest.approx(listed.threshold(), abs=1e-6)


def test_the_threshold_lies_where_the_upper_one_becomes_the_likelier() -> None:
    mixture = fit_two_gaussians(two_groups(0, 500, 300))
    assert mixture is not None
    threshold = mixture.threshold()
    assert mixture.means_2[0] < threshold < mixture.means_2[1]
    below, above = mixture.upper_probability([threshold - 0.001, threshold + 0.001])
    assert below < 0.5 <= above


@pytest.mark.parametrize("scores", [[0.1, 0.9] * (MIN_BOXES // 2 - 1), [0.5] * 50])
def test_what_cannot_be_parted_has_no_mixture(scores: list[float]) -> None:
    assert fit_two_gaussians(scores) is None
