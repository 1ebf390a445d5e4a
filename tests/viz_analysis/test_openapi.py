"""The description of the API: it is current, and the API keeps to it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app, openapi_json

ROOT = Path(__file__).resolve().parents[2]
FUZZ_CASES = 25  # per endpoint and kind of question


def test_the_committed_openapi_is_current() -> None:
    committed = (ROOT / "sae-viewer" / "openapi.json").read_bytes()
    assert committed == openapi_json(create_app(ROOT / "analysis_data")), "run: make api"


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_api_keeps_to_its_description_whatever_it_is_asked(tmp_path: Path, mode: GenerationMode) -> None:
    write_run(tmp_path, n_headlines=5, d_sae=64)
    described = schemathesis.openapi.from_wsgi("/api/openapi.json", create_app(tmp_path))
    refusals = described.config.checks.negative_data_rejection
    refusals.expected_statuses = [*refusals.expected_statuses, "413"]  # a drawn body may also be too long
    asked = Counter[str]()
    for operation in described.get_all_operations():
        try:
            cases = operation.ok().as_strategy(generation_mode=mode)

            @given(cases)
            @settings(max_examples=FUZZ_CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def ask(case: Any) -> None:
                case.call_and_validate(
                    headers={"Accept-Encoding": "identity"},  # its client does not unpack gzip
                    # A change that is well-formed may still come too late, or name a feature that is not there.
                    excluded_checks=[positive_data_acceptance] if case.method == "PUT" else [],
                )
                asked[case.path] += 1

            ask()
        except Unsatisfiable:  # where there are no parameters, none can be wrong
            assert mode == GenerationMode.NEGATIVE
    print(f"{asked.total():,} {mode.value} questions at {len(asked)} endpoints")  # seen with pytest -s
    assert {"/api/headlines", "/api/features", "/api/feature_info", "/api/run"} <= asked.keys()
