"""Shared runs: the browser's answers equal the server's, and what cannot be written is one sentence."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sae_pipeline.__main__ import main
from sae_pipeline.config import ExportConfig
from tests.conftest import SmallStudy
from tests.support import run_factory
from tests.support.built_viewer import write_viewer
from tests.support.hostile_runs import write_hostile_runs
from tests.support.indexed_runs import N, client_of, write_whole_run
from tests.support.run_factory import write_run
from viz_analysis.share import html
from viz_analysis.share.site import export_site
from viz_analysis.web import viewer_files

VIEWER = Path(__file__).parents[2] / "sae-viewer"
COLUMNS = {
    "day": ["2024-01-31", "2024-02-01", "2024-02", None, "2024-12-31"],
    "size": [3, 1.5, None, -2, 1e20, 7],
    "size:of": ["B", "b", "ß", "a:b", "2", 2],
    "é": ["\U0001d11e", "\uff21", "z", None],
}
EFFECTS = {n: {n % 7: [0.1 * n, -0.3, 0.2], 9: [0.7, 0.1, -0.8 / (n + 1)]} for n in range(0, N, 3)}
SEARCHES = (
    "surge",
    "SURGE",
    "sur",
    "s",
    "rates,",
    "é€𝄞Corp",
    "e€",
    "corp",
    '"record profit"',
    '"record prof"',
    '"',
    "''",
)
SEARCHES += (
    "fed holds",
    "#1",
    "#12",
    "#",
    "—",
    "on on",
    '"on" beat',
    'as "fed holds" b',
    "ｆed",
    "profit\x1cas",
    "Σ",
    "ª",
    "a\u0301s",
)
TOKENS = ("surge", "s", "Fed", "fED", "É€𝄞corp", "ß", "zzz", "r", "[CLS]", "\u212a")
NAMES = (
    "1",
    "12",
    "007",
    "0",
    "299",
    "300",
    "99999999999999999999999",
    "surge",
    "SS",
    "straße",
    "fed",
    "#1",
    "Été",
    "zz",
)
WHERE = (
    "day:2024-01-31",
    "day:2024-01..2024-02",
    "day:..2024-02",
    "day:",
    "day:..",
    "size:3",
    "size: 3.0",
    "size:-2..3",
)
WHERE += (
    "size:1.5..",
    "size:x..3",
    "size:1e20",
    "size:",
    "size:of:b",
    "size:of:a..b",
    "size:of:2",
    "size:of:1..3",
    "é:z..",
    "é:\uff21..",
)
WHERE += ("nothing:1", "day", "size:1_0..", "é:..\uff21", "size:..-1")


@pytest.fixture(autouse=True)
def viewer(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the place of the built viewer."""
    folder = tmp_path_factory.mktemp("viewer")
    write_viewer(folder)
    monkeypatch.setattr(viewer_files, "VIEWER_DIR", folder)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.full)])
def test_browser_answers_like_the_server(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """Several hundred seeded questions, or every fourth: filters, searches, orders, pages, refusals.

    They are asked about a made-up run with every optional file, and about a run of the real pipeline.
    """
    analysis = tmp_path / "made-up" / "analysis_data"
    monkeypatch.setattr(run_factory, "METRICS", [*run_factory.METRICS, "constructor"])  # objects of JavaScript have one
    write_whole_run(analysis, COLUMNS, EFFECTS)
    _label(client_of(analysis))
    shutil.copytree(study.root / "analysis_data", tmp_path / "real" / "analysis_data")
    cases = [tmp_path / "made-up", tmp_path / "real"]
    for case, to, out in zip(
        cases, ("site", "html"), ("site", "run.html"), strict=True
    ):  # which hold a run differently
        assert main(["export", "--root", str(case), "--to", to, "--out", str(case / out)]) == 0
        client = client_of(case / "analysis_data")
        some = list(questions(client))[::every]
        asked = [{"path": path, "query": query, **answered(client, path, query)} for path, query in some]
        assert len(asked) > 350 // every
        (case / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    program = [VIEWER / "node_modules" / ".bin" / "vitest", "run", "src/share/equal.test.ts"]
    environment = {**os.environ, "SHARED_CASES": ":".join(map(str, cases))}
    found = subprocess.run(program, cwd=VIEWER, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0 and "2 passed" in found.stdout, found.stdout[-6000:] + found.stderr[-2000:]


def _label(client: FlaskClient) -> None:
    labels = {feature: {"name": name} for feature, name in {3: "Straße", 7: "Fed\u00a0holds", 12: "ÉTÉ"}.items()}
    seen = {"If-Match": f'"{client.get("/api/labels").json["etag"]}"'}
    sets = {"it's": {"features": [3, 7, 12], "note": "why"}, "ÉTÉ": {"features": [40]}}
    change = {"labels": {**labels, 9: {"starred": True}}, "sets": sets}
    saved = client.put("/api/labels", json=change, headers=seen)
    assert saved.status_code == 200, saved.text


def answered(client: FlaskClient, path: str, query: dict[str, Any]) -> dict[str, Any]:
    words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
    answer = client.get(path, query_string=words)
    body = answer.get_json()
    for one in body.get("family", []):
        one["run_id"] = one["run_id"] and "kept"  # the page holds no other run, so it names none
    return {"status": answer.status_code, "body": body}


def questions(client: FlaskClient) -> Iterator[tuple[str, dict[str, Any]]]:
    chance = random.Random(5)
    run = client.get("/api/run").json
    n_headlines, d_sae, n_labels = run["totals"]["n_headlines"], run["sae"]["d_sae"], len(run["labels"])
    metrics = [metric["name"] for metric in client.get("/api/features").json["metrics"]]
    words = sorted(
        {word for one in client.get("/api/headlines?limit=60").json["headlines"] for word in one["text"].split()}
    )
    columns = list(run["columns"])

    def some(**ways: Any) -> dict[str, Any]:
        """A few of the parameters, each with one of its values."""
        chosen = chance.sample(sorted(ways), chance.randint(0, min(4, len(ways))))
        return {name: chance.choice(list(ways[name])) for name in chosen}

    where = [[condition] for condition in WHERE] + [chance.sample(WHERE, 2) for _ in range(20)]
    where += [[f"ticker:{name}"] for name in ("AAPL", "aapl")] + [["date:2024-01..2024-02", "ticker:MSFT"]]
    of_headlines = {
        "where": where if columns else [["x:1"]],
        "q": [*SEARCHES, *words],
        "feature": [*range(40), d_sae - 1, d_sae + 5],
        "min_confidence": [0.0, 0.5, 0.625, 0.9],
        "max_confidence": [0.5, 0.75, 1.0],
    }
    in_cells = {"label": range(n_labels + 1), "prediction": range(n_labels), "correct": [True, False]}
    orders = {"sort": ["position", "confidence", "margin", "loss", *(f"column:{name}" for name in columns), "column:?"]}
    orders |= {"order": ["asc", "desc"]}
    pages = {"limit": [1, 5, 50, 200], "offset": [0, 3, 50, n_headlines, 10**6]}
    for text in SEARCHES:
        yield "/api/headlines", {"q": text}
    for condition in WHERE:
        yield "/api/headlines", {"where": [condition], "limit": 3}
    for _ in range(100):
        yield "/api/headlines", some(**of_headlines, **in_cells) | some(**orders) | some(**pages)
    for _ in range(20):
        yield "/api/confusion", some(**of_headlines)
    for headline in [*chance.sample(range(n_headlines), 15), n_headlines]:
        yield "/api/similar_headlines", {"headline": headline, "limit": chance.choice([1, 5, 50])}
    of_features = {
        "q": NAMES,
        "token": [*TOKENS, *words],
        "support": ["all", "live", "dead", "thin", "solid"],
        "min_density": [0.0, 0.01, 0.1],
        "max_density": [0.02, 0.5],
        "leaning": range(n_labels),
        "min_seeds": [0, 1, 2, 3],
        "labelled": [True, False],
        "set": ["it's", "ÉTÉ", "été"],
        "where": where if columns else [["x:1"]],
        "metric": [*metrics, "slice_rate", "slice_difference", "nothing"],
        "order": ["asc", "desc"],
        "around": [*range(20), d_sae],
    }
    for name in NAMES:
        yield "/api/features", {"q": name}
    for name in ("it's", "ÉTÉ", "it isn't"):
        yield "/api/features", {"set": name, "limit": 5}
    for token in TOKENS:
        yield "/api/features", {"token": token}
    for metric in metrics:
        yield "/api/features", {"metric": metric, "where": where[0] if columns else [], "limit": 5}
    for _ in range(80):
        yield "/api/features", some(**of_features) | some(**pages)
    for feature in [*chance.sample(range(d_sae), 40), d_sae]:
        yield "/api/feature_info", {"id": feature}
    for column in [*columns, "?"]:
        for q in ("", "a", "2024", "S", "1.5", "0", "é", "\uff21"):
            yield "/api/column_values", {"column": column, "q": q, "limit": chance.choice([1, 20])}
    for path in ("run", "columns", "labels", "sets", "feature_density", "interventions", "contrast", "evidence"):
        yield f"/api/{path}", {}
    yield "/api/headlines", {"run": run["run_id"], "limit": 1}


# --- what is written -----------------------------------------------------------------------------------


def test_words_of_a_run_stay_text(tmp_path: Path) -> None:
    """No word of a run stands in the page: its data are base64, so nothing can close the element that holds them."""
    write_hostile_runs(tmp_path / "analysis_data")
    page = tmp_path / "page.html"
    assert main(["export", "--root", str(tmp_path), "--to", "html", "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "hacked" not in text and text.count("<script") == text.count("</script>") == 3 + text.count("data-archive")
    assert "SIL OPEN FONT LICENSE" in text  # whose text goes with every copy of the fonts
    assert "default-src 'none'; script-src 'sha256-" in text and "http://" not in text.partition("<body>")[0]


def test_too_large_for_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with too many headlines, or too many bytes, is one sentence that names the site; nothing is written."""
    write_run(tmp_path / "analysis_data", n_headlines=30, d_sae=64)
    for name, value in (("MAX_HEADLINES", 20), ("MAX_BYTES", 10_000)):
        with monkeypatch.context() as limits:
            limits.setattr(html, name, value)
            assert main(["export", "--root", str(tmp_path), "--to", "html", "--out", str(tmp_path / "page.html")]) == 2
        assert "write a folder for a static host with --to site" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A site replaces an older one, but no other folder and no file; a page replaces a file, but no folder."""
    write_run(tmp_path / "analysis_data", n_headlines=5, d_sae=16, top=2)
    command = ["export", "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--to"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for to, message in (
        ("site", "holds other files; choose a new or an empty folder"),
        ("html", "is a folder; name a file"),
    ):
        assert main([*command, to]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "out" / "thesis.tex").unlink()
    for _ in range(2):
        assert main([*command, "site"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"index.html", "README.md", "data", "assets"}
    assert not list(tmp_path.glob(".partial-*"))
    with ThreadPoolExecutor() as pool:  # exports to one place take turns
        config = ExportConfig(to="site", out=str(tmp_path / "out"))
        assert list(pool.map(lambda _: export_site(config, 8, tmp_path), range(3))) == [tmp_path / "out"] * 3
    assert (tmp_path / "out" / "data" / "manifest.json").is_file()
    front = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "\nsdk: static\napp_file: index.html\n" in front
    for to, wrong in (("site", "file"), ("site", "file/below"), ("html", "file/page.html")):
        (tmp_path / "file").touch()
        assert main(["export", "--root", str(tmp_path), "--to", to, "--out", str(tmp_path / wrong)]) == 2
        assert "choose another" in capsys.readouterr().err
    assert main(["export", "--root", str(tmp_path), "--to", "html", "--run", "7"]) == 2
    assert "run-001" in capsys.readouterr().err
