"""Runs, headlines, features and reports as HTML in a notebook: complete, and text whatever the words are."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline import load_run
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import Run
from sae_pipeline.static_html import Stretch, heat, text
from tests.conftest import SmallStudy
from tests.support import run_factory
from tests.support.run_factory import write_run

HOSTILE = ["<script>alert(1)</script>", '"><img', "</table>", "&lt;b&gt;", "\u202eevil", "onerror='x'", "👩\u200d🔬"]
HARMLESS = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "bdi", "mark"}


class _Page(HTMLParser):
    """The text of a page, whose tags are checked: known, without scripts, and each one closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.marks, self._open = "", 0, list[str]()
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Only style and title are attributes."""
        assert tag in HARMLESS and {name for name, _ in attrs} <= {"style", "title"}, (tag, attrs)
        self.marks += tag == "mark"
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Tags close in order."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        self.text += data


def page(shown: Any) -> _Page:
    return _Page(shown._repr_html_())


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(run_factory, "WORDS", HOSTILE)
    write_run(tmp_path, n_headlines=12, d_sae=64, top=10, seed=3)
    return load_run(tmp_path)


def test_hostile_words_stay_text(hostile: Run) -> None:
    """Each headline and feature; the direction of the text cannot be turned around."""
    shown = ""
    for number in range(len(hostile.prompts)):
        shown += page(hostile.headline(number)).text
    for saved in hostile.feature_tokens.features:
        shown += page(hostile.feature(saved.feature)).text
    page(hostile)
    assert all(word in shown for word in HOSTILE if word != "\u202eevil")
    assert "\\u202eevil" in shown and "\u202e" not in shown


def test_what_a_run_and_its_reports_say(study: SmallStudy) -> None:
    run = load_run(study.root / "analysis_data")
    shown, classifier, sae = page(run).text, run.metadata.classifier.report, run.metadata.sae.report
    assert classifier is not None
    for report in (classifier, sae):
        assert page(report).text in shown
    assert run.metadata.run_id in shown and f"{run.metadata.totals.n_live_features:,} of them fire" in shown
    assert f"accuracy {100 * classifier.accuracy:.1f} %" in shown and f"{sae.held_out.fvu:.4g}" in shown


def test_a_headline_shows_its_prediction_and_the_heat_of_a_feature(study: SmallStudy) -> None:
    run = load_run(study.root / "analysis_data")
    prompt, fired = run.prompts[3], run.headline_features.headlines[3].features
    for lit in (fired[0], fired[1]):
        shown = page(run.headline(3, None if lit is fired[0] else lit.feature))
        assert prompt.text in shown.text and f"activation of feature {lit.feature}, " in shown.text
        assert f"Predicted {run.metadata.labels[prompt.prediction]}" in shown.text
        assert shown.marks == len(lit.positions)


def test_a_feature_shows_its_words_and_examples(study: SmallStudy) -> None:
    run = load_run(study.root / "analysis_data")
    saved = run.feature_tokens.features[0]
    shown = page(run.feature(saved.feature)).text
    assert f"fires in {run.feature_stats.headline_counts[saved.feature]:,} headlines" in shown
    assert run.prompts[saved.examples[0].headline].text in shown and saved.words[0].word in shown
    assert all(info.label in shown for info in run.metadata.metrics)
    without = set(range(run.metadata.sae.d_sae)) - {one.feature for one in run.feature_tokens.features}
    assert not without or "no saved examples" in page(run.feature(min(without))).text


@pytest.mark.parametrize("number", [-1, 10_000])
def test_what_is_not_in_the_run(study: SmallStudy, number: int) -> None:
    run = load_run(study.root / "analysis_data")
    with pytest.raises(UserError, match=f"no {number}"):
        run.headline(number)
    with pytest.raises(UserError, match=f"no {number}"):
        run.feature(number)
    with pytest.raises(UserError, match="not among the strongest"):
        run.headline(0, number)


def test_heat_rises_with_the_activation() -> None:
    shown = heat("ab cd", [Stretch(3, 5, 1.0, "most"), Stretch(0, 2, 0.1, "least"), Stretch(1, 2, 0.5, "inside")])
    shades = [float(part.split(")")[0].split(", ")[-1]) for part in shown.split("rgba(")[1:]]
    assert shades == sorted(shades) and len(shades) == 2 and _Page(shown).text == "ab cd"
    assert heat("ab", [Stretch(0, 2, 0.0, "")]).count("<mark") == 0
    assert text("a\0b<\u00a0") == "a\\u0000b&lt;\u00a0"
