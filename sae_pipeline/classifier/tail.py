"""Ways to compute a classifier's logits: from its hidden states at a layer, and faster from its input.

The fast way from hidden states is a cut: a model of the layers after the hookpoint. Where a family cannot be cut, the
whole model runs, and the hidden states replace what it computes at the hookpoint. This gives the same numbers, but
takes longer.

The head of most encoders reads only the first position. So the last layer must compute keys and values at all
positions, and everything else at the first one only. Models differ, so each fast way is compared with the whole model
on a small batch before it is used.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.errors import UserError
from sae_pipeline.machine.device import exact_fp32


def logits_only(model: Any, keep: int = 0) -> Any:
    """`model` without the work that its logits do not need; `model` itself where nothing can be left out.

    The result shares the model's modules and has its gradients. Layer `keep` still computes all positions, so that it
    can be hooked.
    """
    try:
        short = _cut(model, 0, first_position_only=True)
        agrees = keep < model.config.num_hidden_layers and short is not None and _agrees(short, model, 0)
        return short if agrees else model
    except UserError:  # the model has no list of layers
        return model


class Tail:
    """The way from hidden states after `layer` to logits. It shares the weights of the model, which stays unchanged."""

    def __init__(self, model: Any, layer: int) -> None:
        """Cut `model` after `layer` where its family allows it. Raises UserError for a layer that does not exist."""
        self.n_classes: int = model.config.num_labels
        self.equal_lengths = equal_lengths(model)  # whether the headlines of a batch must be of one length
        self._site, _ = resolve_hookpoint(model, layer)
        self._model = model
        cuts = (_cut(model, layer, first_position_only) for first_position_only in (True, False))
        self._network = next((cut for cut in cuts if cut is not None and _agrees(cut, model, layer)), None)

    @property
    def whole(self) -> bool:
        """Whether the model cannot be cut, so that all of its layers run."""
        return self._network is None

    @property
    def module(self) -> Any:
        """What runs: the cut model, or the whole one."""
        return self._model if self._network is None else self._network

    def __call__(self, hidden: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Logits, float32 [n_headlines, n_classes], from hidden states [n_headlines, n_positions, d_in].

        `mask` [n_headlines, n_positions] is 1 where there is a token; `input_ids` may be anything where it is 0.
        """
        if self._network is not None:
            return self._network(inputs_embeds=hidden, attention_mask=mask).logits.float()  # type: ignore[no-any-return]
        input_ids = input_ids.masked_fill(mask == 0, self._model.config.pad_token_id)
        with hooked(self._site, lambda _: hidden):
            return self._model(input_ids=input_ids, attention_mask=mask).logits.float()  # type: ignore[no-any-return]


@torch.no_grad()
@exact_fp32()
def _agrees(short: Any, model: Any, layer: int) -> bool:
    """Whether `short`, which begins after `layer`, gives the model's logits on a small padded batch."""
    site, _ = resolve_hookpoint(model, max(layer, 1))
    device = next(model.parameters()).device
    pad_id = model.config.pad_token_id or 0
    ids = torch.arange(pad_id + 1, pad_id + 17, device=device).view(2, 8) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    ids[1, 5:] = pad_id
    seen: list[Tensor] = []
    in_training = [part for part in model.modules() if part.training]
    model.eval()  # without dropout
    try:
        with hooked(site, seen.append):
            logits = model(input_ids=ids, attention_mask=mask).logits
        given = {"inputs_embeds": seen[0]} if layer else {"input_ids": ids}
        found = short(**given, attention_mask=mask).logits
        return torch.allclose(found, logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max()))
    except Exception:  # families raise what they like where they call their parts in another way
        return False
    finally:
        for part in in_training:
            part.training = True


class _Given(nn.Module):
    """Replaces the embeddings and returns the hidden states that it is given."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.is_floating_point())


class _FirstPosition(nn.Module):
    """Computes a layer's output at position 0 alone, [n_headlines, 1, d_in]."""

    def __init__(self, layer: nn.Module, learns: bool) -> None:
        """With `learns`, all weights get the gradients that they get in the whole layer."""
        super().__init__()
        self.layer: Any = layer
        self.learns = learns

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        layer, first = self.layer, hidden[:, :1]
        distil = hasattr(layer.attention, "q_lin")
        inner = layer.attention if distil else layer.attention.self
        names = ("q_lin", "k_lin", "v_lin") if distil else ("query", "key", "value")
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        attend = _attend if self.learns or inner.training else _attend_without_keys
        mixed = attend(inner, [getattr(inner, name) for name in names], first, hidden, mask)
        if distil:
            attended = layer.sa_layer_norm(inner.out_lin(mixed) + first)
            return layer.output_layer_norm(layer.ffn(attended) + attended)  # type: ignore[no-any-return]
        attended = layer.attention.output(mixed, first)
        return layer.output(layer.intermediate(attended), attended)  # type: ignore[no-any-return]


def _attend(inner: Any, projections: Sequence[Any], first: Tensor, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What the first position attends to, [n_headlines, 1, d_in], from keys and values at all positions."""
    query, key, value = (
        project(x).unflatten(-1, (-1, inner.attention_head_size)).transpose(1, 2)
        for project, x in zip(projections, (first, hidden, hidden), strict=True)
    )
    dropout = inner.dropout.p if inner.training else 0.0
    mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(2)


def _attend_without_keys(
    inner: Any, projections: Sequence[Any], first: Tensor, hidden: Tensor, mask: Tensor | None
) -> Tensor:
    """The same without dropout, from the hidden states themselves.

    For one query and the weights a, q·(W_k x) = (W_k'q)·x and Σ a·(W_v x) = W_v (Σ a·x), so W_k and W_v need not be
    applied at each position. The key's bias is the same at all positions, so it changes no weight. The heads differ in
    their queries alone.
    """
    query, key, value = projections
    size = inner.attention_head_size
    by_head = query(first[:, 0]).unflatten(-1, (-1, size))
    queries = torch.einsum("nhs,hsd->nhd", by_head, key.weight.unflatten(0, (-1, size)))
    own = hidden[:, None]  # [n_headlines, 1, n_positions, d_in], for all heads
    mixed = nn.functional.scaled_dot_product_attention(queries[:, None], own, own, attn_mask=mask, scale=size**-0.5)
    values = torch.einsum("nhd,hsd->nhs", mixed[:, 0], value.weight.unflatten(0, (-1, size)))
    attended: Tensor = values.flatten(1) + value.bias
    return attended[:, None]


def _cut(model: Any, layer: int, first_position_only: bool) -> Any:
    """A model of the same modules that has only the layers after `layer`; None where that cannot be made.

    For `layer` > 0, it takes hidden states as its `inputs_embeds`.
    """
    _, hookpoint = resolve_hookpoint(model, max(layer, 1))
    *path, last = hookpoint.module.rpartition(".")[0].split(".")
    short = _shallow(model)
    parent = short
    for name in path:
        parent._modules[name] = _shallow(getattr(parent, name))
        parent = parent._modules[name]
    if len(parent._modules[last]) != model.config.num_hidden_layers:  # layers share modules
        return None
    layers = list(parent._modules[last])[layer:]
    if first_position_only and layers:
        layers[-1] = _FirstPosition(layers[-1], learns=layer == 0)  # after the hookpoint no weight is trained
    parent._modules[last] = nn.ModuleList(layers)
    if layer == 0:
        return short
    base = short.base_model
    if base is short:
        return None
    if "embeddings" in base._modules:  # other families hand `inputs_embeds` to their layers as they are, or disagree
        base._modules["embeddings"] = _Given()
    return short


def _shallow(module: Any) -> Any:
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied
