"""A classifier with edits of features, as files that work without this package: the twin of `intervene`.

`mended.py` beside this file loads them. The edits cannot be folded into the classifier's weights, because they act
only where a feature fires.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from sae_pipeline.classifier.classifier import WEIGHTS, Classifier
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.headlines.text import LINK
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.kinds import KINDS

EDITS, LOADER, CLASSIFIER = "edits.safetensors", "mended.py", "classifier"


def loader_bytes() -> bytes:
    """The module that loads a mended classifier: `mended.py`, as it stands here."""
    return Path(__file__).with_name(LOADER).read_bytes()


def edits_bytes(
    classifier: Classifier, sae: SparseAutoencoder, factors: Mapping[int, float], without_words: Sequence[int]
) -> bytes:
    """`edits.safetensors`: what multiplying the activations of features needs, with its facts as JSON in the header.

    `factors` are by feature, and `without_words` are the ids of tokens that belong to no word. Only the edited features
    are in it, unless which ones are active depends on all of them.
    """
    config, ids = sae.config, torch.tensor(list(factors))
    site, hookpoint = resolve_hookpoint(classifier.model, config.hookpoint.layer)
    k = config.k if KINDS[config.kind].k_per_token else None
    kept = torch.arange(config.d_sae) if k else ids
    tensors = {
        "W_enc": sae.W_enc[:, kept],
        "b_enc": sae.b_enc[kept],
        "threshold": sae.threshold[kept],
        "W_dec": sae.W_dec[ids],
        "factor": torch.tensor(list(factors.values()), dtype=torch.float32),
        "column": ids if k else torch.arange(len(ids)),  # of W_enc
        "mean": sae.mean,
        "scale": sae.scale,
    }
    facts = {
        "layer": hookpoint.layer,
        "module": hookpoint.module,
        "call": site.call,
        "kind": config.kind,
        "k": k,
        "positions": config.positions,
        "features": list(factors),
        "ids_without_words": list(without_words),
        "max_length": classifier.record.max_length,
        "links": f"(?i){LINK.pattern}" if classifier.record.headlines.strip_links else None,
        "weights_sha256": classifier.record.files[WEIGHTS].sha256,
    }
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return bytes(save(whole, {"facts": json.dumps(facts)}))


def ids_without_words(tokenizer: Any, headlines: Iterable[TokenizedHeadline]) -> tuple[list[int], int]:
    """The ids of tokens that belong to no word, and the number of `headlines` in which ids alone do not say this.

    These are special tokens, and those that are white space in most places. Some tokenizers (SentencePiece) have a
    token that is white space in one place and the beginning of a word in another.
    """
    known = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}  # an unknown word is a word
    read = [(np.array(headline.input_ids), np.array(headline.words) < 0) for headline in headlines]
    counts = np.zeros((2, len(tokenizer)), np.int64)
    for ids, without in read:
        np.add.at(counts, (without.astype(np.int64), ids), 1)
    found = sorted(known | {*np.flatnonzero(counts[1] > counts[0]).tolist()})
    return found, sum(bool((np.isin(ids, found) != without).any()) for ids, without in read)
