"""The mended classifier in the folder of this file, for torch, transformers and safetensors alone.

    from mended import load, pipeline
    classify = pipeline("FOLDER")        # an ordinary text-classification pipeline
    model, tokenizer = load("FOLDER")    # an ordinary AutoModelForSequenceClassification with a hook at one layer

The hook moves the layer's output x where the SAE reads it. f are the activations of the edited features:

    f  = pre where pre > threshold, else 0,   pre = (x − mean) / scale · W_enc + b_enc
    x' = x + scale · ((factor − 1) · f) · W_dec

Where k is given, W_enc holds all features, and only the k largest f at a position are not 0.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from tokenizers import Regex, normalizers  # which transformers needs
from torch import Tensor


def pipeline(folder: str | Path, **settings: Any) -> Any:
    """A text-classification pipeline with the edits; `settings` are those of `transformers.pipeline`."""
    model, tokenizer = load(folder)
    settings = {"truncation": True, **settings}
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, **settings)


def load(folder: str | Path) -> tuple[Any, Any]:
    """The classifier with the edits, and its tokenizer, which cuts long texts with `truncation=True`."""
    edits, source = Path(folder, "edits.safetensors"), Path(folder, "classifier")
    for path in (edits, source / "config.json", source / "model.safetensors"):
        if not path.is_file():
            raise FileNotFoundError(f"There is no {path}; copy the whole folder, or export it again.")
    with safe_open(edits, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest() != facts["weights_sha256"]:
        raise ValueError(f"The weights in {source} are not those that the edits were made for; export them together.")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(source)).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(source), model_max_length=facts["max_length"], padding_side="right", split_special_tokens=True
    )
    if facts["links"]:  # the classifier reads texts without links
        steps = [normalizers.Replace(Regex(facts["links"]), ""), tokenizer.backend_tokenizer.normalizer]
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([step for step in steps if step is not None])
    _hook(model, facts, tensors)
    return model, tokenizer


def _hook(model: Any, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Edit every forward pass of the model from now on."""
    counted, calls = torch.empty(0), 0  # of this pass: the positions that the SAE reads, and how often the layer ran

    def begin(_model: Any, args: Any, named: Any) -> None:
        nonlocal counted, calls
        ids, mask = [*args, *(named.get(name) for name in ("input_ids", "attention_mask")[len(args) :])][:2]
        if ids is None:
            raise ValueError("The mended classifier reads input_ids and takes no inputs_embeds.")
        counted, calls = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool(), 0
        if facts["positions"] == "cls":
            counted = counted & (counted.cumsum(1) == 1)
        elif facts["positions"] != "all":
            counted = counted & ~torch.isin(ids, torch.tensor(facts["ids_without_words"], device=ids.device))

    def end(_module: Any, _args: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != facts["call"] + 1:  # layers that share one module
            return output
        parts = [output] if isinstance(output, Tensor) else list(output)
        tensors.update({name: tensor.to(parts[0].device) for name, tensor in tensors.items()})
        parts[0] = _moved(parts[0], counted.to(parts[0].device), facts, **tensors)
        return parts[0] if isinstance(output, Tensor) else type(output)(parts)

    model.register_forward_pre_hook(begin, with_kwargs=True)
    model.get_submodule(facts["module"]).register_forward_hook(end)


def _moved(hidden: Tensor, counted: Tensor, facts: dict[str, Any], **t: Tensor) -> Tensor:
    """A copy of `hidden` [n_texts, n_positions, d_in], edited where `counted` [n_texts, n_positions] is true."""
    text, position = counted.nonzero(as_tuple=True)
    x = members = hidden[text, position].float()
    if facts["positions"] == "mean":  # one vector per text
        total = members.new_zeros(len(hidden), hidden.shape[-1]).index_add(0, text, members)
        x = total / counted.sum(1, keepdim=True).clamp(min=1)
    pre = (x - t["mean"]) / t["scale"] @ t["W_enc"] + t["b_enc"]
    f = torch.relu(pre) * (pre > t["threshold"])
    if facts["k"]:
        top = f.topk(min(facts["k"], f.shape[1]))
        f = torch.zeros_like(f).scatter(1, top.indices, top.values)
    delta = t["scale"] * (((t["factor"] - 1) * f[:, t["column"]]) @ t["W_dec"])
    moved = members + (delta[text] if facts["positions"] == "mean" else delta)
    return hidden.index_put((text, position), moved.to(hidden.dtype))
