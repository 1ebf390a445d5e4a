"""Hostile requests: the server makes no mistake, writes no traceback, and answers well afterwards."""

import re
import shutil
from collections.abc import Set
from pathlib import Path

from tests.conftest import SmallStudy
from tests.support.fuzz import FuzzReport, fuzz

RARE = {415, 431}  # that a few hundred requests may not meet


def check(report: FuzzReport, unmet: Set[int] = frozenset()) -> None:
    """No request found a mistake, and the requests were of many kinds, but for the statuses `unmet`."""
    assert report.server_errors == [] and report.bad_answers == []
    assert re.fullmatch(r"(SAE kernels: \w+\n)?", report.log)  # which `--live` says when it starts
    assert {200, 400, 403, 404, 405, 413, *RARE} - unmet <= report.statuses.keys(), report.statuses
    assert report.statuses[200] > 0.2 * report.requests and report.statuses[400] > 0.2 * report.requests


def test_a_server_of_a_run() -> None:
    """It believes a proxy, so that forwarded headers are read too."""
    check(fuzz(600, 1, None, "--trust-proxy"))


def test_a_server_with_a_live_model(study: SmallStudy, tmp_path: Path) -> None:
    shutil.copytree(study.root / "finbert_sae" / "store", tmp_path / "finbert_sae" / "store")
    shutil.copytree(study.root / "analysis_data", tmp_path / "analysis_data")
    check(fuzz(300, 4, tmp_path / "analysis_data", "--live"), RARE)
