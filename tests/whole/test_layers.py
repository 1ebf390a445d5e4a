"""Several layers from the command line: one extraction, SAEs on each, and which one to read."""

from pathlib import Path

import pytest

from sae_pipeline.artefacts.checksums import read_record
from sae_pipeline.schema.layers import LayersFile
from sae_pipeline.study.layout import present_classifier
from sae_pipeline.study.report import study_report
from tests.support.encoders import save_encoder
from tests.support.small_study import write_headlines
from tests.support.whole_study import Ran, run


def extract(root: Path, *more: str) -> Ran:
    return run("extract", root, "--layer", "3", *more)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 3 layers."""
    root = tmp_path_factory.mktemp("layers")
    write_headlines(root / "headlines.csv", 240)
    save_encoder("bert", root / "encoder")
    made = run("finetune", root)
    assert made.code == 0, made.said
    return root


def test_from_layers_to_an_answer(root: Path) -> None:
    """Layers with and without an SAE, in the report and its page too; the studied layer is one of the trained ones."""
    ran = extract(root, "--layers", "all")
    assert ran.code == 0 and [f"of layer {n} in" in ran.said for n in (1, 2, 3)] == [True] * 3, ran.said
    assert len([*root.glob("finbert_sae/activations/[!.]*")]) == 3 and present_classifier(root).layer == 3
    train = ("--latent-dims", "64", "--batch-size", "128", "--num-epochs", "1", "--layer", "1")
    ran = run("train", root, *train, "--layers", "2,1")
    assert ran.code == 0 and ran.said.count("\n    1  64") == ran.said.count("\n    2  64") == 1, ran.said
    assert {path.name for path in root.glob("finbert_sae/layer_*.pt")} == {"layer_1_64.pt", "layer_2_64.pt"}
    assert present_classifier(root).layer == 1
    ran = run("layers", root, "--layers", "all", "--sae-size", "64")
    assert ran.code == 0 and "no SAE to compare at layers 3; `" in ran.said and "--layers 3`" in ran.said, ran.said
    file = read_record(root / "finbert_sae" / "layers.json", LayersFile)
    assert [(one.layer, bool(one.sae)) for one in file.layers] == [(1, True), (2, True), (3, False)]
    report = study_report(root)
    assert report.layers == file and report.saes["64"].config.hookpoint.layer == 1
    for one in file.layers[:2]:
        assert one.sae and one.sae.fvu.low is not None and one.sae.fvu.low < one.sae.fvu.value
    at_1 = report.saes["64"].report
    assert file.layers[0].sae and file.layers[0].sae.fvu.value == pytest.approx(at_1.held_out.fvu, rel=1e-3)
    assert file.layers[0].sae.l0.value == pytest.approx(at_1.held_out.l0, rel=1e-3)
    ran = run("report", root)
    assert ran.code == 0 and file.answer[0] in ran.said, ran.said
    page = (root / "finbert_sae" / "training_report.html").read_text(encoding="utf-8")
    assert "Bars are 95 % intervals." in page and file.answer[0] in page


@pytest.mark.parametrize(
    ("verb", "flags", "sentence"),
    [
        ("extract", ("--layers", "2,4"), "Layer 4 does not exist: this model has layers 1 to 3; change --layers."),
        ("train", ("--layers", "7,1,9"), "Layers 7 and 9 do not exist: this model has layers 1 to 3"),
        ("layers", ("--layers", "0"), "greater than or equal to 1"),
        ("layers", ("--layers", "all,2"), 'layers are numbers, such as 2,4,6, or the one word "all"'),
        ("layers", ("--layers", "deep"), "layers, layers"),
        ("layers", ("--layers", "1,3", "--sae-size", "9k"), "None of these layers has a 9k SAE"),
    ],
)
def test_layers_that_cannot_be(root: Path, verb: str, flags: tuple[str, ...], sentence: str) -> None:
    """One sentence and exit code 2."""
    ran = run(verb, root, *flags)
    assert ran.code == 2 and sentence in ran.said and "Traceback" not in ran.said, ran.said
