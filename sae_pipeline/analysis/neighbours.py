"""The nearest neighbours of each feature, by decoder row and by the headlines on which it fires.

Decoder neighbours belong to the SAE and are kept beside it. Co-firing is counted exactly on up to 2,048 headlines:
those with the lowest ids, which are hashes. This is a random sample, and it does not depend on how the processes share
the headlines. A smaller run is counted whole.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from orjson import Fragment, dumps
from safetensors.torch import save
from torch import Tensor

from sae_pipeline.arrays import Ints
from sae_pipeline.artefacts.tensor_files import load_tensors, tensor_bytes, tensors_checksum
from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.errors import DamageError
from sae_pipeline.kernels import Lists, largest, most_alike
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import MIN_HEADLINES
from sae_pipeline.schema.dicts import MadeWithDict, NeighboursDict

K = 10  # neighbours of a feature
SAMPLE = 2048  # headlines on which co-firing is counted
_ROWS = 1024  # decoder rows compared with all others at a time


class Cofiring:
    """The features that fire on each headline of the sample. Samples of different headlines merge by `+`."""

    def __init__(self) -> None:
        self.features: dict[str, Ints] = {}  # by headline_id

    def add(self, firings: Firings, first: int, headline_ids: list[str]) -> None:
        """Take those of headlines first, first + 1, … that belong to the sample."""
        kept = set(sorted({*self.features, *headline_ids})[:SAMPLE])
        bounds = np.searchsorted(firings.group_headline, np.arange(first, first + len(headline_ids) + 1))
        feature = firings.group_feature.astype(np.int32)
        for row, name in enumerate(headline_ids):
            if name in kept:
                self.features[name] = feature[bounds[row] : bounds[row + 1]].copy()
        self._keep(kept)

    def __add__(self, other: "Cofiring") -> "Cofiring":
        """The sample from the headlines of both."""
        total = Cofiring()
        total.features = {**self.features, **other.features}
        total._keep(set(sorted(total.features)[:SAMPLE]))
        return total

    def _keep(self, names: set[str]) -> None:
        for name in self.features.keys() - names:
            del self.features[name]

    def neighbours(self, d_sae: int) -> tuple[Tensor, Tensor]:
        """The K features with the highest Jaccard index of headlines, and the indices, each [d_sae, K].

        −1 and 0 stand where there are fewer. A feature with thin support (`MIN_HEADLINES`) has no neighbours.
        """
        rows = [self.features[name] for name in sorted(self.features)]
        ptr = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
        cols = torch.from_numpy(np.concatenate([*rows, np.zeros(0, np.int32)]))
        return most_alike(Lists(ptr, cols, torch.ones(len(cols))), d_sae, K, MIN_HEADLINES)


@torch.no_grad()
def decoder_neighbours(W_dec: Tensor, k: int = K) -> tuple[Tensor, Tensor]:
    """The features with the nearest rows of W_dec [d_sae, d_in], and the cosines: int32 and float32 [d_sae, k]."""
    unit = W_dec / W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12)
    k = min(k, len(unit) - 1)
    found, cosines = [], []
    for start in range(0, len(unit), _ROWS):
        rows = unit[start : start + _ROWS]
        cosine = rows @ unit.T
        cosine[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -2.0
        best = largest(cosine, k)
        found.append(best[0])
        cosines.append(best[1])
    return torch.cat(found), torch.cat(cosines)


def kept_decoder_neighbours(W_dec: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """The result of `decoder_neighbours`, computed once per SAE and kept in the file `path`."""
    made_from = {"W_dec": tensors_checksum({"W_dec": W_dec})}
    with suppress(DamageError):
        kept, facts = load_tensors(path)
        if facts == made_from:
            return kept["features"], kept["cosines"]
    found, cosines = decoder_neighbours(W_dec)
    write_file(path, tensor_bytes({"features": found, "cosines": cosines}, made_from))
    return found, cosines


def neighbours_record(decoder: tuple[Tensor, Tensor], cofiring: Cofiring, d_sae: int) -> NeighboursDict:
    """The content of `neighbours.json`."""
    alike, jaccard = cofiring.neighbours(d_sae)
    present = (alike >= 0).sum(1).tolist()
    known = [row[:n] for row, n in zip(alike.tolist(), present, strict=True)]
    index = [row[:n] for row, n in zip(six_digits(jaccard.numpy()).tolist(), present, strict=True)]
    return {
        "d_sae": d_sae,
        "k": K,
        "n_headlines": len(cofiring.features),
        "by_decoder": decoder[0].numpy(),
        "decoder_cosine": decoder[1].clamp(-1, 1).numpy(),
        "by_cofiring": Fragment(dumps(known)),
        "cofiring": Fragment(dumps(index)),
    }


def decoder_bytes(W_dec: Tensor, made_with: MadeWithDict) -> bytes:
    """The content of `decoder.safetensors`: W_dec [d_sae, d_in] in float16, and the run's models as JSON."""
    header = {"made_with": dumps(made_with).decode()}  # one entry only, as safetensors writes several in any order
    return bytes(save({"W_dec": W_dec.detach().half().cpu().contiguous()}, header))
