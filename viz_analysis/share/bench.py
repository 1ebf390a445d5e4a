"""`export --to site --bench`: the run's classifier and SAE beside it, so that the bench works without a server.

The browser runs the graphs of `bert_graphs.py` in WebAssembly (onnxruntime-web), and does the rest of what
`viz_analysis/live/` does in `sae-viewer/src/share/bench/`.

| file | content |
| --- | --- |
| `bench.json` | tokenizer, limits, and the SAE's mean, scale, b_dec and rule |
| `read.onnx`, `tail.onnx`, `slopes.onnx` | see `bert_graphs.py` |
| `decoder.bin` | W_dec row by row, in half precision |
| `ort.js`, `ort.wasm` | onnxruntime-web, as `npm run build` has copied it into the built viewer |
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.errors import UserError
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.edits import MAX_EDITS, MAX_VALUE
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.live_types import MAX_CHARACTERS, LiveAnswer

RUNTIME = "onnxruntime"
"""The folder of the built viewer with onnxruntime-web. Wheels have none, because it is larger than all the rest."""

_RUNTIME_FILES = ("ort.js", "ort.wasm")


def live_answer(run_id: str) -> LiveAnswer:
    """The answer of `/api/live` for a run whose model is beside it."""
    return LiveAnswer(
        live=True,
        message=None,
        run_id=run_id,
        device="this browser",
        max_characters=MAX_CHARACTERS,
        max_edits=MAX_EDITS,
        max_value=MAX_VALUE,
        places=0,
    )


def check_bench(viewer: Path) -> None:
    """Raise UserError where a package or a file that the bench needs is missing."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("A site with a bench needs the package onnx: pip install onnx.") from error
    if not all((viewer / RUNTIME / name).is_file() for name in _RUNTIME_FILES):
        raise UserError(
            "A site with a bench needs onnxruntime-web, which a wheel leaves out; export from a checkout of the "
            "repository, after `make viewer-build`."
        )


def write_bench(folder: Path, study: Path, run: RunMetadata, viewer: Path, exact: bool = False) -> None:
    """Write the files of the bench; with `exact`, all weights in float32.

    Raises UserError where the classifier or the SAE is missing or has changed, and for families other than BERT.
    """
    if run.sae.positions in PER_HEADLINE:
        raise UserError(
            "A bench without a server is made for SAEs that read tokens, and this one reads one vector per headline: "
            "leave out --bench, and use the server with --live."
        )
    import torch

    from sae_pipeline.study.present import run_parts
    from viz_analysis.share.bert_graphs import BertGraphs

    classifier, sae = run_parts(study, run, torch.device("cpu"))
    tokenizer = _tokenizer(classifier.tokenizer, classifier.record.model)
    _check_family(classifier.model, classifier.record.model)
    graphs = BertGraphs(classifier.model, sae, exact)
    for name, graph in (("read", graphs.read), ("tail", graphs.tail), ("slopes", graphs.slopes)):
        write_file(folder / f"{name}.onnx", graph(), "--out")
    rows = sae.W_dec.detach().numpy()
    write_file(folder / "decoder.bin", rows.astype(np.float32 if exact else np.float16).tobytes(), "--out")
    facts = {
        "tokenizer": tokenizer,
        "max_length": classifier.record.max_length,
        "max_edits": MAX_EDITS,
        "strip_links": classifier.record.headlines.strip_links,
        "positions": sae.config.positions,
        "k": sae.config.k if KINDS[sae.config.kind].k_per_token else None,
        "exact": exact,
        "d_sae": sae.config.d_sae,
        "mean": sae.mean.numpy(),
        "scale": sae.scale.item(),
        "b_dec": sae.b_dec.detach().numpy(),
    }
    write_file(folder / "bench.json", orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY), "--out")
    for name in _RUNTIME_FILES:
        shutil.copyfile(viewer / RUNTIME / name, folder / name)


def _check_family(model: Any, name: str) -> None:
    config = model.config
    plain = (
        type(model).__name__ == "BertForSequenceClassification"
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    )
    if not plain:
        raise UserError(
            f"{name} is a {type(model).__name__} ({getattr(config, 'hidden_act', '?')}); a bench without a server is "
            "made for BERT classifiers alone: leave out --bench, and use the server with --live."
        )


def _tokenizer(tokenizer: Any, name: str) -> dict[str, Any]:
    """What the browser needs of a BERT tokenizer. Raises UserError for another one."""
    spelled = json.loads(tokenizer.backend_tokenizer.to_str())
    kinds = [(spelled.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
        raise UserError(
            f"The tokenizer of {name} is no WordPiece of BERT, and a bench without a server is made for these alone: "
            "leave out --bench, and use the server with --live."
        )
    rules, model = spelled["normalizer"], spelled["model"]
    lower = rules["lowercase"]
    return {
        "vocabulary": sorted(model["vocab"], key=model["vocab"].__getitem__),
        "unknown": model["unk_token"],
        "prefix": model["continuing_subword_prefix"],
        "most_letters": model["max_input_chars_per_word"],
        "clean": rules["clean_text"],
        "chinese": rules["handle_chinese_chars"],
        "strip_accents": lower if rules["strip_accents"] is None else rules["strip_accents"],
        "lower": lower,
        "first": tokenizer.cls_token,
        "last": tokenizer.sep_token,
    }
