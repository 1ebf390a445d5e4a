"""The card of a mended classifier: what was changed and why, whether it helps, how to load it, and its limits."""

import re
from collections.abc import Iterable, Iterator, Sequence

from sae_pipeline import __version__
from sae_pipeline.causal.mended_files import CLASSIFIER, EDITS, LOADER
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.runs.folders import Run
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.mending import MENDING, Change, MendingFile, Verdict

_MOST_WORDS = 5  # of a feature
_VERDICTS: dict[Verdict, str] = {
    "harms": "**The edits do not help (verdict `harms`).** On the headlines that test them, as many errors are made as "
    "mended, or more. Use the classifier without them; this folder is for looking into the edits.",
    "unproven": "**The edits are not shown to help (verdict `unproven`).** More errors are mended than made on the "
    "headlines that test them, but this may be chance, or random features do as well.",
    "holds": "**The edits help on the headlines that test them (verdict `holds`).** More errors are mended than made: "
    "McNemar's p is below 0.05, and at most one in 20 sets of random features is as good.",
}
_EFFECTS = {0.0: "ablated", 1.0: "as it was"}
_LOADING = f"""\
The folder needs `pip install torch transformers`, and not the program that made it. Run this in the folder, which \
has `{LOADER}`.

```python
from mended import pipeline

classify = pipeline(".")
print(classify(["Shares fall after a weak quarter"]))
```

The same by hand, with an ordinary model and tokenizer of transformers:

```python
import torch
from mended import load

model, tokenizer = load(".")
inputs = tokenizer(["Shares fall after a weak quarter"], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    print(model(**inputs).logits.softmax(-1))
```

`{CLASSIFIER}/` is the classifier without the edits, `{EDITS}` holds the edits, and `{MENDING}` is the whole report."""


def mended_card(run: Run, mending: MendingFile, classifier: Classifier, n_unlike: int, n_read: int) -> str:
    """The text of README.md.

    In `n_unlike` of `n_read` headlines of the run, token ids do not say which tokens belong to words.
    """
    metadata = run.metadata
    sections = [
        f"# The mended classifier of {metadata.run_id}",
        _VERDICTS[mending.verdict],
        f"This folder holds a classifier of headlines with the classes {listed(metadata.labels, 'and')}. "
        f"{_n(len(mending.edits), 'feature')} of a sparse autoencoder (SAE) at its layer {metadata.hookpoint.layer} "
        f"{'is' if len(mending.edits) == 1 else 'are'} edited while it reads. It was made with FinBERT SAE Explorer "
        f"{__version__}.",
        "## What was changed",
        "The activations of a feature are multiplied by its factor wherever the feature fires. What the SAE cannot "
        "reconstruct stays as it is, and so do the classifier's weights.",
        _table(["feature", "factor", "effect", "name", "words it fires on"], _features(run, mending)),
        "## Why",
        _why(mending),
        "## Does it help?",
        *_proof(mending),
        "## How to load it",
        _LOADING,
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(run, classifier, n_unlike, n_read)),
        "## License",
        f"The license of these files is not stated. The base model ({metadata.classifier.model}) and the headlines "
        "have licenses of their own, which also hold for what is derived from them.",
    ]
    return "\n\n".join(sections) + "\n"


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str) -> str:
    """A text of the headlines in a cell, where nothing of it is markup."""
    return "`" + re.sub(r"[`|\s]+", " ", text).strip() + "`"


def _features(run: Run, mending: MendingFile) -> Iterator[list[str]]:
    for edit in mending.edits:
        found = run.found_names.get(edit.feature)
        words = [word for word in run.words(edit.feature) if word.strip("`| ")][:_MOST_WORDS]
        yield [
            str(edit.feature),
            f"{edit.factor:g}",
            _EFFECTS.get(edit.factor, "weakened" if edit.factor < 1 else "strengthened"),
            _code(found.name) if found and found.name else "–",
            ", ".join(map(_code, words)) or "–",
        ]


def _why(mending: MendingFile) -> str:
    kept = mending.steps[: len(mending.edits)]
    if mending.risk is None or mending.stopping_risk is None or not kept:
        return "The edits were given by hand. No search chose them."
    searched, others = kept[-1].risk, kept[-1].stopping_risk
    return (
        f"The edits were searched on {mending.n_search:,} headlines, of which the classifier predicts "
        f"{mending.n_search_errors:,} wrongly. {mending.n_stopping:,} others chose how many edits are kept. The risk "
        f"is the mean probability of all classes but the true one. It fell from {mending.risk:.3f} to {searched:.3f} "
        f"on the first and from {mending.stopping_risk:.3f} to {others:.3f} on the others."
    )


def _proof(mending: MendingFile) -> Iterator[str]:
    change = mending.change
    if change is None:
        return
    yield f"On {change.n_headlines:,} headlines that chose nothing:"
    rows = [["as it is", f"{change.accuracy_before:.3f}", f"{change.macro_f1_before:.3f}", "", "", ""]]
    rows.append(_after("with the edits", change))
    if mending.last_layer:
        rows.append(_after("last layer fitted anew, without edits", mending.last_layer))
    yield _table(["", "accuracy", "macro-F1", "errors mended", "errors made", "McNemar's p"], rows)
    if change.interval:
        low, high = change.interval
        yield f"The 95 % interval of the change in accuracy is {low:+.3f} to {high:+.3f}."
    if sets := mending.random_sets:
        yield (
            f"{sets.n_as_good} of {len(sets.accuracy_changes)} random sets are as good: as many other features, which "
            "fire in about as many headlines, were edited in the same way."
        )


def _after(name: str, change: Change) -> list[str]:
    scores = (f"{change.accuracy_after:.3f}", f"{change.macro_f1_after:.3f}")
    return [name, *scores, f"{change.mended:,}", f"{change.made:,}", f"{change.mcnemar_p:.2g}"]


def _limits(run: Run, classifier: Classifier, n_unlike: int, n_read: int) -> Iterator[str]:
    yield "The figures hold for headlines like those of the study. On other texts the edits have not been measured."
    yield (
        f"The edits are a hook in memory. transformers' own loaders do not know of it: `{CLASSIFIER}/` by itself, and "
        "a copy that `save_pretrained` writes, are the classifier without the edits."
    )
    yield f"The model reads `input_ids`, at most {classifier.record.max_length} of them. Padding is on the right."
    if classifier.record.headlines.strip_links:
        yield "The tokenizer leaves out links, as in training. Its offsets are those of the text without links."
    if equal_lengths(classifier.model):
        yield "The logits change with padding, so give it texts of one length, or one by one."
    if n_unlike and run.metadata.sae.positions in ("words", "mean"):
        yield (
            f"In {n_unlike:,} of {n_read:,} headlines of the run, the token ids do not say which tokens belong to "
            "words. There the edits act on a token more or less than in the test above."
        )
    if run.metadata.sae.positions == "mean":
        yield "The SAE reads one vector per text, the mean of its words, so the edits move all words alike."
    yield "The classifier sorts headlines. It gives no advice about investments."
