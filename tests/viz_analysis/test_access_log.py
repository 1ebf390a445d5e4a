"""The access log: one line of JSON for each request."""

import json
from pathlib import Path

from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app


def test_every_request_leaves_a_line_of_json(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", 5, 64)
    log = tmp_path / "access.log"
    client = create_app(tmp_path / "runs", access_log=str(log)).test_client()
    for address in ("/api/headlines?q=a%0Ab", "/api/features?limit=0", "/nothing\nhere"):
        client.get(address)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["status"]) for line in lines][:2] == [("/api/headlines", 200), ("/api/features", 400)]
    assert len(lines) == 3 and all(line["ms"] >= 0 and line["method"] == "GET" for line in lines)
    assert lines[0]["query"] == "q=a%0Ab" and lines[0]["bytes"] > 100
