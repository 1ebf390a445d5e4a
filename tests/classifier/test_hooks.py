"""The hook is removed after an exception, and a layer that does not exist is refused."""

import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import collate
from tests.support.cases import TEXTS


def test_hook_is_gone_after_an_exception(classifier: Classifier) -> None:
    """Whatever the edit raises comes through, and the hook is removed."""
    site, _ = resolve_hookpoint(classifier.model, 3)

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("inside")

    input_ids, mask = collate(classifier.tokenize(TEXTS[:1]), 0)
    with pytest.raises(RuntimeError, match="inside"), hooked(site, fail):
        classifier.model(input_ids=input_ids, attention_mask=mask)
    assert not site.module._forward_hooks


def test_no_such_layer(classifier: Classifier) -> None:
    """The message names the layers there are."""
    for layer in (0, 7):
        with pytest.raises(UserError, match=f"Layer {layer} does not exist: this model has layers 1 to 6"):
            resolve_hookpoint(classifier.model, layer)


def test_a_plain_hook_inside_a_stopping_one(classifier: Classifier) -> None:
    """The pass ends after the stopping hook's module, and so does the block of that hook, not only the inner one."""
    seen: list[int] = []
    first, last = (resolve_hookpoint(classifier.model, layer)[0] for layer in (1, 3))
    input_ids, mask = collate(classifier.tokenize(TEXTS[:1]), 0)
    with hooked(last, lambda _: seen.append(3), stop=True):
        with hooked(first, lambda _: seen.append(1)):
            classifier.model(input_ids=input_ids, attention_mask=mask)
        seen.append(99)
    assert seen == [1, 3]
