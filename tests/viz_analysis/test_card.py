"""The card of a feature: its numbers are the API's, its words stay text, and the command line writes the same."""

import re
import resource
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.schema.controls import Control, ControlsFile, ProbeScore, RivalName, Stability
from sae_pipeline.schema.labels import FeatureLabel
from sae_pipeline.schema.names import Predicate
from sae_pipeline.schema.reports import CodeQuality
from tests.conftest import SmallStudy
from tests.support import run_factory
from tests.support.hostile_runs import write_hostile_runs
from tests.support.indexed_runs import D_SAE, N, client_of, get, write_whole_run
from tests.support.run_factory import LABELS, write_run
from viz_analysis.runs.labels import LabelStore
from viz_analysis.runs.sources import RunFolder

TITLES = [
    *("Name", "Effect on the classes", "Estimate and true ablation", "Stability"),
    *("Baselines", "Examples", "Where it fails", "How many tests", "Made from"),
]
EFFECTS = {n: {n % 7: [0.1 * n, -0.3, 0.2], 9: [0.7, 0.1, -0.8]} for n in range(N)}


def section(card: Any, title: str) -> Any:
    return next(one for one in card["sections"] if one["title"] == title)


def test_a_card_has_the_numbers_of_the_api(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path, effects=EFFECTS)
    client = client_of(tmp_path)
    LabelStore(RunFolder(tmp_path)).put("5ae", {9: FeatureLabel(name="rate cuts", note="by hand")}, D_SAE, None)
    card, info, about = get(client, "feature_card", id=9), get(client, "feature_info", id=9), get(client, "run")
    assert [one["title"] for one in card["sections"]] == TITLES
    assert card["title"] == "Feature 9: rate cuts" and "Note: by hand" in section(card, "Name")["sentences"]
    assert f"Fires in {info['n_headlines']:,} of {N} headlines" in card["summary"]

    looked = get(client, "feature_card", id=9, features_seen=1, headlines_seen=20)
    seen = section(looked, "How many tests")["sentences"]
    assert any("had looked at 1 feature and 20 headlines of this run" in sentence for sentence in seen)

    classes = section(card, "Effect on the classes")["table"]["rows"]
    assert [row[0] for row in classes] == LABELS
    for row, split in zip(classes, info["classes"], strict=True):
        assert row[1] == f"{split['n_fired']:,} of {split['n_headlines']:,}"
        assert row[5] == ("–" if split["effect"] is None else f"{split['effect']:+.3f}".replace("-", "−"))
    bullish = classes[LABELS.index("Bullish")]
    assert bullish[6:] == ["–", "0.5"]  # the interval has one end only; q is that of feature_effects.json

    causes = get(client, "headlines", feature=9, limit=500)["headlines"]
    shares = [0.7 for one in causes if any(cause["feature"] == 9 for cause in one["effects"]["features"])]
    measured = dict(section(card, "Estimate and true ablation")["table"]["rows"])
    assert measured["headlines in which it was ablated"] == f"{len(shares)}" and shares
    assert measured["mean share of the predicted logit (integrated gradients)"] == "+0.700"

    counts = get(client, "confusion", feature=9)["counts"]
    total, wrong = sum(map(sum, counts)), sum(map(sum, counts)) - sum(row[n] for n, row in enumerate(counts))
    assert f"Of the {total:,} headlines" in section(card, "Where it fails")["sentences"][0]
    assert f" {wrong:,} (" in section(card, "Where it fails")["sentences"][0]
    assert len(section(card, "Where it fails")["examples"]) == min(3, wrong)
    hashes = {row[0]: row[2] for row in section(card, "Made from")["table"]["rows"]}
    assert hashes["SAE"] == about["sae_hash"] and hashes["classifier"] == about["classifier_hash"]
    assert f'"{hashes["run"]}"' in (run / "interventions.json").read_text()[:500]
    stability = section(card, "Stability")["table"]["rows"]
    assert [row[1:3] for row in stability[:2]] == [["match", "3"]] * 2 and stability[2][0] == "32k, another seed"


def test_rivals_are_the_best_word_and_what_compare_found(study: SmallStudy, tmp_path: Path) -> None:
    shutil.copytree(study.root / "analysis_data", tmp_path / "analysis_data")
    client = client_of(tmp_path / "analysis_data")
    listed = get(client, "features", metric="auroc_bearish", support="solid", limit=50)["features"]
    every = (get(client, "feature_info", id=row["feature"]) for row in listed)
    info = next(one for one in every if one["leaning"] is not None and len(one["words"]) > 2)
    label, feature = info["leaning"], info["feature"]
    rivals = section(get(client, "feature_card", id=feature), "Baselines")
    scores = {row[1]: float(row[2]) for row in rivals["table"]["rows"]}
    headlines = get(client, "headlines", limit=500)["headlines"]
    assert len(headlines) < 500

    def auroc(words: list[str]) -> float:
        """The area by the presence of any of the words, from its definition."""
        has = [
            any(re.search(rf"(?<!\w){re.escape(w)}(?!\w)", one["text"].casefold()) for w in words) for one in headlines
        ]
        inside = [found for found, one in zip(has, headlines, strict=True) if one["label"] == label]
        outside = [found for found, one in zip(has, headlines, strict=True) if one["label"] != label]
        return sum((1 + i - o) / 2 for i in inside for o in outside) / (len(inside) * len(outside))

    words = [word["word"] for word in info["words"][:30]]
    best = max(words, key=lambda word: auroc([word]))
    assert scores["this feature"] == pytest.approx(info["classes"][label]["auroc"], abs=0.005)
    assert scores[f"the word “{best}” in the headline"] == pytest.approx(auroc([best]), abs=0.005)
    assert scores[f"any of its {len(words)} words in the headline"] == pytest.approx(auroc(words), abs=0.005)
    assert any("compare --sae-size" in sentence for sentence in rivals["sentences"])

    shares = dict.fromkeys(("l0", "fvu", "silent_share", "cosine", "l2_ratio", "rare_share"), 0.5)
    quality = CodeQuality(split="test", n_tokens=9, **shares, density_edges=[], density=[])
    probing = [ProbeScore(k=1, auroc=0.9), ProbeScore(k=5, auroc=0.95)]
    names: tuple[RivalName, ...] = ("sae", "pca")
    controls = [Control(name=n, code=quality, spliced=None, probing=probing) for n in names]
    stability = Stability(seeds=[0, 1], mean_cosine=0.8, matched_share=0.6, chance_cosine=0.1)
    sae_hash = get(client, "run")["sae_hash"]
    evidence = tmp_path / "finbert_sae" / "evidence" / f"{sae_hash}.json"
    evidence.parent.mkdir(parents=True)
    file = ControlsFile(
        schema_version=2, sae_hash=sae_hash, size="1k", seconds=1.0, controls=controls, stability=stability
    )
    write_record(evidence, file)
    card = get(client, "feature_card", id=feature)
    told = [row for row in section(card, "Baselines")["table"]["rows"] if row[0] == "each class, mean"]
    assert told == [
        ["each class, mean", f"the best {kind}", "0.90"] for kind in ("feature of this SAE", "PCA direction")
    ]
    assert "60.0 % of the SAE's features have a counterpart" in " ".join(section(card, "Stability")["sentences"])
    evidence.write_bytes(evidence.read_bytes()[:-9])  # damaged: as if it were not there
    assert "compare --sae-size" in " ".join(section(get(client, "feature_card", id=feature), "Baselines")["sentences"])


def test_examples_that_do_not_fit_the_found_name_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of a word and of a predicted class, against the examples' own words and predictions."""
    rule = [Predicate(kind="word", value="surge"), Predicate(kind="class", value="Bearish")]
    made_up = run_factory._names

    def names(*sizes: Any) -> Any:
        head, records = made_up(*sizes)
        return head, [one.model_copy(update={"rule": rule}) for one in records]

    monkeypatch.setattr(run_factory, "_names", names)
    write_whole_run(tmp_path)
    client = client_of(tmp_path)
    fitting, failing = 0, 0
    for row in get(client, "features", support="live", limit=D_SAE)["features"]:
        if row["found_name"] is None or not row["has_examples"]:
            continue
        info = get(client, "feature_info", id=row["feature"])
        saved = {one["headline"]: one for group in info["groups"] for one in group["examples"]}
        above = [one["prompt"] for one in saved.values() if one["activation"] > info["naming"]["above"]]
        misfits = [
            one["text"] for one in above if "surge" not in one["text"].casefold().split() and one["prediction"] != 0
        ]
        fails = section(get(client, "feature_card", id=row["feature"]), "Where it fails")
        assert (
            f"Of its {len(saved):,} saved examples, {len(misfits):,} do not fit the found name." in fails["sentences"]
        )
        listed = [one["text"] for one in fails["examples"] if one["note"].startswith("does not fit the name; ")]
        assert listed == misfits[:3]
        fitting, failing = fitting + len(above) - len(misfits), failing + len(misfits)
    assert fitting and failing


def test_every_feature_has_a_card(tmp_path: Path) -> None:
    """Without causes and labels, with twelve classes, silent and rare features."""
    write_run(tmp_path, 25, 64, labels=[f"class {n} " + "x" * 70 for n in range(12)])
    write_run(tmp_path, 12, 64, labelled=False)
    client = client_of(tmp_path)
    for run in (1, 2):
        for feature in range(64):
            card = get(client, "feature_card", run=run, id=feature)
            assert [one["title"] for one in card["sections"]] == TITLES
            assert len(section(card, "Effect on the classes")["table"]["rows"]) <= 8
    answer = client.get("/api/feature_card?id=64")
    assert answer.status_code == 404 and answer.json and "There is no feature 64" in answer.json["error"]["message"]


class _Elements(HTMLParser):
    """The names of a page's elements and of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_words_stay_text_in_html_and_latex(tmp_path: Path) -> None:
    write_hostile_runs(tmp_path)
    client = client_of(tmp_path)
    for row in get(client, "features", limit=12)["features"]:
        card = get(client, "feature_card", id=row["feature"])
        page = _Elements()
        page.feed(card["html"])
        assert not page.elements & {"script", "img", "iframe", "svg", "a", "object"}
        assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "style", "title"}
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", card["html"])
        tex = card["latex"]
        plain = re.sub(r"\\[#$%&_{}]", "", tex)  # escaped
        assert plain.count("{") == plain.count("}") and "$" not in plain and "#" not in plain and "^" not in plain
        assert max(map(ord, tex)) <= 0xFF
        assert set(re.findall(r"\\([A-Za-z]+)", plain)) <= {
            *("documentclass", "usepackage", "setlength", "parindent", "parskip", "emergencystretch", "begin", "end"),
            *(
                "section",
                "subsection",
                "textbf",
                "item",
                "hline",
                "small",
                "footnotesize",
                "raggedright",
                "arraybackslash",
            ),
            *("textwidth", "allowbreak", "ttfamily", "ensuremath", "dots", "textbackslash", "textasciitilde"),
            *("textasciicircum", "textless", "textgreater", "textquotedbl", "textasciigrave", "textperiodcentered"),
        }


def test_the_command_line_writes_what_the_server_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "analysis_data", 12, 64)
    card = get(client_of(tmp_path / "analysis_data"), "feature_card", id=7)
    command = ["export", "--root", str(tmp_path), "--to", "card", "--feature", "7", "--out"]
    for suffix, text in ((".html", card["html"]), (".tex", card["latex"])):
        out = tmp_path / "new" / f"card{suffix}"
        assert main([*command, str(out)]) == 0
        assert out.read_text(encoding="utf-8") == text
    for more, said in (
        ([*command, str(tmp_path / "card.pdf")], "neither HTML nor LaTeX"),
        (["export", "--root", str(tmp_path), "--to", "card"], "name it with --feature"),
        (["export", "--root", str(tmp_path), "--to", "card", "--feature", "64"], "There is no feature 64"),
        ([*command, str(tmp_path)], "neither HTML nor LaTeX"),
    ):
        capsys.readouterr()
        assert main(more) == 2
        output = capsys.readouterr().err
        assert said in output and output.count("\n") == 1


def test_a_full_disk_names_the_flag_of_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "analysis_data", 12, 64)
    get(client_of(tmp_path / "analysis_data"), "feature_card", id=7)  # indexes the run
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for to in ("card", "parquet", "neuronpedia"):
        out = tmp_path / to / "card.html" if to == "card" else tmp_path / to
        command = ["export", "--root", str(tmp_path), "--to", to, "--feature", "7", "--out", str(out)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            assert main(command) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "choose another folder with --out" in capsys.readouterr().err
        assert list((tmp_path / to).iterdir()) == []
