"""The comparison of predictions, with known answers."""

import numpy as np
import pytest
import torch

from sae_pipeline.evaluation.splicing import splice_report


def test_splice_report_known_answer() -> None:
    """Accuracy before and after, and the share of predictions that stay."""
    clean = torch.eye(3)[[0, 1, 2, 2]].numpy()
    spliced = torch.eye(3)[[0, 1, 1, 0]].numpy()
    report = splice_report("test", "words", [0, 1, 2, 0], clean, spliced)
    assert (report.accuracy_clean, report.accuracy_spliced, report.unchanged) == (0.75, 0.75, 0.5)


def test_paired_statistics_known_answers() -> None:
    """McNemar from the discordant pairs; intervals as published; none for a handful of headlines."""
    labels = np.zeros(100, np.int64)
    right, wrong = np.eye(2)[0], np.eye(2)[1]
    clean = np.stack([right] * 90 + [wrong] * 10)
    spliced = np.stack([wrong] * 6 + [right] * 84 + [right] + [wrong] * 9)
    report = splice_report("test", "words", labels, clean, spliced)
    assert (report.lost, report.gained, report.unchanged) == (6, 1, 0.93)
    assert report.mcnemar_p == pytest.approx(2 * (1 + 7) / 2**7)  # two-sided sign test of 1 in 7
    assert report.accuracy_change_interval == pytest.approx((-0.1023, 0.0043), abs=2e-3)
    assert report.unchanged_interval == pytest.approx((0.8625, 0.9657), abs=1e-3)
    few = splice_report("test", "words", labels[:9], clean[:9], spliced[:9])
    assert few.unchanged_interval is None and few.accuracy_change_interval is None
