"""`/api/layers`: the file of the run's classifier, and one sentence where there is none for it."""

from pathlib import Path

from sae_pipeline.evaluation.which_layer import which_layer
from sae_pipeline.runs.folders import read_run
from tests.support.api_client import error, get
from tests.support.indexed_runs import client_of
from tests.support.made_up_layers import made_up_layers, measured, write_layers
from tests.support.run_factory import write_run


def test_the_file_of_the_runs_classifier(tmp_path: Path) -> None:
    """All that the file says. A file of another classifier, a damaged one and none are refused with a way out."""
    runs = tmp_path / "analysis_data"
    run = read_run(write_run(runs, 5, 64))
    client = client_of(runs)
    status, message = error(client, "/api/layers")
    assert status == 404 and "`python -m sae_pipeline layers` does it." in message
    file = write_layers(tmp_path, run.metadata.classifier_hash)
    assert get(client, "/api/layers") == file.model_dump(mode="json")
    path = tmp_path / "finbert_sae" / "layers.json"
    path.write_bytes(path.read_bytes().replace(b"2377", b"2378"))
    status, message = error(client, "/api/layers")
    assert status == 409 and "layers.json has changed" in message and "makes it again" in message
    write_layers(tmp_path, "another")
    status, message = error(client, "/api/layers")
    assert status == 404 and "newest classifier" in message


def test_the_answer_in_sentences(tmp_path: Path) -> None:
    """Words decide up to layer 10, [CLS] from 12 on; of the layers whose words decide, the best SAE is named."""
    found = " ".join(write_layers(tmp_path, "c").answer)
    assert "The decision is in the words at layers 2, 4, 6, 8 and 10" in found and "layer 10 is the deepest" in found
    in_cls = "The decision is in [CLS] at layer 12: replacing the [CLS] of layer 12 by its mean changes 40.0 %"
    assert in_cls in found
    assert "best at layer 12 (84.4 %)" in found and "layer 10 is the first whose" in found
    assert "the 4k SAE of layer 2 keeps the most predictions: 99.1 % stay the same, at L0 62" in found


def test_the_answer_names_the_first_layer_that_decides_in_cls() -> None:
    """Where several layers do, the figures are those of the first; a layer whose intervals overlap is named apart."""
    *others, eighth, tenth, last = made_up_layers("c").layers
    overlapping = eighth.model_copy(update={"changed_cls": measured(0.4)})
    in_cls = tenth.model_copy(update={"changed_cls": measured(0.3)})
    found = " ".join(which_layer([*others, overlapping, in_cls, last]))
    assert "The decision is in the words at layers 2, 4 and 6" in found
    assert "in [CLS] at layers 10 and 12: replacing the [CLS] of layer 10 by its mean changes 30.0 %" in found
    assert "replacing its words changes 20.0 %" in found
    assert "At layer 8, words and [CLS] change about as many predictions" in found
