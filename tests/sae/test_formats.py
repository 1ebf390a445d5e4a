"""SAEs in the files of other libraries: the same f and x̂ both ways, and one sentence for files that are wrong."""

import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sae_pipeline.artefacts.writing import write_json
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats import foreign_files, read_foreign
from sae_pipeline.sae.formats.facts import residual_layer
from sae_pipeline.sae.formats.plain import PlainSae, Recorded, own_form
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.schema.run import Hookpoint
from tests.support import foreign_saes
from tests.support.foreign_saes import CLASSES, D_IN, D_SAE, Formula, K
from tests.support.saes import drawn, random_sae

HOOKPOINT = Hookpoint(layer=2, module="encoder.layer.1")
X = drawn(9, 300, D_IN) * 3 + 1
WRITERS: dict[str, Callable[[Path], Formula]] = {
    "saelens": lambda folder: foreign_saes.saelens(folder, "jumprelu"),
    "dictionary-learning": foreign_saes.dictionary_learning,
    "sparsify": foreign_saes.sparsify,
}
FILES = {
    "saelens": ("cfg.json", "sae_weights.safetensors"),
    "dictionary-learning": ("config.json", "ae.pt"),
    "sparsify": ("cfg.json", "sae.safetensors"),
}


def ours(sae: PlainSae) -> SparseAutoencoder:
    """A read SAE in our form, with another mean than its own."""
    return own_form(sae, drawn(8, D_IN), HOOKPOINT, "words", "c" * 12, "d" * 12)


def assert_same(sae: SparseAutoencoder, f: Tensor, x_hat: Tensor) -> None:
    """Compare f and x̂ of X with what a library computes; entries within rounding of a threshold may differ."""
    own = sae.encode(X).double()
    flipped = (own > 0) != (f > 0)
    assert int(flipped.sum()) <= 2 and 0.005 < float((f > 0).double().mean()) < 0.9
    torch.testing.assert_close(own[~flipped], f.double()[~flipped], rtol=1e-5, atol=2e-5)
    whole = ~flipped.any(1)
    torch.testing.assert_close(sae(X).double()[whole], x_hat.double()[whole], rtol=1e-5, atol=1e-4)


def a_sae(kind: str) -> SparseAutoencoder:
    """A random SAE of a kind."""
    sae = random_sae(D_IN, D_SAE)
    record = KINDS[kind]
    changes = {"kind": kind, "k": K if record.fixes_k else None, "prefixes": (10, 20, 40) if record.nested else ()}
    sae.config = sae.config.model_copy(update=changes)
    if kind in ("jumprelu", "gated"):
        sae.threshold.copy_(drawn(7, D_SAE).abs())
    elif record.fixes_k and not record.k_per_token:
        sae.threshold.fill_(1.5)
    return sae


def written(sae: SparseAutoencoder, name: str, folder: Path) -> Path:
    """Write an SAE of ours in a format."""
    folder.mkdir(parents=True)
    for file, content in foreign_files(sae, name, Recorded(l0=3.5, fvu=0.25)).items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        else:
            write_json(folder / file, content)
    return folder


# --- out and in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRITERS)
def test_round_trip(tmp_path: Path, name: str, kind: str) -> None:
    """An export that is read again is the same SAE, with its kind, k, prefixes and what was recorded."""
    sae = a_sae(kind)
    if name == "sparsify" and kind != "topk":
        with pytest.raises(UserError, match=f"holds topk SAEs only, and this one is of kind {kind}; use --to saelens"):
            foreign_files(sae, name, Recorded())
        return
    found, folder, again = read_foreign(written(sae, name, tmp_path / "sae"))
    assert (found, folder) == (name, (tmp_path / "sae").resolve())
    made = ours(again)
    assert_same(made, sae.encode(X), sae(X))
    assert (made.config.kind, made.config.k, made.config.prefixes) == (kind, sae.config.k, sae.config.prefixes)
    assert made.config.recipe == "imported"
    torch.testing.assert_close(made.scale, sae.scale)
    torch.testing.assert_close(made.W_dec.norm(dim=1), torch.ones(D_SAE))
    told = again.recorded
    assert (told.layer, told.positions, told.classifier_hash, told.l0, told.fvu) == (2, "words", "c" * 12, 3.5, 0.25)


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
@pytest.mark.parametrize("subtracted", [True, False])
def test_saelens(tmp_path: Path, architecture: str, subtracted: bool) -> None:
    """Files as SAELens writes them give what SAELens computes."""
    compute = foreign_saes.saelens(tmp_path, architecture, apply_b_dec_to_input=subtracted)
    assert_same(ours(read_foreign(tmp_path)[2]), *compute(X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(tmp_path: Path, dtype: torch.dtype) -> None:
    """Weights in other precisions are read as they are."""
    compute = foreign_saes.saelens(tmp_path, "topk", dtype, rescale_acts_by_decoder_norm=False)
    assert_same(ours(read_foreign(tmp_path / "sae_weights.safetensors")[2]), *compute(X))


def test_saelens_up_to_version_5(tmp_path: Path) -> None:
    """Older files name the hook at the top and topk as an activation function; frequencies beside them give L0."""
    compute = foreign_saes.saelens(tmp_path, "topk", rescale_acts_by_decoder_norm=False)
    old = {"d_in": D_IN, "d_sae": D_SAE, "hook_name": "blocks.3.hook_resid_post", "normalize_activations": "none"}
    topk = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    (tmp_path / "cfg.json").write_text(json.dumps({**old, **topk}))
    sae = read_foreign(tmp_path)[2]
    assert_same(ours(sae), *compute(X))
    assert (sae.recorded.layer, sae.recorded.l0) == (4, K)
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    save_file({"sparsity": torch.full((D_SAE,), -1.0)}, tmp_path / "sparsity.safetensors")
    assert read_foreign(tmp_path)[2].recorded.l0 == pytest.approx(D_SAE / 10)


@pytest.mark.parametrize("name", CLASSES)
def test_dictionary_learning(tmp_path: Path, name: str) -> None:
    """Files as dictionary_learning writes them give what its own loader's SAE computes."""
    compute = foreign_saes.dictionary_learning(tmp_path, name)
    assert_same(ours(read_foreign(tmp_path)[2]), *compute(X))


def test_what_dictionary_learning_recorded(tmp_path: Path) -> None:
    """Its evaluation counts before k; a threshold that was never set is told; its layers count from 0."""
    foreign_saes.dictionary_learning(tmp_path, layer=7, threshold=-1.0)
    sae = read_foreign(tmp_path)[2]
    assert (sae.recorded.l0, sae.recorded.fvu, sae.recorded.layer) == (K, None, 8)
    assert "never set" in sae.notes[0]
    (tmp_path / "eval_results.json").write_text(json.dumps({"l0": 6.5, "frac_variance_explained": 0.75, "loss": 1}))
    recorded = read_foreign(tmp_path)[2].recorded
    assert (recorded.l0, recorded.fvu) == (6.5, 0.25)


def test_sparsify(tmp_path: Path) -> None:
    """Files as sparsify writes them give what sparsify computes; its folders are named after hookpoints."""
    compute = foreign_saes.sparsify(tmp_path / "layers.7")
    sae = read_foreign(tmp_path / "layers.7")[2]
    assert_same(ours(sae), *compute(X))
    assert (sae.recorded.layer, sae.recorded.l0) == (8, K)


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.7.hook_resid_post", 8),
        ("blocks.7.hook_resid_pre", 7),
        ("bert.encoder.layer.7", 8),
        ("layers.0", 1),
        ("transformer.h.2", 3),
        ("blocks.7.hook_mlp_out", None),
        ("layers.7.mlp", None),
        ("albert_layer_groups.0", None),
        (None, None),
    ],
)
def test_layer_of_a_hook(hook: str | None, layer: int | None) -> None:
    """Hooks of whole layers have an index into hidden_states; others have none."""
    assert residual_layer(hook) == layer


# --- files that are wrong ------------------------------------------------------------------------------


def refused(folder: Path, name: str | None = None) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(UserError) as caught:
        ours(read_foreign(folder, name)[2])
    sentence = str(caught.value)
    assert sentence.endswith((".", "?")) and len(sentence) < 600 and "\n" not in sentence, sentence
    return sentence


def change_config(folder: Path, file: str, **changes: Any) -> None:
    """Change fields of a config; of dictionary_learning's, those of its trainer, but for ours. None removes a field."""
    config = json.loads((folder / file).read_text())
    part = config if "finbert_sae" in changes else config.get("trainer", config)
    part |= changes
    for name in [name for name, value in part.items() if value is None]:
        del part[name]
    (folder / file).write_text(json.dumps(config))


LIES: list[tuple[str, dict[str, Any], str]] = [
    ("saelens", {"d_in": 13}, "the shape [12, 40] instead of [13, 40]"),
    ("saelens", {"d_sae": 41}, "instead of [12, 41]"),
    ("saelens", {"d_in": "12"}, "cfg.json, d_in: Input should be a valid integer (given: '12')"),
    ("saelens", {"d_in": None}, "d_in: Field required"),
    ("saelens", {"d_in": -12}, "greater than or equal to 1"),
    ("saelens", {"d_in": 10**30}, "instead of [1000000"),
    ("saelens", {"architecture": "standard"}, "holds threshold, which an SAE of architecture standard does not have"),
    ("saelens", {"architecture": "gated"}, "lacks b_gate, b_mag and r_mag"),
    ("saelens", {"architecture": "topk"}, "lacks k"),
    ("saelens", {"architecture": "topk", "k": 41}, "k = 41 is more than the 40 features"),
    ("saelens", {"architecture": "crosscoder"}, "'crosscoder' cannot be imported; standard, topk, jumprelu and gated"),
    ("saelens", {"architecture": 7}, "architecture: Input should be a valid string"),
    ("saelens", {"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'"),
    ("saelens", {"reshape_activations": "hook_z"}, "attention heads"),
    ("saelens", {"metadata": 5}, "metadata: Input should be a valid dictionary"),
    ("saelens", {"metadata": {"layer": "two"}}, "layer: Input should be a valid integer"),
    ("dictionary-learning", {"dict_class": "IdentityDict"}, "'IdentityDict' cannot be imported"),
    ("dictionary-learning", {"dict_class": "AutoEncoderNew"}, "lacks decoder.bias"),
    ("dictionary-learning", {"dict_class": None}, "trainer.dict_class: Field required"),
    ("dictionary-learning", {"k": 6}, "has k = 5, but its config has k = 6"),
    ("dictionary-learning", {"activation_dim": 13}, "encoder.weight has the shape [40, 12] instead of [40, 13]"),
    ("dictionary-learning", {"dict_size": 20}, "instead of [20, 12]"),
    ("dictionary-learning", {"layer": "last"}, "trainer.layer"),
    ("sparsify", {"activation": "relu"}, "the activation 'relu' cannot be imported; topk can"),
    ("sparsify", {"activation": "groupmax"}, "'groupmax' cannot be imported"),
    ("sparsify", {"signed": True}, "signed activations"),
    ("sparsify", {"transcode": True}, "a transcoder"),
    ("sparsify", {"skip_connection": True}, "a transcoder"),
    ("sparsify", {"d_in": 11}, "encoder.weight has the shape [40, 12] instead of [40, 11]"),
    ("sparsify", {"num_latents": 0}, "instead of [384, 12]"),
    ("sparsify", {"k": 41}, "k = 41 is more than"),
    ("sparsify", {"finbert_sae": {"k": 41}}, "k = 41 is more than"),
    ("sparsify", {"finbert_sae": {"prefixes": [8, 41]}}, "prefixes do not rise to the 40 features"),
    ("saelens", {"metadata": {"prefixes": [16, 8, 40]}}, "prefixes do not rise to the 40 features"),
    ("dictionary-learning", {"finbert_sae": {"prefixes": [8]}}, "prefixes do not rise to the 40 features"),
    ("sparsify", {"k": True}, "k: Input should be a valid integer"),
]


@pytest.mark.parametrize(("name", "lie", "said"), LIES, ids=lambda value: str(value)[:40])
def test_a_config_that_lies(tmp_path: Path, name: str, lie: dict[str, Any], said: str) -> None:
    """Each lie is one sentence that names the field or the tensor."""
    WRITERS[name](tmp_path)
    change_config(tmp_path, FILES[name][0], **lie)
    assert said in refused(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_a_broken_config(tmp_path: Path, name: str) -> None:
    """Whatever stands in the place of the config, it is one sentence."""
    WRITERS[name](tmp_path)
    path = tmp_path / FILES[name][0]
    whole = path.read_bytes()
    broken = [b"", b"{", whole[:-1], b"[]", b"null", b"12", b"\xff\xfe", b"[" * 100_000, whole + b"x", b"{}"]
    broken += [b" " * (1 << 20) + whole, b'{"d_in": NaN}', b'{"trainer": []}', b'{"trainer": {"dict_class": [1]}}']
    for content in broken:
        path.write_bytes(content)
        refused(tmp_path)
    path.unlink()
    assert f"has no {path.name}" in refused(tmp_path)
    path.mkdir()
    assert f"has no {path.name}" in refused(tmp_path)


def change_weights(folder: Path, name: str, edit: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors of a folder."""
    path = folder / FILES[name][1]
    tensors = torch.load(path, weights_only=True) if path.suffix == ".pt" else load_file(path)
    edit(tensors)
    if path.suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file({key: t.contiguous() for key, t in tensors.items()}, path)


@pytest.mark.parametrize("name", WRITERS)
def test_wrong_tensors(tmp_path: Path, name: str) -> None:
    """Missing, extra, transposed, wrongly shaped, infinite and integer tensors are named, for every tensor."""
    WRITERS[name](tmp_path)
    file = tmp_path / FILES[name][1]
    whole = file.read_bytes()
    tensors = torch.load(file, weights_only=True) if file.suffix == ".pt" else load_file(file)
    edits: list[tuple[Callable[[dict[str, Tensor]], Any], str]] = [
        (lambda t: t.clear(), "lacks"),
        (lambda t: t.update(extra=torch.zeros(3)), "holds extra, which"),
    ]
    for key, tensor in tensors.items():
        edits.append((lambda t, key=key: t.pop(key), f"lacks {key}"))
        edits.append((lambda t, key=key: t.update({key: torch.zeros(3, 3, 3)}), f"{key} has the shape [3, 3, 3]"))
        if tensor.dim() == 2:
            edits.append((lambda t, key=key: t.update({key: t[key].T}), f"{key} has the shape"))
            edits.append((lambda t, key=key: t.update({key: t[key].T}), "it is transposed"))
            edits.append((lambda t, key=key: t.update({key: t[key].int()}), "holds int32 instead of decimal numbers"))
        if tensor.is_floating_point():
            for bad in (torch.nan, torch.inf):
                value = torch.full_like(tensor, bad)
                edits.append((lambda t, key=key, value=value: t.update({key: value}), f"{key} holds NaN or infinite"))
    for edit, said in edits:
        file.write_bytes(whole)
        change_weights(tmp_path, name, edit)
        assert said in refused(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_broken_weights(tmp_path: Path, name: str) -> None:
    """Cut, changed and foreign bytes are one sentence each, or weights that can be used."""
    WRITERS[name](tmp_path)
    file = tmp_path / FILES[name][1]
    whole = file.read_bytes()
    for content in (b"", b"x", whole[:7], whole[:100], whole[:-1], whole[1:], b"\0" * 200, b"PK\x03\x04" + whole):
        file.write_bytes(content)
        assert file.name in refused(tmp_path)
    for place in range(0, len(whole), len(whole) // 40):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        file.write_bytes(changed)
        try:
            ours(read_foreign(tmp_path)[2])
        except UserError as error:
            assert "\n" not in str(error)
    if name != "dictionary-learning":  # a header that claims more than there is
        header = json.dumps({"W": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
        file.write_bytes(struct.pack("<Q", len(header)) + header)
        assert "is damaged" in refused(tmp_path)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_pickle_with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a pickle is executed, whether torch or pickle wrote it; anything but tensors is refused."""
    foreign_saes.dictionary_learning(tmp_path)
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    buffer = io.BytesIO()
    torch.save({"encoder.weight": _Bomb()}, buffer)
    for content in (buffer.getvalue(), pickle.dumps({"encoder.weight": _Bomb()}), pickle.dumps(_Bomb(), protocol=0)):
        (tmp_path / "ae.pt").write_bytes(content)
        sentence = refused(tmp_path)
        assert "which is never loaded" in sentence and "weights_only" not in sentence
    assert not (tmp_path / "exploded").exists()
    for value in (
        [torch.zeros(3)],
        {1: torch.zeros(3)},
        {"encoder.weight": 3},
        {"encoder.weight": [torch.zeros(3)]},
        {"encoder.weight": torch.zeros(40, 12).to_sparse()},
        torch.zeros(3),
        torch.nn.Linear(3, 3),
    ):
        torch.save(value, tmp_path / "ae.pt")
        assert "ae.pt" in refused(tmp_path)
    torch.save({"encoder.weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "ae.pt")
    assert "claims more numbers than the file holds" in refused(tmp_path)


def test_which_format(tmp_path: Path) -> None:
    """The format is told from the files; where that is not possible, a sentence says what is expected."""
    (tmp_path / "empty").mkdir()
    assert "sae_weights.safetensors (saelens), ae.pt (dictionary-learning) or sae" in refused(tmp_path / "empty")
    assert "There is no" in refused(tmp_path / "nowhere")
    both = tmp_path / "both"
    foreign_saes.saelens(both)
    foreign_saes.dictionary_learning(both)
    assert "saelens and dictionary-learning; choose one with --from" in refused(both)
    assert read_foreign(both, "saelens")[0] == read_foreign(both / "sae_weights.safetensors")[0] == "saelens"
    assert read_foreign(both / "ae.pt")[0] == "dictionary-learning"
    assert "has no sae.safetensors, which an SAE of the format sparsify has" in refused(both, "sparsify")
    foreign_saes.sparsify(both)  # writes its own cfg.json
    assert "cfg.json" in refused(both, "saelens")


def test_weights_that_are_none(tmp_path: Path) -> None:
    """A decoder of zeros and numbers beyond float32 are refused."""
    foreign_saes.saelens(tmp_path, dtype=torch.float64)
    whole = (tmp_path / "sae_weights.safetensors").read_bytes()
    change_weights(tmp_path, "saelens", lambda t: t["W_dec"].zero_())
    assert "was it ever trained?" in refused(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(whole)
    change_weights(tmp_path, "saelens", lambda t: t["W_enc"].fill_(1e300))
    assert "W_enc becomes larger than float32 can hold" in refused(tmp_path)
