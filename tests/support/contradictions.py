"""Mutants that contradict themselves although every checksum fits: a file was changed and all checksums made anew."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, METADATA, PROMPTS
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.support.mutants import Change, Mutant
from tests.support.run_edits import Damage, Edit, contradicting, edited, put, replace, resealed, sums_of
from tests.support.whole_study import Family, WholeStudy

# --- a run ----------------------------------------------------------------------------------------------


def _in_run(damage: Damage) -> Change:
    return lambda study, family, rng: damage(study.run)


def _edited_decoder(edit: Callable[[dict[str, Any], dict[str, str]], None]) -> Damage:
    """Edit the decoder rows and the header beside them, and make the run's checksums anew."""

    def change(run: Path) -> None:
        tensors = load_file(run / DECODER)
        with safe_open(run / DECODER, framework="np") as file:
            header = file.metadata() or {}
        edit(tensors, header)
        resealed(put(DECODER, save(tensors, header)))(run)

    return change


def _set(**fields: Any) -> Edit:
    return lambda content: content.update(fields)


def _at(*path: str | int, **fields: Any) -> Edit:
    """Set fields of the record that a path leads to."""

    def edit(content: Any) -> None:
        for step in path:
            content = content[step]
        content.update(fields)

    return edit


def _firing(content: Any) -> Any:
    """A firing with several positions in `headline_features.json` or `feature_tokens.json`."""
    records = content.get("headlines") or content.get("features")
    lists = [record.get("examples") or record["features"] for record in records if record.get("examples", True)]
    return next(one for firings in lists for one in firings if len(one["positions"]) > 1)


def _unlike_value(content: Any) -> None:
    firing = _firing(content)
    firing["activation"] = firing["activation"] * 2


def _descending(content: Any) -> None:
    firing = _firing(content)
    firing["positions"].reverse()
    firing["values"].reverse()


def _twice(key: str, n: int = 1) -> Edit:
    """A record of the list `key` stands there twice, in the place of the next one."""
    return lambda content: content[key].__setitem__(n, content[key][n - 1])


def _words(interventions: dict[str, Any]) -> Any:
    """The first word effects of a headline."""
    return next(one["word_effects"] for one in interventions["headlines"] if one["word_effects"])


def _another_prediction(prompts: list[dict[str, Any]]) -> None:
    prompts[4]["prediction"] = (prompts[4]["prediction"] + 1) % len(prompts[4]["probabilities"])


def _same_id(prompts: list[dict[str, Any]]) -> None:
    prompts[4]["headline_id"] = prompts[3]["headline_id"]


def _swapped_offsets(prompts: list[dict[str, Any]]) -> None:
    prompts[4]["starts"], prompts[4]["ends"] = prompts[4]["ends"], prompts[4]["starts"]


_SWAPPED_LABELS: Edit = lambda content: content["labels"].reverse()  # noqa: E731 - one of a table
_EDITS: dict[str, dict[str, Edit]] = {
    PROMPTS: {
        "prediction is not the most probable class": _another_prediction,
        "probabilities add up to more than 1": lambda p: p[4].update(probabilities=[0.9] * len(p[4]["probabilities"])),
        "probabilities add up to less than 1": lambda p: p[4].update(probabilities=[0.1] * len(p[4]["probabilities"])),
        "an end is beyond the text": lambda p: p[4]["ends"].__setitem__(2, 10_000),
        "a start is after its end": _swapped_offsets,
        "text is unlike its id": lambda p: p[4].update(text="x" + p[4]["text"]),
        "two headlines have one id": _same_id,
        "a headline stands there twice": lambda p: p.__setitem__(4, p[3]),
        "a class is not there": lambda p: p[4].update(label=7),
        "a token less": lambda p: p[4]["tokens"].pop(),
        "a headline less": lambda p: p.pop(),
        "a column that the metadata do not name": lambda p: p[4].update(columns={"ticker": "AAPL"}),
        "another true class": lambda p: p[4].update(label=(p[4]["label"] + 1) % 3),
    },
    FEATURE_STATS: {
        "d_sae is another": _set(d_sae=127),
        "n_headlines is another": _set(n_headlines=1),
        "n_counted_tokens is another": _set(n_counted_tokens=1),
        "a metric is listed twice": _twice("metrics"),
        "a leading feature is not there": lambda s: s["metrics"][0]["top"].__setitem__(0, 4000),
        "a feature leads twice": lambda s: s["metrics"][0]["top"].__setitem__(0, s["metrics"][0]["top"][1]),
        "classes have other sizes": lambda s: s["class_sizes"].reverse(),
        "a column is shorter": lambda s: s["metrics"][0]["values"].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
        "another classifier is named": _set(classifier_hash="0" * 12),
    },
    FEATURE_TOKENS: {
        "a feature is listed twice": _twice("features"),
        "positions do not ascend": _descending,
        "an activation is unlike its value": _unlike_value,
        "a headline is not there": lambda t: t["features"][0]["examples"][0].update(headline=4000),
        "a bin less": lambda t: t["features"][0]["histogram"].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    HEADLINE_FEATURES: {
        "a feature is listed twice in a headline": lambda h: h["headlines"][3]["features"].__setitem__(
            1, h["headlines"][3]["features"][0]
        ),
        "positions do not ascend": _descending,
        "an activation is unlike its value": _unlike_value,
        "a feature is not there": lambda h: h["headlines"][3]["features"][0].update(feature=4000),
        "an id is another": lambda h: h["headlines"][3].update(headline_id="0" * 12),
        "a headline less": lambda h: h["headlines"].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    METADATA: {
        "labels are in another order": _SWAPPED_LABELS,
        "a label is there twice": lambda m: m["labels"].__setitem__(1, m["labels"][0]),
        "a column that no headline has": _set(columns=["ticker"]),
        "a label is empty": lambda m: m["labels"].__setitem__(1, ""),
        "a label more": lambda m: m["labels"].append("Other"),
        "d_sae is another": _at("sae", d_sae=64),
        "d_in is another": _at("sae", d_in=64),
        "n_features is another": _at("totals", n_features=64),
        "n_headlines is another": _at("totals", n_headlines=64),
        "n_counted_tokens is another": _at("totals", n_counted_tokens=64),
        "a metric is listed twice": _twice("metrics"),
        "a metric more": lambda m: m["metrics"].append({**m["metrics"][0], "name": "other"}),
        "no metrics": _set(metrics=[]),
        "another SAE is named": _set(sae_hash="0" * 12),
        "another classifier is named": _set(classifier_hash="0" * 12),
        "another number": _set(run_id="run-077"),
        "a file is missing in its list": lambda m: m["files"].pop(PROMPTS),
    },
    NEIGHBOURS: {
        "d_sae is another": _set(d_sae=64),
        "a feature is not there": lambda n: n["by_decoder"][3].__setitem__(0, 4000),
        "a cosine less": lambda n: n["decoder_cosine"][3].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    NAMES: {
        "d_sae is another": _set(d_sae=64),
        "a feature less": lambda n: n["features"].pop(),
        "a score beyond its interval": _at("features", 0, score=1.0, low=0.1, high=0.2),
        "a name without a rule": _at("features", 0, name="x", rule=[]),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    FEATURE_EFFECTS: {
        "d_sae is another": _set(d_sae=64),
        "n_headlines is another": _set(n_headlines=3),
        "a metric is listed twice": _twice("columns"),
        "a metric of the metadata": lambda e: (
            e["metrics"][0].update(name="entropy"),
            e["columns"][0].update(name="entropy"),
        ),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    INTERVENTIONS: {
        "a headline is not there": lambda i: i["headlines"][1].update(headline=4000),
        "an id is another": lambda i: i["headlines"][1].update(headline_id="0" * 12),
        "a headline is listed twice": _twice("headlines"),
        "a class less": lambda i: i["headlines"][1]["logits"].pop(),
        "a feature is not there": lambda i: i["headlines"][1]["features"][0].update(feature=4000),
        "a word less": lambda i: _words(i)["occlusion"].pop(),
        "an agreement above 1": lambda i: _words(i).update(agreement=1.5),
        "a class less of the joint effect": lambda i: i["headlines"][1]["joint_effects"].pop(),
        "a pair of features that are not listed": lambda i: i["headlines"][1].update(
            interactions=[{"features": [4000, 4001], "effects": i["headlines"][1]["joint_effects"]}]
        ),
        "a spread prediction without a number": lambda i: i["headlines"][1].update(
            flip=None, unflipped={"reason": "spread", "margin": 0.5, "n_needed": None, "clamped": None}
        ),
        "more predictions are held than were searched": lambda i: i["unflipped"].update(n_base=4000),
        "another run is named": _set(run_id="run-077"),
    },
    FAMILY: {
        "d_sae is another": _set(d_sae=64),
        "a column is shorter": lambda f: f["matches"][0]["cosine"].pop(),
        "a member less": lambda f: f["members"].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
    CONTRAST: {
        "a class less": lambda c: c["kinds"][0]["mean_shift"].pop(),
        "a feature is not there": _at("kinds", 0, "features", 0, feature=4000),
        "a pair more is counted": lambda c: c["kinds"][0].update(n_pairs=c["kinds"][0]["n_pairs"] + 1),
        "more is explained than tested": _at("kinds", 0, "explained", 0, n_pairs=4000),
        "a headline is not there": _at("kinds", 0, "pairs", 0, headline=4000),
        "a span is outside": _at("kinds", 0, "pairs", 0, after_spans=[[3, 4000]]),
        "other classes": lambda c: c["labels"].reverse(),
        "another run is named": _set(run_id="run-077"),
    },
    MENDING: {
        "a class less": lambda m: m["classes"].pop(),
        "a feature is not there": _at("edits", 0, feature=4000),
        "a feature is edited twice": lambda m: m["edits"].append(m["edits"][0]),
        "another verdict": _set(verdict="none"),
        "more headlines": lambda m: m["transitions"][0].__setitem__(0, 4000),
        "other classes": lambda m: m["labels"].reverse(),
        "another run is named": _set(run_id="run-077"),
    },
    CALIBRATION: {
        "a headline more": lambda c: c["before"]["bins"][0].update(n_headlines=4000),
        "a feature is not there": lambda c: c["error_features"].append(
            {"feature": 4000, "n_headlines": 1, "n_errors": 1, "p": 0.1}
        ),
        "more errors": lambda c: c.update(n_test_errors=c["n_test"] + 1),
        "a rate less": lambda c: c["rankings"][0]["error_rates"].pop(),
        "seeds without a count": lambda c: c.update(seeds=[7], n_unstable=None),
        "a signal less": lambda c: c["rankings"].append(c["rankings"][0]),
        "other classes": lambda c: c["labels"].reverse(),
        "another run is named": _set(run_id="run-077"),
    },
    DIFF: {
        "a bin more": lambda d: d["growth"].__setitem__(0, d["growth"][0] + 1),
        "more grown than live": lambda d: d["counts"].update(grown=d["n_live"] + 1),
        "a feature is not there": lambda d: d["features"][0].update(feature=d["d_sae"]),
        "a class less": lambda d: d["features"][0]["effects"].pop(),
        "a headline is not there": lambda d: d["features"][0]["examples"][0].update(headline=4000),
        "a control without counts": lambda d: d["models"].append({**d["models"][0], "role": "control"}),
        "other classes": lambda d: d["labels"].reverse(),
        "another run is named": _set(run_id="run-077"),
    },
    MAP: {
        "d_sae is another": _set(d_sae=64),
        "a feature less": lambda m: m["features"].pop(),
        "a place less": lambda m: m["x"].pop(),
        "another SAE is named": _set(sae_hash="0" * 12),
    },
}
_DECODER_EDITS: dict[str, Callable[[dict[str, Any], dict[str, str]], None]] = {
    "a row less": lambda t, h: t.update(W_dec=t["W_dec"][:-1].copy()),
    "another SAE is named": lambda t, h: h.update(sae_hash="0" * 12),
    "rows that are no numbers": lambda t, h: t.update(W_dec=np.full_like(t["W_dec"], np.nan)),
    "other tensors": lambda t, h: t.update(W_enc=t.pop("W_dec")),
}


# --- the store ------------------------------------------------------------------------------------------


def _edited_record(path: Callable[[WholeStudy], Path], edit: Edit, *, with_sums: bool = False) -> Change:
    """Edit a sealed record of the store; with `with_sums` the sums of the files beside it are made anew."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        folder, name = path(study).parent, path(study).name

        def whole_edit(record: Any) -> None:
            edit(record)
            if with_sums:
                record["files"] = sums_of(folder, record["files"])

        edited(name, whole_edit)(folder)

    return change


def _other_weights(path: Callable[[WholeStudy], Path], weights: str) -> Change:
    """The weights of another under the own record, whose sums fit them."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        other = path(family.relative("another classifier")).parent / weights
        replace([path(study).parent / weights], other.read_bytes())
        _edited_record(path, lambda record: None, with_sums=True)(study, family, rng)

    return change


def _classifier(study: WholeStudy) -> Path:
    return study.classifier / "classifier.json"


def _sae(study: WholeStudy) -> Path:
    return study.sae() / "sae.json"


def _manifest(study: WholeStudy) -> Path:
    return study.activations / "manifest.json"


def _present(study: WholeStudy) -> Path:
    return study.weights / "classifier.json"


_STORE: dict[str, dict[str, Change]] = {
    "classifier record": {
        "other weights with fitting sums": _other_weights(_classifier, "model.safetensors"),
        "weights without a sum": _edited_record(_classifier, lambda c: c["files"].pop("model.safetensors")),
        "other inputs": _edited_record(_classifier, _set(inputs_hash="0" * 12)),
    },
    "SAE record": {
        "other weights with fitting sums": _other_weights(_sae, "sae.pt"),
        "weights without a sum": _edited_record(_sae, lambda s: s["files"].pop("sae.pt")),
        "another classifier in its config": _edited_record(_sae, _at("config", classifier_hash="0" * 12)),
        "another width in its config": _edited_record(_sae, _at("config", d_in=64)),
    },
    "manifest": {
        "other inputs": _edited_record(_manifest, _set(inputs_hash="0" * 12)),
        "another classifier": _edited_record(_manifest, _set(classifier_hash="0" * 12)),
        "another layer": _edited_record(_manifest, _at("extract", layer=1)),
        "fewer tokens": _edited_record(_manifest, _set(n_tokens=1000)),
        "another width": _edited_record(_manifest, _set(d_in=16)),
        "a shard less": _edited_record(_manifest, lambda m: m["files"].popitem()),
        "mean of another width": _edited_record(_manifest, lambda m: m["mean"].pop()),
    },
    "present classifier": {
        "a hash that is not there": _edited_record(_present, _set(classifier_hash="0" * 12)),
        "a hash that leaves the store": _edited_record(_present, _set(classifier_hash="../../outside")),
    },
}


def contradictions() -> Iterator[Mutant]:
    """All of them; none is drawn at random."""
    for name, edits in _EDITS.items():
        for kind, edit in edits.items():
            yield Mutant(f"run {name}", kind, 0, _in_run(contradicting(name, edit)))
    for kind, edit_tensors in _DECODER_EDITS.items():
        yield Mutant(f"run {DECODER}", kind, 0, _in_run(_edited_decoder(edit_tensors)))
    for place, changes in _STORE.items():
        for kind, change in changes.items():
            yield Mutant(place, kind, 0, change)
