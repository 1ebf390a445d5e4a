"""Tries every family of the installed transformers that has a sequence-classification head.

`make check-encoders` (some 2 minutes). Each family is a tiny random classifier with a tokenizer like its own; see
`tests/support/families.py`. The table in `docs/encoders.md` is printed first, and the last line is one JSON object
with a record per family:

| field | content |
| --- | --- |
| `works` | whether the whole road works |
| `max_logit_difference` | the largest difference between any logit that a study computes and the plain model's |
| `cut` | true: an edit reruns the layers after the hookpoint; false: it reruns the whole model |
| `equal_lengths` | whether a batch holds headlines of one length, because padding would change the logits |
| `refused` | the sentence with which `finetune` and `adopt` refuse the family |
| `not_text` | what a family reads that is no text; it is not tried |
"""

import json
import traceback
import warnings
from typing import Any

import transformers
from tqdm.auto import tqdm

from tests.support.families import FAMILIES, NOT_TEXT, examine

_MOST = 1e-4  # difference of a logit that counts as equal


def main() -> int:
    """Print the table and the records; 1 if a family ends in a traceback or gives other logits."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    records, faults = {}, []
    for name in tqdm(FAMILIES, desc="families", unit="family"):
        try:
            records[name] = {"not_text": NOT_TEXT[name]} if name in NOT_TEXT else examine(name).record
        except Exception:
            faults.append(f"{name}: {traceback.format_exc()}")
        else:
            if records[name].get("max_logit_difference", 0.0) > _MOST:
                faults.append(f"{name}: {records[name]}")
    print(*table(records), sep="\n")
    print(*faults, sep="\n")
    print(json.dumps(records))
    return 1 if faults else 0


def table(records: dict[str, dict[str, Any]]) -> list[str]:
    """The families by what happens to them, as lines of Markdown."""
    groups = {
        "works": [name for name, r in records.items() if r.get("cut")],
        "works; an edit reruns the whole model": [name for name, r in records.items() if r.get("cut") is False],
        "of these, batches hold headlines of one length": [
            name for name, r in records.items() if r.get("equal_lengths")
        ],
        "refused": [name for name, r in records.items() if "refused" in r],
        "not tried, because it reads other things than text": [name for name, r in records.items() if "not_text" in r],
    }
    lines = ["| what happens | families |", "| --- | --- |"]
    return [*lines, *(f"| {what} | {len(names)}: {', '.join(names)} |" for what, names in groups.items())]


if __name__ == "__main__":
    raise SystemExit(main())
