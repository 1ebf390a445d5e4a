"""The mended classifier as a folder: the same logits as `intervene`, also where this package is not installed."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from sae_pipeline.__main__ import main
from sae_pipeline.artefacts.checksums import file_sums
from sae_pipeline.causal import mended
from sae_pipeline.causal.edits import Edit, intervene
from sae_pipeline.causal.mended_card import mended_card
from sae_pipeline.causal.mended_files import CLASSIFIER, EDITS, edits_bytes, ids_without_words
from sae_pipeline.classifier.classifier import WEIGHTS, Classifier, ClassifierRecord
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.config import HeadlinesConfig, MendConfig
from sae_pipeline.headlines.tokens import collate, counted_mask
from sae_pipeline.mending.verb import mend
from sae_pipeline.runs.added_files import add_file
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.study import present
from tests.conftest import SmallStudy
from tests.support.cases import TEXTS, random_sae
from tests.support.encoders import ENCODERS, save_encoder
from tests.support.families import family
from tests.support.indexed_runs import mending_of, write_whole_run

CPU = torch.device("cpu")
FACTORS = {7: 0.0, 3: 3.0, 30: 0.5, 11: 2.0}
HARD = ["$AAPL  up 5%, see https://a.example/b?c=d), now ☃", "a [SEP] that is text", "Up " * 40, *TEXTS]


def logits_inside(
    classifier: Classifier, sae: SparseAutoencoder, factors: Mapping[int, float], texts: list[str]
) -> np.ndarray:
    """Logits [n_texts, n_classes] of one padded batch inside `intervene`."""
    headlines = classifier.tokenize(texts)
    input_ids, mask = collate(headlines, classifier.tokenizer.pad_token_id)
    edits = [Edit(feature, "scale", factor) for feature, factor in factors.items()]
    counted = counted_mask(headlines, sae.config.positions)
    with torch.no_grad(), intervene(classifier.model, sae.config.hookpoint, sae, edits, counted):
        return classifier.model(input_ids=input_ids, attention_mask=mask).logits.numpy()


# --- any encoder and SAE -------------------------------------------------------------------------------


def saved(name: str, folder: Path) -> Classifier:
    """A small random classifier of a family, which cuts headlines to 24 tokens, saved as `folder`/classifier."""
    place = folder / CLASSIFIER
    if name in ENCODERS:
        save_encoder(name, place)
        network = load_pretrained(str(place)).network
        with torch.no_grad():
            for matrix in (one for one in network.parameters() if one.dim() == 2):
                matrix *= 5  # so that logits differ between headlines
        network.save_pretrained(place)
    else:
        network, tokenizer = family(name)
        check_encoder(network, tokenizer)  # which also chooses the padding token of decoders
        network.save_pretrained(place)
        tokenizer.save_pretrained(place)
    loaded = load_pretrained(str(place))
    record = ClassifierRecord.model_construct(
        max_length=24, headlines=HeadlinesConfig(), files=file_sums(place, [WEIGHTS])
    )
    return Classifier(loaded.network, loaded.tokenizer, record, "", place)


def difference(classifier: Classifier, sae: SparseAutoencoder) -> float:
    """The largest difference between logits inside `intervene` and those of the folder, which differ from the plain."""
    without_words, _ = ids_without_words(classifier.tokenizer, classifier.tokenize(HARD))
    folder = classifier.folder.parent
    (folder / EDITS).write_bytes(edits_bytes(classifier, sae, FACTORS, without_words))
    model, tokenizer = mended.load(folder)
    inputs = tokenizer(HARD, truncation=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.numpy()
    expected = logits_inside(classifier, sae, FACTORS, HARD)
    assert np.abs(expected - logits_inside(classifier, sae, {}, HARD)).max() > 0.05
    return float(np.abs(found - expected).max())


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A small random BERT."""
    return saved("bert", tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize(
    ("kind", "positions"),
    [
        *((kind, "words") for kind in KINDS),
        *((kind, positions) for kind in ("topk", "jumprelu") for positions in ("all", "cls", "mean")),
    ],
)
def test_kinds_and_positions(small_bert: Classifier, kind: str, positions: PositionKind) -> None:
    """A padded batch with links, unknown words, names of special tokens, and a text that is cut."""
    sae = random_sae(32, 48, positions)
    sae.config = sae.config.model_copy(update={"kind": kind, "k": 12 if KINDS[kind].fixes_k else None})
    if kind not in ("relu", "topk"):
        sae.threshold.copy_(torch.rand(48, generator=torch.Generator().manual_seed(1)))
    assert difference(small_bert, sae) < 1e-5


@pytest.mark.parametrize("name", ["roberta", "albert", "longformer", "bart", "gpt2"])
def test_families(tmp_path: Path, name: str) -> None:
    """Tokens that are white space, layers that share one module, padding inside the model, other paddings."""
    assert difference(saved(name, tmp_path), random_sae(32, 48, "words")) < 1e-5


def test_input_that_cannot_be_read(small_bert: Classifier, tmp_path: Path) -> None:
    """One sentence for embeddings, for a folder that lacks a file, and for weights of another classifier."""
    sae = random_sae(32, 48, "words")
    (small_bert.folder.parent / EDITS).write_bytes(edits_bytes(small_bert, sae, FACTORS, []))
    model, _ = mended.load(small_bert.folder.parent)
    with pytest.raises(ValueError, match="reads input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 32))
    with pytest.raises(FileNotFoundError, match=r"There is no .*edits\.safetensors; copy the whole folder"):
        mended.load(tmp_path)
    other = saved("distilbert", tmp_path)
    (tmp_path / EDITS).write_bytes(edits_bytes(small_bert, sae, FACTORS, []))
    assert other.folder == tmp_path / CLASSIFIER
    with pytest.raises(ValueError, match="are not those that the edits were made for"):
        mended.load(tmp_path)


@pytest.mark.parametrize(("verdict", "said"), [("harms", "do not help"), ("unproven", "not shown to help")])
def test_card(small_bert: Classifier, tmp_path: Path, verdict: str, said: str) -> None:
    """The verdict comes first; the edits have the names and words of the run; the figures are those of the report."""
    run = read_run(write_whole_run(tmp_path))
    found = MendingFile.model_validate({**mending_of(run), "verdict": verdict})
    card = mended_card(run, found, small_bert, 3, 60)
    title, first, _ = card.split("\n\n", 2)
    assert title == "# The mended classifier of run-001"
    assert said in first and f"`{verdict}`" in first
    for edit in found.edits:
        (row,) = re.findall(rf"^\| {edit.feature} \| {edit.factor:g} \| .*$", card, re.M)
        assert all(f"`{word}`" in row for word in run.words(edit.feature)[:5])
    assert found.change is not None
    assert f"On {found.change.n_headlines:,} headlines that chose nothing" in card
    assert f"| {found.change.mended} | {found.change.made} |" in card
    assert "In 3 of 60 headlines of the run" in card
    assert f"{found.n_search:,} headlines" in card or "given by hand" in card


# --- the verb export -----------------------------------------------------------------------------------

ELSEWHERE = """
import json, os, re, sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("sae_pipeline", "viz_analysis", "sae_explorer"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
sys.path.insert(0, os.getcwd())
texts, blocks = json.load(sys.stdin)
names = {}
for block in blocks:
    exec(block, names)
inputs = names["tokenizer"](texts, truncation=True, padding=True, return_tensors="pt")
with names["torch"].no_grad():
    logits = names["model"](**inputs).logits
classes = names["classify"](texts, top_k=None)
named = [{one["label"]: one["score"] for one in scores} for scores in classes]
print(json.dumps([logits.tolist(), named]))
"""


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study, whose run has edits of its three most frequent features."""
    root = study.copied(tmp_path_factory.mktemp("mended"))
    counts = read_run(find_run(root / "analysis_data", None)).feature_stats.headline_counts
    a, b, c = sorted(range(len(counts)), key=lambda feature: -counts[feature])[:3]
    mend(MendConfig(edits=(f"{a}:0", f"{b}:3", f"{c}:0.5"), random_sets=20, max_headlines=30), root, CPU)
    return root


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """The run."""
    return read_run(find_run(root / "analysis_data", None))


@pytest.fixture(scope="module")
def mending(run: Run) -> MendingFile:
    """Its `mending.json`."""
    found = read_added(run.folder, MENDING, MendingFile)
    assert found is not None
    return found


def refused(capsys: pytest.CaptureFixture[str], root: Path, *flags: str) -> str:
    """The sentence with which the command ends."""
    capsys.readouterr()
    assert main(["export", "--root", str(root), "--to", "classifier", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    return error


def test_elsewhere(
    root: Path, run: Run, mending: MendingFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exported folder has the logits of `intervene`, in a process that cannot import this package.

    The process runs the snippets of the card. transformers alone does not take the folder for a classifier.
    """
    out = tmp_path / "out"
    assert main(["export", "--root", str(root), "--to", "classifier", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"README.md", CLASSIFIER, EDITS, "mended.py", MENDING}
    assert (out / "mended.py").read_bytes() == Path(mended.__file__).read_bytes()
    assert (out / MENDING).read_bytes() == (run.folder / MENDING).read_bytes()
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    for name in classifier.record.files:
        assert (out / CLASSIFIER / name).read_bytes() == (classifier.folder / name).read_bytes()

    texts = [prompt.text for prompt in run.prompts[:40]] + HARD
    blocks = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(encoding="utf-8"), re.S)
    command, asked = [sys.executable, "-I", "-c", ELSEWHERE], json.dumps([texts, blocks])
    done = subprocess.run(command, input=asked, cwd=out, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    logits, classes = json.loads(done.stdout.splitlines()[-1])
    expected = logits_inside(classifier, sae, {edit.feature: edit.factor for edit in mending.edits}, texts)
    assert np.abs(expected - logits_inside(classifier, sae, {}, texts)).max() > 0.01
    assert np.abs(np.array(logits) - expected).max() < 1e-5
    named = [[scores[label] for label in classifier.record.labels] for scores in classes]
    np.testing.assert_allclose(named, softmax(expected), atol=1e-5)
    with pytest.raises((OSError, ValueError)):
        AutoModelForSequenceClassification.from_pretrained(out)

    assert main(["export", "--root", str(root), "--to", "classifier", "--out", str(out)]) == 0, "it replaces the older"
    (out / CLASSIFIER / "vocab.txt").write_text("mine")
    assert "holds vocab.txt, which is of another kind" in refused(capsys, root, "--out", str(out))
    assert (out / EDITS).is_file()


def test_what_cannot_be_exported(
    root: Path,
    run: Run,
    mending: MendingFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No report, no edit, a classifier or an SAE that is gone, another folder: one sentence, nothing written."""
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study"
    shutil.copytree(run.folder, study / "analysis_data" / run.folder.name)
    copied, name = read_run(find_run(study / "analysis_data", None)), run.metadata.run_id
    (copied.folder / MENDING).unlink()
    assert f"{name} has no mending.json; find edits with" in refused(capsys, study)
    nothing = {"edits": [], "change": None, "classes": [], "transitions": [], "slices": [], "verdict": "none"}
    add_file(copied, MENDING, mending.model_copy(update=nothing).model_dump_json().encode())
    assert f"mend kept no edit for {name}" in refused(capsys, study)
    add_file(copied, MENDING, mending.model_dump_json().encode())
    assert f"{run.metadata.classifier_hash}, which is gone" in refused(capsys, study)
    place = Path("finbert_sae", "store", run.metadata.classifier_hash)
    (study / place).parent.mkdir(parents=True)
    (study / place).symlink_to(root / place)
    assert f"{run.metadata.sae_hash}, which is gone" in refused(capsys, study)
    assert list(tmp_path.iterdir()) == [study]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("mine")
    assert "holds config.json, which is of another kind" in refused(capsys, root, "--out", "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["config.json"]
