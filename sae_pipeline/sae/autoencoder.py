"""The sparse autoencoder: encode, decode, save, load.

    x_norm = (x − mean) / scale          mean ‖x_norm‖² = d_in over the training tokens
    pre    = x_norm · W_enc + b_enc
    f      = pre where pre > threshold, else 0;  kind "topk" keeps only the k largest of each token
    x̂      = mean + scale · (f · W_dec + b_dec)

One rule serves all kinds. The threshold, which is at least 0, is zero for ReLU and TopK, learnt for JumpReLU, one
number for all features of BatchTopK and Matryoshka, and the shift between the two paths of Gated. Decoder rows have
length 1, so a feature's activation f is the length of its contribution in x_norm; scale · f is that length in the
classifier's own units. (Bricken et al. 2023, "Towards Monosemanticity"; Cunningham et al. 2023.)
"""

import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sae_pipeline.artefacts.checksums import CHANGED
from sae_pipeline.artefacts.tensor_files import tensors_checksum
from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.config import SAE_FORMATS
from sae_pipeline.errors import UserError, command
from sae_pipeline.kernels import Encoder, Lists, spmm
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind
from sae_pipeline.schema.kinds import KINDS, Kind
from sae_pipeline.schema.run import Hookpoint

Positive = Annotated[int, Field(ge=1)]
_TENSORS = ("W_enc", "b_enc", "threshold", "W_dec", "b_dec", "mean", "scale")


class SaeConfig(BaseModel):
    """What an SAE is and which activations it was trained on. It is saved with the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    d_in: Positive
    d_sae: Positive
    kind: Kind = "relu"
    k: int | None = Field(None, ge=1, description="active features per token, or on average")
    prefixes: tuple[Positive, ...] = Field((), description="matryoshka: sizes of the nested dictionaries, up to d_sae")
    recipe: Literal["default", "seed", "imported"]
    l1_coefficient: float
    sparsity_weight: float = Field(description="λ against Σ(x−x̂)²; 0 where k sets the sparsity")
    positions: PositionKind
    hookpoint: Hookpoint
    classifier_hash: str
    data_hash: str


class ActiveFeatures(NamedTuple):
    """The active entries of some tokens, sorted by token, then feature."""

    token: NDArray[np.int64]  # [n_entries] 0-based index of the token
    feature: NDArray[np.int64]  # [n_entries]
    activation: NDArray[np.float32]  # [n_entries] f > 0


class SparseAutoencoder(nn.Module):
    """An SAE in fp32.

    Parameters: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in] with rows of length 1, b_dec [d_in].
    Buffers: threshold [d_sae], mean [d_in], scale [].

        sae = SparseAutoencoder.load("finbert_sae/layer_8_32k.pt")
        feature_acts = sae.encode(hidden_states)    # [..., d_in] → [..., d_sae]
        reconstruction = sae.decode(feature_acts)   # [..., d_sae] → [..., d_in]

    For many tokens use `encode_active`: it lists only the active features, in bounded memory.
    """

    threshold: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: SaeConfig, mean: Tensor, scale: Tensor) -> None:
        """Start with weights of zero. `mean` [d_in] and `scale`, one number, put activations into x_norm."""
        super().__init__()
        self._kept_encoder: tuple[object, Encoder] | None = None
        self.config = config
        self.W_enc = nn.Parameter(torch.zeros(config.d_in, config.d_sae))
        self.b_enc = nn.Parameter(torch.zeros(config.d_sae))
        self.W_dec = nn.Parameter(torch.zeros(config.d_sae, config.d_in))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))
        self.register_buffer("threshold", torch.zeros(config.d_sae))
        self.register_buffer("mean", mean.detach().clone().float())
        self.register_buffer("scale", scale.detach().clone().float().reshape(()))

    def normalise(self, x: Tensor) -> Tensor:
        """x [..., d_in] in the classifier's units → x_norm [..., d_in]."""
        return (x - self.mean) / self.scale

    def encode(self, x: Tensor) -> Tensor:
        """x [..., d_in] in the classifier's units → feature_acts [..., d_sae], 0 where a feature is not active."""
        pre = self.normalise(x) @ self.W_enc + self.b_enc
        f = torch.relu(pre) * (pre > self.threshold)
        if self._k_per_token is None:
            return f
        top = f.topk(min(self._k_per_token, f.shape[-1]))
        return torch.zeros_like(f).scatter(-1, top.indices, top.values)

    def encode_features(self, x: Tensor, ids: Tensor) -> Tensor:
        """The columns `ids` [n_ids] of `encode(x)` for x [n_tokens, d_in]: feature_acts [n_tokens, n_ids].

        Only these features are computed, unless which are active depends on all of them (kind topk).
        """
        if self._k_per_token is None:
            pre = self.normalise(x) @ self.W_enc[:, ids] + self.b_enc[ids]
            return torch.relu(pre) * (pre > self.threshold[ids])
        lists = self.encode_lists(x)
        column = torch.full((self.config.d_sae,), -1, device=x.device)
        column[ids] = torch.arange(len(ids), device=x.device)
        at = column[lists.cols.long()]
        f = lists.values.new_zeros(len(x), len(ids))
        f[lists.rows[at >= 0], at[at >= 0]] = lists.values[at >= 0]
        return f

    @property
    def _k_per_token(self) -> int | None:
        """k where the k largest of each token are active; None where all above a threshold are."""
        return self.config.k if KINDS[self.config.kind].k_per_token else None

    def encode_lists(self, x: Tensor) -> Lists:
        """The active entries of `encode(x)` for x [n_tokens, d_in], as ragged lists on x's device.

        Computed in fp32 and bounded memory. `encode_active` returns the same entries as numpy arrays.
        """
        return self._encoder()(self.normalise(x))

    def _encoder(self) -> Encoder:
        """The encoder with the present weights; it is kept until one of them changes."""
        weights = (self.W_enc, self.b_enc, self.threshold)
        state = [(t.data_ptr(), t.device, 0 if t.is_inference() else t._version) for t in weights]
        if self._kept_encoder is None or self._kept_encoder[0] != state:
            W_enc, b_enc, threshold = (t.detach() for t in weights)
            self._kept_encoder = state, Encoder(W_enc, b_enc, threshold, self._k_per_token)
        return self._kept_encoder[1]

    def encode_active(self, x: Tensor) -> ActiveFeatures:
        """The active entries of `encode(x)` for x [n_tokens, d_in], in fp32 and bounded memory."""
        lists = self.encode_lists(x)
        return ActiveFeatures(lists.rows.cpu().numpy(), lists.cols.long().cpu().numpy(), lists.values.cpu().numpy())

    def decode_lists(self, lists: Lists) -> Tensor:
        """Active entries as `encode_lists` returns them → x̂ [n_tokens, d_in] in the classifier's units."""
        return self.mean + self.scale * (spmm(lists, self.W_dec) + self.b_dec)

    def decode(self, feature_acts: Tensor) -> Tensor:
        """feature_acts [..., d_sae] → x̂ [..., d_in] in the classifier's units."""
        return self.mean + self.scale * (feature_acts @ self.W_dec + self.b_dec)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction x̂ of x, both [..., d_in] in the classifier's units."""
        return self.decode(self.encode(x))

    def save(self, path: Path) -> None:
        """Write weights and config to one file. `torch.load(path, weights_only=True)` reads it too."""
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in _TENSORS}
        config = self.config.model_dump()
        checksum = tensors_checksum(tensors, json.dumps(config))
        buffer = io.BytesIO()  # torch's own writer turns a full disk into an unreadable RuntimeError
        torch.save({"config": config, "checksum": checksum, "state_dict": tensors}, buffer)
        write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "SparseAutoencoder":
        """Read an SAE that `save` wrote, with gradients off. Nothing in the file is executed.

        Raises UserError when the file is missing, has changed since it was saved, or is not an SAE of this program.
        """
        path = Path(path)
        verb = maker(path)
        again = f"`{command(verb)}` makes it again"
        if not path.is_file():
            raise UserError(f"There is no SAE at {path}; make it first with `{command(verb)}`.")
        try:
            payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            config, tensors = SaeConfig.model_validate(payload["config"]), payload["state_dict"]
            checksum = tensors_checksum(tensors, json.dumps(payload["config"]))
            sae = cls(config, tensors["mean"], tensors["scale"])
            sae.load_state_dict(tensors)
        except Exception as error:  # torch raises errors of many kinds for a damaged file
            raise UserError(f"{path} is damaged, or is not an SAE of this program; {again}.") from error
        if checksum != payload.get("checksum"):
            raise UserError(f"{path} {CHANGED}; {again}.")
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise UserError(
                f"{path} holds weights that are not finite; train the SAE again with a smaller --learning-rate."
            )
        return sae.to(device).requires_grad_(False)


def stored_config(path: Path) -> SaeConfig:
    """The config in a file that `save` wrote and whose checksum fits. The weights are not read."""
    return SaeConfig.model_validate(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["config"])


def maker(path: Path) -> str:
    """The verb that makes the SAE at a path such as `layer_8_4k-saelens.pt`."""
    if path.stem.endswith("-e2e"):
        return "finish"
    return "import" if path.stem.endswith(tuple(f"-{name}" for name in SAE_FORMATS)) else "train"


def size_name(d_sae: int, positions: PositionKind = "words") -> str:
    """The short name of an SAE: "4k" for 4096, "4k-mean" where it reads one vector per headline.

    Sizes that are no multiple of 1024 keep their number.
    """
    size = f"{d_sae // 1024}k" if d_sae % 1024 == 0 else str(d_sae)
    return f"{size}-{positions}" if positions in PER_HEADLINE else size
