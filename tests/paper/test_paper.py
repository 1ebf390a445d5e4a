"""`paper`: its figures, tables and texts say what the run says, in any language."""

import json
import os
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import content_hash, read_record, seal, without_seal, write_record
from sae_pipeline.latex import latex_text
from sae_pipeline.paper.document import texts_of
from sae_pipeline.paper.numbers import numbers_of, student_interval
from sae_pipeline.paper.plots import plots_of
from sae_pipeline.paper.sources import Sources
from sae_pipeline.runs.run_files import read_metadata
from sae_pipeline.schema.common import METADATA
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.paper import PAPER, PaperRecord
from sae_pipeline.study.layout import SAE, SaeRecord
from tests.conftest import SmallStudy

HOSTILE = ("50% & $x_1#", r"~^\end{document} {", "🚀 שלום \u202e «é»")


def _streams(pdf: bytes) -> bytes:
    """The content of a PDF's compressed streams."""
    found = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    return b"\n".join(_inflated(one) for one in found)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data)
    except zlib.error:
        return b""


def test_figures_are_vectors_of_a_column_in_grey(paper: Path) -> None:
    """Each PDF is 3.25 inches wide, embeds TrueType fonts, holds no image, and draws in grey alone."""
    figures = sorted(paper.glob("figure-*.pdf"))
    assert {"figure-headline.pdf", "figure-sizes.pdf", "figure-spliced.pdf"} <= {path.name for path in figures}
    for path in figures:
        data = path.read_bytes()
        box = re.search(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", data)
        assert box and float(box[1]) == pytest.approx(3.25 * 72)
        assert b"/FontFile2" in data and b"/Type3" not in data and b"/Subtype /Image" not in data
        colours = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)\b", _streams(data))
        assert all(r == g == b for r, g, b in colours), path.name  # black alone is written by another operator


def test_tables_say_what_the_run_says(study: SmallStudy, paper: Path) -> None:
    """Numbers in the tables are those of the run's metadata, with the digits shown."""
    run = read_metadata(study.run)
    classifier, spliced = (paper / "table-classifier.tex").read_text(), (paper / "table-spliced.tex").read_text()
    assert run.classifier.report is not None
    assert f"accuracy {run.classifier.report.accuracy:.3f}" in classifier
    for score in run.classifier.report.per_class:
        row = f"{score.label} & {score.precision:.3f} & {score.recall:.3f} & {score.f1:.3f} & {score.support}"
        assert row in classifier
    saes = (paper / "table-saes.tex").read_text()
    for size, report in run.sae_family.items():
        (line,) = (line for line in saes.splitlines() if line.startswith(f"{size} &"))
        assert f"{report.held_out.l0:.1f} & {report.train.fvu:.3f} & {report.held_out.fvu:.3f}" in line
        kept = report.spliced
        assert kept.unchanged_interval is not None
        low, high = (100 * end for end in kept.unchanged_interval)
        assert f"{size} & {100 * kept.unchanged:.1f} [{low:.1f}, {high:.1f}]" in spliced
    tested = json.loads((study.run / "feature_stats.json").read_text())["metrics"]
    n = sum(q is not None for column in tested if column.get("q") for q in column["q"])
    assert f"{n:,} tests were made" in (paper / "table-features.tex").read_text()


def test_all_that_is_cited_is_in_the_references(paper: Path) -> None:
    """Every key has an entry, every entry is cited, and main.tex includes every table and figure."""
    texts = "".join(path.read_text() for path in paper.glob("*.tex"))
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", texts) for key in keys.split(",")}
    references = (paper / "references.bib").read_text()
    assert cited == set(re.findall(r"@\w+\{(\w+),", references))
    assert references.count("{") == references.count("}")
    text = (paper / "main.tex").read_text()
    included = set(re.findall(r"\\input\{([^}]*)\}", text)) | set(re.findall(r"\]\{(figure-[^}]*)\.pdf\}", text))
    assert included == {path.stem for path in paper.iterdir() if path.name.startswith(("table-", "figure-"))} | {
        "methods",
        "facts",
    }


def hostile(sources: Sources) -> Sources:
    """The same study with class names and a headline that LaTeX would take for commands."""
    run, names = sources.run, dict(zip(sources.run.metadata.labels, HOSTILE, strict=True))
    renamed = {f"auroc_{label.lower()}": f"auroc_{new.lower()}" for label, new in names.items()}
    stats = run.feature_stats.model_copy(
        update={
            "metrics": [
                column.model_copy(update={"name": renamed.get(column.name, column.name)})
                for column in run.feature_stats.metrics
            ]
        }
    )
    metadata = run.metadata.model_copy(
        update={
            "labels": list(names.values()),
            "files": {name: known for name, known in run.metadata.files.items() if name != NAMES},
        }
    )
    prompt = run.prompts[0]
    words = [f"{word}{n}" for n, word in enumerate((HOSTILE * len(prompt.tokens))[: max(prompt.words) + 1])]
    ends = [len(" ".join(words[: n + 1])) for n in range(len(words))]
    places = [(max(end - len(word), 0), end) for word, end in zip(words, ends, strict=True)]
    prompt = prompt.model_copy(
        update={
            "text": " ".join(words),
            "starts": [places[word][0] if word >= 0 else 0 for word in prompt.words],
            "ends": [places[word][1] if word >= 0 else 0 for word in prompt.words],
        }
    )
    made = replace(run, metadata=metadata, feature_stats=stats, prompts=[prompt, *run.prompts[1:]])
    report = sources.classifier.test
    assert report is not None
    scores = [score.model_copy(update={"label": names[score.label]}) for score in report.per_class]
    classifier = sources.classifier.model_copy(
        update={"labels": list(names.values()), "test": report.model_copy(update={"per_class": scores})}
    )
    return replace(sources, run=made, classifier=classifier)


def test_hostile_names_and_headlines(study: SmallStudy, tmp_path: Path) -> None:
    """Class names and headlines full of LaTeX's own characters, emoji and right-to-left text come out as they are."""
    sources = hostile(Sources.read(study.root, None))
    numbers = numbers_of(sources, 3)
    figures = []
    with mpl.rc_context():
        for name, pdf, caption in plots_of(sources, numbers, 3, 0):
            (tmp_path / name).write_bytes(pdf)
            figures.append((name, caption))
    texts = texts_of(sources, numbers, 3, figures)
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert latex_text(HOSTILE[0]) == r"50\% \& \$x\_1\#" and latex_text(HOSTILE[0]) in texts["table-classifier.tex"]
    assert r"\textasciitilde{}\textasciicircum{}\textbackslash{}end\{document\}" in texts["table-classifier.tex"]
    assert "U+1F680" in texts["table-classifier.tex"] and "🚀" not in "".join(texts.values())
    for text in texts.values():
        assert re.sub(r"\\.", "", text).count("{") == re.sub(r"\\.", "", text).count("}")
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-2000:]


def _with_a_seed(study: SmallStudy, root: Path) -> tuple[Path, SaeRecord]:
    """A copy of the study, whose store has another seed of the 1k SAE and one of another setting; the seed's record."""
    for name in ("analysis_data", "finbert_sae"):
        shutil.copytree(study.root / name, root / name, copy_function=os.link)
    store = root / "finbert_sae" / "store"
    own = next(r for path in store.glob("*/sae.json") if (r := read_record(path, SaeRecord)).config.d_sae == 1024)
    report = own.report.model_copy(
        update={"held_out": own.report.held_out.model_copy(update={"fvu": own.report.held_out.fvu + 0.02})}
    )
    made = []
    for n, changes in enumerate(({"seed": 7}, {"seed": 8, "l1_coefficient": 0.5}), 1):
        known = own.files[SAE].model_copy(update={"sha256": f"{n}" * 64})
        name = content_hash(known)
        train = own.training.model_copy(update=changes)
        files = {**own.files, SAE: known}
        made.append(own.model_copy(update={"files": files, "train": train, "report": report}))
        (store / name).mkdir()
        write_record(store / name / "sae.json", made[-1])
    return root, made[0]


def test_means_are_over_the_seeds_of_one_setting(study: SmallStudy, tmp_path: Path) -> None:
    """The run's own SAEs are shown; means are over trainings that differ by seed alone, not over other settings."""
    root, other = _with_a_seed(study, tmp_path)
    sources = Sources.read(root, None)
    own = sources.saes["1k"]
    assert own.training.seed == 0 and [one.training.seed for one in sources.seeds["1k"]] == [0, 7]
    assert [one.training.seed for one in sources.seeds["2k"]] == [0]
    numbers = numbers_of(sources, 3)
    assert numbers["sae/1k/fvu/held_out"].value == own.report.held_out.fvu
    mean = numbers["seeds/1k/fvu/held_out"]
    low, middle, high = student_interval([own.report.held_out.fvu, other.report.held_out.fvu])
    assert (mean.low, mean.value, mean.high, mean.n) == (
        low,
        middle,
        high,
        2,
    ) and "seeds/2k/fvu/held_out" not in numbers
    change = own.report.spliced.accuracy_spliced - own.report.spliced.accuracy_clean
    assert numbers["sae/1k/accuracy_change"].value == change


def test_figures_draw_the_numbers(study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open circles are the choosing half, squares the testing half with its interval; filled marks are held-out."""
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    sources = Sources.read(study.root, None)
    numbers = numbers_of(sources, 2)
    by_axis = {}
    for name, _, _ in plots_of(sources, numbers, 2, 0):
        by_axis[name] = drawn.pop().axes[0]
    features = [one.rpartition("/")[0] for one in numbers if one.startswith("feature/") and one.endswith("chosen")]
    axes = by_axis["figure-features.pdf"]
    circles = {float(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
    squares = {float(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"}
    assert circles == {row: numbers[f"{at}/chosen"].value for row, at in enumerate(features)}
    assert squares == {row: numbers[f"{at}/tested"].value for row, at in enumerate(features)}
    filled = [line for line in by_axis["figure-sizes.pdf"].lines if line.get_markerfacecolor() == "black"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in filled if line.get_marker() != "None"] == [
        (numbers[f"sae/{size}/l0/held_out"].value, numbers[f"sae/{size}/fvu/held_out"].value) for size in sources.saes
    ]


def test_the_table_of_features_is_of_the_testing_half(study: SmallStudy, paper: Path) -> None:
    """Its AUROC and interval are the testing half's, and the column before it is the choosing half's."""
    rows = (paper / "table-features.tex").read_text().splitlines()
    numbers = numbers_of(Sources.read(study.root, None), 3)
    for name, number in numbers.items():
        if name.startswith("feature/") and name.endswith("/tested"):
            chosen = numbers[name.replace("tested", "chosen")].value
            cells = f"& {chosen:.2f} & {number.value:.2f} [{number.low:.2f}, {number.high:.2f}] &"
            assert [row for row in rows if f"& {name.split('/')[2]} &" in row and cells in row], name


def test_means_over_seeds() -> None:
    """Student's interval of three values, by hand: t = 4.303, s = 1."""
    low, mean, high = student_interval([1.0, 2.0, 3.0])
    assert mean == 2 and (low, high) == (pytest.approx(2 - 4.302653 / 3**0.5), pytest.approx(2 + 4.302653 / 3**0.5))


# --- bad input -----------------------------------------------------------------------------------------


def test_what_a_person_wrote_is_kept(
    study: SmallStudy, paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another folder's content and an edited main.tex are refused; an untouched paper is written anew, the same."""
    command = ["paper", "--root", str(study.root), "--weights", "no", "--out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main([*command, str(tmp_path / "mine")]) == 2
    out = Path(shutil.copytree(paper, tmp_path / "out"))
    assert main([*command, str(out)]) == 0
    assert read_record(out / PAPER, PaperRecord) == read_record(paper / PAPER, PaperRecord)
    (out / "main.tex").write_text("my own words")
    assert main([*command, str(out)]) == 2
    assert "main.tex was edited" in capsys.readouterr().err and (out / "main.tex").read_text() == "my own words"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "out"}


def test_a_run_without_intervals(study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose report has no intervals is refused in one sentence."""
    copy = tmp_path / "copy"
    shutil.copytree(study.root / "analysis_data", copy / "analysis_data")
    shutil.copytree(study.root / "finbert_sae", copy / "finbert_sae", copy_function=os.link)
    path = next(copy.glob("analysis_data/*_run-*")) / METADATA
    about = json.loads(without_seal(path.read_bytes()))
    about["sae"]["report"]["spliced"]["unchanged_interval"] = None
    path.write_bytes(seal(json.dumps(about).encode()))
    assert main(["paper", "--root", str(copy), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "has no intervals, because its 186 test headlines" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_headline_that_is_not_there(study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence says which there are."""
    assert main(["paper", "--root", str(study.root), "--out", str(tmp_path / "o"), "--headline", "9999"]) == 2
    assert "has the headlines 0 to 185" in capsys.readouterr().err
