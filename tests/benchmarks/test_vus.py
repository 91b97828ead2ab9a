"""VUS-PR beside TSB-AD 1.5, whose figures on 20 drawn series these are (the environment of benchmarks/requirements/anomaly.in)."""

import numpy as np
import pytest

from benchmarks.vus import period, vus_pr

# generate_curve(labels, score, border, "opt", 250)[-1] and find_length_rank(channel, 1) of `made(0..19)`
THEIRS = [
    (0.884383667, 43), (0.939993004, 125), (0.828209884, 55), (0.753548693, 72), (0.862266260, 159),
    (0.830415680, 130), (0.811407679, 125), (0.833412053, 137), (0.883168983, 169), (0.855068439, 85),
    (0.866312723, 80), (0.775492214, 102), (0.889389239, 50), (0.856242786, 43), (0.955515488, 37),
    (0.815117694, 166), (0.832496751, 55), (0.847463753, 55), (0.833007004, 117), (0.892202781, 182),
]  # fmt: skip


def made(seed: int) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Return labels, scores (some with ties), a border, and a channel with a period."""
    drawn = np.random.default_rng(seed)
    length = int(drawn.integers(300, 900))
    labels = np.zeros(length, bool)
    for _ in range(int(drawn.integers(1, 7))):
        start = int(drawn.integers(0, length))
        labels[start : start + int(drawn.integers(1, 40))] = True
    score = drawn.random(length) + 2 * labels * drawn.random(length)
    if seed % 3 == 0:
        score = np.round(score, 1)
    labels[0] |= seed == 5
    labels[-1] |= seed == 6
    channel = np.cumsum(drawn.normal(size=length)) + 10 * np.sin(np.arange(length) / drawn.integers(3, 30))
    return labels, score, int(drawn.integers(0, 60)), channel


@pytest.mark.parametrize("seed", range(len(THEIRS)))
def test_it_is_what_tsb_ad_says(seed: int) -> None:
    labels, score, border, channel = made(seed)
    assert vus_pr(labels, score, border) == pytest.approx(THEIRS[seed][0], abs=1e-6)
    assert period(channel) == THEIRS[seed][1]


def test_a_score_that_equals_the_labels_is_nearly_perfect_without_a_border() -> None:
    labels, _, _, _ = made(1)
    assert vus_pr(labels, labels.astype(float), 0) == pytest.approx(1.0)


def test_a_flat_channel_has_the_usual_period() -> None:
    assert period(np.ones(500)) == 125


@pytest.mark.parametrize(
    ("labels", "score"), [([0, 0, 0], [1, 2, 3]), ([0, 1, 0], [1, np.nan, 3]), ([0, 1, 0], [1.0, 2.0])]
)
def test_what_cannot_be_judged_is_refused(labels: list[int], score: list[float]) -> None:
    with pytest.raises(ValueError, match="with an anomaly"):
        vus_pr(labels, score, 3)
