"""Linear layers that hold bf16 weights."""

import torch

from sae_pipeline.classifier.low_precision import copy_in_bf16
from tests.support.cases import Case


def test_the_numbers_are_those_of_autocast(case: Case) -> None:
    """Bit for bit. The model stays as it was, and tensors that are not cast are shared."""
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    low = copy_in_bf16(case.model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = (
            model(input_ids=case.input_ids, attention_mask=case.mask).logits for model in (case.model, low)
        )
    assert torch.equal(found, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in case.model.state_dict().items())
    own, shared = dict(low.named_parameters()), dict(case.model.named_parameters())
    cast = {name for name, tensor in own.items() if tensor.dtype is torch.bfloat16}
    assert len(cast) > 20 and {name for name in own if own[name] is not shared[name]} == cast
