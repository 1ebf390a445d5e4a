"""Baselines of an SAE: the mean activation and the words of a headline, and SAEs of which a part stays random."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor

from sae_pipeline.activations.batches import Tokens
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation.probing import SplitUnits
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.training import Job, Part, train_saes
from sae_pipeline.schema.controls import RivalName

_FROZEN: dict[RivalName, Part] = {"frozen decoder": "decoder", "frozen encoder": "encoder"}
_WORD = r"(?u)[^\W_]+"  # letters and digits, also a single one


def pooled(acts: Tensor, headline: Tensor, n_headlines: int) -> NDArray[np.float32]:
    """The mean activation of each headline's tokens, float32 [n_headlines, d_in]; 0 for a headline without tokens.

    `acts` are [n_tokens, d_in]; `headline`, int64 [n_tokens], is the 0-based index of each token's headline.
    """
    sums = torch.zeros(n_headlines, acts.shape[1], dtype=torch.float64).index_add_(
        0, headline.cpu(), acts.cpu().double()
    )
    counts = torch.bincount(headline.cpu(), minlength=n_headlines).clamp_min(1)
    return (sums / counts[:, None]).float().numpy()


def bag_of_words(headlines: Headlines) -> SplitUnits:
    """Which words each headline has: per split a sparse float32 [n_headlines, n_words] of zeros and ones.

    The words are those of the training headlines.
    """
    counter = CountVectorizer(binary=True, token_pattern=_WORD, dtype=np.float32)
    counter.fit(headlines.train.texts)
    return SplitUnits(*(counter.transform(split.texts) for split in (headlines.train, headlines.dev, headlines.test)))


def frozen_saes(
    tokens: Tokens, like: SparseAutoencoder, config: TrainConfig, l0: float
) -> dict[RivalName, SparseAutoencoder]:
    """SAEs that are trained like `like`, but whose decoder or encoder directions keep their random start values.

    arXiv 2602.14111 compares trained SAEs with such baselines. `tokens` are those that `like` was trained on. If the
    kind has a sparsity penalty, it is adjusted until L0 is that of `like`. Returns the SAEs by name.
    """
    steered = config if config.fixes_k else config.model_copy(update={"target_l0": l0})
    jobs = [Job(name, like.config, steered, part) for name, part in _FROZEN.items()]
    trained = train_saes(tokens, like.mean, like.scale, jobs, like.W_dec.device)
    return {name: one.sae for name, one in zip(_FROZEN, trained, strict=True)}
