"""The verb contrast: change texts a little, compare predictions and features, and write it into a run."""

import time
from pathlib import Path

import numpy as np
import torch

from sae_pipeline.artefacts.content_names import content_name
from sae_pipeline.causal.probe import Probe
from sae_pipeline.config import ContrastConfig
from sae_pipeline.contrast.measure import measure
from sae_pipeline.contrast.pairs import Pair, changed_texts, chosen_kinds, table_pairs, template_texts
from sae_pipeline.errors import UserError
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.compact_json import array
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.index import index_run
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout
from sae_pipeline.study.seals import refuse_sealed


@readable_memory_errors("comparing the texts")
def contrast(config: ContrastConfig, root: Path, device: torch.device) -> ContrastFile:
    """Compare changed texts with the texts as they are; write `contrast.json` into the run's folder.

    Raises UserError where no change applies to any text, and for a table of pairs that cannot be read.
    """
    started = time.perf_counter()
    run = read_run(find_run(Layout(root).runs, config.run))
    pairs, left_out, n_headlines = _pairs(run, config)
    if config.pairs:
        own = (text for pair in pairs if pair.source == "table" for text in (pair.before, pair.after))
        refuse_sealed(Layout(root), own, config.pairs)
    classifier, sae = present.run_parts(root, run.metadata, device)
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, config.tokens_per_batch)
    kinds = measure(probe, classifier, pairs, config)
    named = content_name(Path(config.pairs)) if config.pairs else None
    head = {
        **made_from(run),
        "device": str(device),
        "seconds": round(time.perf_counter() - started, 2),
        "config": config.model_copy(update={"pairs": named}).model_dump(mode="json"),
        "labels": run.metadata.labels,
        "n_headlines": n_headlines,
        "left_out": left_out,
    }
    data = b"".join(array(head, "kinds", [kind.model_dump() for kind in kinds]))
    add_file(run, CONTRAST, data)
    index_run(run.folder)
    return ContrastFile.model_validate_json(data)


def _pairs(run: Run, config: ContrastConfig) -> tuple[list[Pair], list[str], int]:
    """All pairs, a sentence for each kind that applies to no text, and how many headlines of the run were tried."""
    labels = run.metadata.labels
    kinds, left_out = chosen_kinds(config.kinds, labels)
    own = table_pairs(Path(config.pairs).expanduser(), labels) if config.pairs else []
    drawn = np.random.default_rng(config.seed).permutation(len(run.prompts))[: config.max_headlines]
    numbers: list[int | None] = sorted(drawn.tolist())
    texts = [run.prompts[number].text for number in numbers if number is not None]
    if config.templates:
        made = template_texts(config.seed)
        texts, numbers = [*texts, *made], [*numbers, *[None] * len(made)]
    pairs = list(changed_texts(texts, numbers, kinds, labels, config.seed))
    found = {pair.kind for pair in pairs}
    if texts:
        left_out += [f"{kind.label}: applies to none of the texts." for kind in kinds if kind.name not in found]
    if not pairs and not own:
        raise UserError(
            f"No change applies to any text of {run.metadata.run_id}: {' '.join(left_out) or 'no texts are changed.'} "
            "Choose other --kinds, more --max-headlines, or give --pairs."
        )
    return [*pairs, *own], left_out, len(drawn)
