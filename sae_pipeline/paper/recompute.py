"""Recomputing a paper's archive: whether each of its numbers and figures comes out the same again."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError
from tqdm.auto import tqdm

from sae_pipeline.activations.batches import HeldTokens, chunks
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.analysis.feature_stats import HISTOGRAM_EDGES, bins_of
from sae_pipeline.artefacts.checksums import MAX_RECORD_BYTES, fields_of, without_seal
from sae_pipeline.classifier.classifier import Classifier, classifier_report, load_classifier
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.evaluation.bootstrap import area_under_curve
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.paper.archive import FOLDER
from sae_pipeline.paper.numbers import classifier_numbers, numbers_of, splice_numbers
from sae_pipeline.paper.sources import Sources, hash_of
from sae_pipeline.paper.write import write_files
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PER_HEADLINE, statistics_positions
from sae_pipeline.schema.paper import PAPER, PAPER_VERSION, Number, PaperRecord
from sae_pipeline.study.layout import Layout
from sae_pipeline.study.present import same_headlines, stored_sae
from sae_pipeline.study.unseal import headline_peaks

Outcome = Literal["same", "noise", "recorded", "DIFFERENT"]
OUTCOMES: dict[Outcome, str] = {
    "same": "recomputed, bit for bit the same",
    "noise": "recomputed, and the same within noise",
    "recorded": "not recomputed, but equal to the records in the archive",
    "DIFFERENT": "different",
}
NOISE = (
    "Within noise: L0, FVU and KL by at most 1 %, or 0.0001; shares of headlines by at most 0.5 % of the headlines, or "
    "one of them; precision, recall and F1 by twice that; AUROC by 0.01, recovered loss by 0.02, dead features by half "
    "a point, McNemar's p by 0.1."
)
_SHARES = ("accuracy", "unchanged", "accuracy_change", "majority_accuracy")
_ABSOLUTE = {"chosen": 0.01, "tested": 0.01, "dead": 0.005, "mcnemar_p": 0.1}


@dataclass(frozen=True)
class Judged:
    """A number or a figure of a paper, and how the one that was made again compares with it."""

    name: str
    outcome: Outcome
    said: str


def archived_record(folder: Path, archive: Path) -> PaperRecord:
    """The record of an unpacked archive, which may have been changed since it was written.

    Raises UserError for a record of another version.
    """
    path = folder / FOLDER / PAPER
    try:
        data = path.read_bytes()[:MAX_RECORD_BYTES]
        return PaperRecord.model_validate_json(without_seal(data))
    except (OSError, DamageError, ValidationError) as error:
        found = fields_of(path).get("schema_version")
        if found not in (None, PAPER_VERSION):
            raise UserError(
                f"{archive} was written in version {found} of the format of papers, and this program reads version "
                f"{PAPER_VERSION}; use the version of the program that wrote it."
            ) from error
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{archive} holds a {PAPER} that cannot be read ({reason}); copy the archive again.") from error


def recompute(folder: Path, record: PaperRecord, root: Path) -> Iterator[Judged]:
    """Make every number and file of an unpacked archive again, and yield how each compares with the paper's.

    What needs weights or training headlines is made only if the archive, or the study in `root`, has them. Raises
    UserError if the archive's run cannot be read.
    """
    sources = Sources.read(folder, record.run_id)
    known = numbers_of(sources, record.features)
    told = {number.name: number for number in record.numbers}
    yield from _files(sources, folder / FOLDER, record)
    made, why = _made_again(sources, known, root, record.has_weights)
    for name in dict.fromkeys([*told, *known]):
        yield _judged(name, told.get(name), known.get(name), made.get(name), why)


# --- numbers -------------------------------------------------------------------------------------------


def _judged(name: str, told: Number | None, known: Number | None, made: float | None, why: Mapping[str, str]) -> Judged:
    """Compare a number as the paper has it, as the records have it, and as it was made again."""
    if told is None or known is None:
        return Judged(
            name, "DIFFERENT", "it is missing in the paper" if told is None else "nothing in the archive has it"
        )
    shown = f"{told.value:.6g}"
    if told != known:
        return Judged(name, "DIFFERENT", f"the paper says {_ends(told)}, the records of its archive {_ends(known)}")
    if made is None:
        return Judged(name, "recorded", f"{shown} ({why.get(told.check, 'it is made by a training')})")
    if made == told.value:
        return Judged(name, "same", shown)
    if abs(made - told.value) <= tolerance(told):
        return Judged(name, "noise", f"{shown}, made again {made:.6g}")
    return Judged(name, "DIFFERENT", f"the paper says {shown}, made again it is {made:.6g}")


def _ends(number: Number) -> str:
    ends = "" if number.low is None or number.high is None else f" [{number.low:.6g}, {number.high:.6g}]"
    return f"{number.value:.6g}{ends}" + (f" of {number.n:,}" if number.n is not None else "")


def tolerance(number: Number) -> float:
    """By how much a number may differ on another machine; `NOISE` says it in words."""
    what = number.name.rpartition("/")[2]
    n = max(number.n or 1, 1)
    if what in _ABSOLUTE:
        return _ABSOLUTE[what]
    if "/recovered/" in number.name:
        return 0.02
    share = max(1.0, 0.005 * n) / n
    if what in _SHARES:
        return share + 1e-12
    if number.name.startswith("classifier/"):
        return 2 * share
    return max(0.01 * abs(number.value), 1e-4)


def _made_again(
    sources: Sources, known: Mapping[str, Number], root: Path, has_weights: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers that can be made again, and for each kind of check why others cannot."""
    why = {"record": "only a new training could give it"}
    made = {number.name: number.value for number in _from_headlines(sources)}
    if not has_weights:
        missing = "the archive was written with --weights no"
        return made, why | {"weights": missing, "train": missing}
    classifier = load_classifier(Layout(sources.root).store / sources.run.metadata.classifier_hash, torch.device("cpu"))
    saes = {
        size: stored_sae(sources.folders[hash_of(record)], torch.device("cpu")) for size, record in sources.saes.items()
    }
    prompts, layer = sources.run.prompts, sources.run.metadata.hookpoint.layer
    texts, labels = [prompt.text for prompt in prompts], [prompt.label for prompt in prompts]
    judge = HeldOut.read(classifier, "test", texts, labels, layer)
    if _whole_test(sources):
        made |= dict(_from_weights(sources, judge, saes))
    else:
        why["weights"] = why["headlines"] = "the run has a part of the test headlines only"
    made |= dict(_features_again(sources, judge, saes[sources.size], known))
    headlines = _headlines(sources, root)
    if headlines is None:
        why["train"] = "the training headlines are not here; run the command in the folder that holds them"
    else:
        made |= dict(_from_train(classifier, saes, headlines))
    return made, why


def _whole_test(sources: Sources) -> bool:
    return len(sources.run.prompts) == sources.run.metadata.sae.report.spliced.n_headlines


def _from_headlines(sources: Sources) -> Iterator[Number]:
    run = sources.run
    words = sum(word >= 0 for prompt in run.prompts for word in prompt.words)
    yield Number(name="run/headlines", value=len(run.prompts), check="headlines")
    if run.metadata.sae.positions not in PER_HEADLINE:  # else vectors of headlines are counted
        yield Number(name="run/tokens", value=words, check="headlines")
    if _whole_test(sources) and run.metadata.labelled:
        labels, predictions = (np.array([getattr(p, what) for p in run.prompts]) for what in ("label", "prediction"))
        yield from classifier_numbers(classifier_report("test", labels, predictions, run.metadata.labels))


def _from_weights(
    sources: Sources, judge: HeldOut, saes: Mapping[str, SparseAutoencoder]
) -> Iterator[tuple[str, float]]:
    run = sources.run
    if run.metadata.labelled:
        report = classifier_report("test", judge.labels, judge.clean.argmax(1), run.metadata.labels)
        yield from ((number.name, number.value) for number in classifier_numbers(report))
    for size, sae in tqdm(saes.items(), desc="SAEs on test", unit="SAE", delay=1, leave=False):
        acts = judge.acts(sae.config.positions)
        quality = code_quality(sae, "test", chunks(HeldTokens(acts)), len(acts))
        yield f"sae/{size}/l0/held_out", quality.l0
        yield f"sae/{size}/fvu/held_out", quality.fvu
        report_of = judge.splice_report(sae, statistics_positions(sae.config.positions))
        yield from ((n.name, n.value) for n in splice_numbers(f"sae/{size}", report_of, "weights"))


def _features_again(
    sources: Sources, judge: HeldOut, sae: SparseAutoencoder, known: Mapping[str, Number]
) -> Iterator[tuple[str, float]]:
    places = [name.split("/")[1:] for name in known if name.startswith("feature/")]
    wanted = sorted({int(feature) for _, feature, _ in places})
    peaks = headline_peaks(judge, sae, wanted)
    tests = in_testing_half([prompt.headline_id for prompt in sources.run.prompts])
    for place, feature, what in places:
        half = {"chosen": ~tests, "tested": tests}.get(what)
        if half is not None:
            peak, inside = peaks[half, wanted.index(int(feature))], judge.labels[half] == int(place)
            binned = np.where(peak > 0, bins_of(np.maximum(peak, HISTOGRAM_EDGES[0])) + 1, 0)  # as the analysis counts
            found = area_under_curve(binned, inside).value
            yield f"feature/{place}/{feature}/{what}", float(f"{found:.6g}")  # as runs keep it


def _headlines(sources: Sources, root: Path) -> Headlines | None:
    """The training headlines, found by the archive's own record or in the study in `root`; None without them."""
    for place in (sources.root, root):
        try:
            found = same_headlines(place)
        except (UserError, OSError):
            continue
        if found.data_hash == sources.classifier.data_hash:
            return found
    return None


def _from_train(
    classifier: Classifier, saes: Mapping[str, SparseAutoencoder], headlines: Headlines
) -> Iterator[tuple[str, float]]:
    tokenized, pad_id = classifier.tokenize(headlines.train.texts), classifier.tokenizer.pad_token_id
    config = next(iter(saes.values())).config
    place = config.hookpoint.layer, config.positions
    acts, _ = read_activations(classifier.model, tokenized, pad_id, *place, precision="auto")
    acts = acts.half().float()  # as a store keeps them
    for size, sae in tqdm(saes.items(), desc="SAEs on train", unit="SAE", delay=1, leave=False):
        quality = code_quality(sae, "train", chunks(HeldTokens(acts)), len(acts))
        yield f"sae/{size}/l0/train", quality.l0
        yield f"sae/{size}/fvu/train", quality.fvu
        yield f"sae/{size}/dead", quality.silent_share


# --- files ---------------------------------------------------------------------------------------------


def _files(sources: Sources, paper: Path, record: PaperRecord) -> Iterator[Judged]:
    """Draw the figures and write the texts again, and compare them with those in the archive."""
    drawn_here = version("matplotlib") == record.packages.get("matplotlib")
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary)
        write_files(sources, again, record.headline, record.features, record.has_weights)
        names = {path.name for path in again.iterdir()} | set(record.files)
        for name in sorted(names - {"facts.tex"}):  # which tells the licences of the packages that are installed here
            yield _file(name, paper / name, again / name, drawn_here or not name.endswith(".pdf"))


def _file(name: str, kept: Path, again: Path, comparable: bool) -> Judged:
    if not kept.exists() or not again.exists():
        return Judged(
            name, "DIFFERENT", "it is missing in the archive" if again.exists() else "the run has no such file"
        )
    old, new = kept.read_bytes(), again.read_bytes()
    if old == new:
        return Judged(name, "same", f"{len(old):,} bytes")
    if not comparable:
        return Judged(name, "recorded", "another version of matplotlib drew it")
    return Judged(name, "DIFFERENT", _first_difference(old, new) if name.endswith((".tex", ".bib")) else "its drawing")


def _first_difference(old: bytes, new: bytes) -> str:
    pairs: Iterable[tuple[str, str]] = zip(
        old.decode(errors="replace").splitlines(), new.decode(errors="replace").splitlines(), strict=False
    )
    for line, (a, b) in enumerate(pairs, 1):
        if a != b:
            at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            start = max(at - 12, 0)
            return f"line {line} has “{a[start : at + 12]}”, made again “{b[start : at + 12]}”"
    return "it has another length"
