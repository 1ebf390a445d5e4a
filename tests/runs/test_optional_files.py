"""Files that a run can do without: a damaged one is named and left out, and the rest of the run is served."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from safetensors.numpy import save

from sae_pipeline.runs.index import INDEX_FILES
from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.explanations import EXPLANATIONS
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.support.indexed_runs import D_SAE, DECODER_ROWS, N, client_of, get, write_whole_run
from tests.support.run_edits import Damage, contradicting, edited, put, replaced, resealed
from tests.support.run_factory import D_IN, MADE_WITH, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional file."""
    return write_whole_run(tmp_path_factory.mktemp("analysis_data"))


def link(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to("/etc/passwd"))


def as_folder(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(), (folder / name).mkdir())


def of_another_run(name: str) -> Damage:
    def apply(folder: Path) -> None:
        other = write_whole_run(folder.parent / "other")
        shutil.copy(other / name, folder / name)

    return apply


def rows(matrix: NDArray[np.float16], made_with: dict[str, str] = MADE_WITH) -> Damage:
    """Other decoder rows, under a record that fits."""
    return resealed(put(DECODER, save({"W_dec": matrix}, {"made_with": json.dumps(made_with)})))


def twice(name: str, key: str) -> Damage:
    """The first record of a list stands at its end once more."""
    return edited(name, lambda d: d[key].append(d[key][0]))


INTERVENE, FIND, ANALYSE = ("intervene --run run-001", "family --run run-001", "analyze")
EXPLAIN = "explain --run run-001"
PLACE = "map --run run-001"
TRY = "contrast --run run-001"
MEND = "mend --run run-001"
TRUST = "calibrate --run run-001"
TUNED = "diff --run run-001"
PATH = {"features": [3], "prediction": 1, "path": [[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]]}
CLAMPED = {**PATH, "levels": [2.0], "positions": [[1]]}
PAIR = {"features": [3, 4], "effects": [0.5, -0.25, -0.25]}


def causes(**fields: Any) -> Damage:
    """The causes of the first prediction get other fields."""
    return edited(INTERVENTIONS, lambda d: d["headlines"][0].update(fields))


def unflipped(clamped: dict[str, Any] | None = None, **fields: Any) -> Damage:
    """The first prediction gets a reason why it was not flipped, which fits but for these fields."""
    reason = {"reason": "base", "margin": 0.5, "n_needed": None, "clamped": clamped}
    return causes(unflipped=reason | fields)


LEFT_OUT: dict[str, tuple[Damage, str, str]] = {
    "neighbours gone": (lambda run: (run / NEIGHBOURS).unlink(), rf"{NEIGHBOURS} .*no such file", ANALYSE),
    "neighbours, a digit": (replaced(NEIGHBOURS, b"0.9", b"0.8"), rf"{NEIGHBOURS} has changed", ANALYSE),
    "neighbours, a link": (link(NEIGHBOURS), rf"{NEIGHBOURS} is not a plain file", ANALYSE),
    "neighbours, a folder": (as_folder(NEIGHBOURS), rf"{NEIGHBOURS} is not a plain file", ANALYSE),
    "neighbours of another SAE": (
        contradicting(NEIGHBOURS, lambda d: d.update(sae_hash="x")),
        rf"{NEIGHBOURS}, sae_hash",
        ANALYSE,
    ),
    "neighbours beyond": (
        contradicting(NEIGHBOURS, lambda d: d["by_decoder"][3].__setitem__(0, D_SAE)),
        "by_decoder.3",
        ANALYSE,
    ),
    "neighbours not listed": (
        edited("metadata.json", lambda d: d["files"].pop(NEIGHBOURS)),
        "is not among the files",
        ANALYSE,
    ),
    "names gone": (lambda run: (run / NAMES).unlink(), rf"{NAMES} .*no such file", ANALYSE),
    "names, a digit": (replaced(NAMES, b"0.8125", b"0.8126"), rf"{NAMES} has changed", ANALYSE),
    "names of another SAE": (
        contradicting(NAMES, lambda d: d.update(sae_hash="x")),
        rf"{NAMES}, sae_hash",
        ANALYSE,
    ),
    "names, a feature less": (
        contradicting(NAMES, lambda d: d["features"].pop()),
        rf"{NAMES}, features: are not the",
        ANALYSE,
    ),
    "names, a name without a score": (
        contradicting(NAMES, lambda d: d["features"][0].update(name="x", score=None)),
        rf"{NAMES}, features.0.name",
        ANALYSE,
    ),
    "names, a name that is mostly wrong": (
        contradicting(NAMES, lambda d: d["features"][0].update(f1=0.29)),
        rf"{NAMES}, features.0.name: is given without a rule that scores 0.7, with an F1 of 0.3",
        ANALYSE,
    ),
    "names, endless": (
        contradicting(NAMES, lambda d: d["features"][0].update(name="x" * 5000)),
        rf"{NAMES}, features.0.name",
        ANALYSE,
    ),
    "explanations, a digit": (replaced(EXPLANATIONS, b"0.75", b"0.76"), rf"{EXPLANATIONS} has changed", EXPLAIN),
    "explanations of another run": (of_another_run(EXPLANATIONS), rf"{EXPLANATIONS}, run_checksum", EXPLAIN),
    "an explanation twice": (
        edited(EXPLANATIONS, lambda d: d["explanations"].append(d["explanations"][0])),
        "explanations.1.feature: is 3, which is listed already",
        EXPLAIN,
    ),
    "an explanation of nothing": (
        edited(EXPLANATIONS, lambda d: d["explanations"][0].update(feature=D_SAE)),
        f"name a feature that is not one of {D_SAE}",
        EXPLAIN,
    ),
    "decoder gone": (lambda run: (run / DECODER).unlink(), rf"{DECODER} is missing", ANALYSE),
    "decoder, a bit": (
        lambda run: (run / DECODER).write_bytes((run / DECODER).read_bytes()[:-1] + b"\1"),
        rf"{DECODER} has",
        ANALYSE,
    ),
    "decoder of another width": (rows(np.ones((D_SAE, 5), np.float16)), rf"{DECODER}, W_dec: is \[300, 5\]", ANALYSE),
    "decoder, infinite": (rows(np.full((D_SAE, D_IN), np.inf, np.float16)), "are not finite", ANALYSE),
    "decoder of another SAE": (rows(DECODER_ROWS, {**MADE_WITH, "sae_hash": "x"}), rf"{DECODER}, sae_hash", ANALYSE),
    "decoder, noise": (resealed(put(DECODER, b"noise" * 99)), rf"{DECODER} has no decoder rows", ANALYSE),
    "effects, a digit": (replaced(FEATURE_EFFECTS, b'"n":[7', b'"n":[8'), rf"{FEATURE_EFFECTS} has changed", INTERVENE),
    "effects, unsealed": (put(FEATURE_EFFECTS, b'{"columns":[]}'), rf"{FEATURE_EFFECTS} has no checksum", INTERVENE),
    "effects of another run": (of_another_run(FEATURE_EFFECTS), rf"{FEATURE_EFFECTS}, run_checksum", INTERVENE),
    "an effect twice": (twice(FEATURE_EFFECTS, "columns"), "columns: .*twice", INTERVENE),
    "a metric of the run": (
        edited(FEATURE_EFFECTS, lambda d: d["metrics"][0].update(name="entropy")),
        "metrics: .*twice",
        INTERVENE,
    ),
    "interventions, a digit": (replaced(INTERVENTIONS, b"0.5", b"0.6"), rf"{INTERVENTIONS} has changed", INTERVENE),
    "interventions, a link": (link(INTERVENTIONS), rf"{INTERVENTIONS} is not a plain file", INTERVENE),
    "a joint effect, a class less": (causes(joint_effects=[0.0]), "headlines.0.joint_effects, inter", INTERVENE),
    "pairs without a joint effect": (causes(interactions=[PAIR]), "interactions: are given without", INTERVENE),
    "a pair that is not listed": (
        causes(interactions=[PAIR], joint_effects=[0.0] * 3),
        "interactions: are not those of different pairs of the listed",
        INTERVENE,
    ),
    "unflipped, and a flip": (
        causes(flip=PATH, unflipped={"reason": "base", "margin": 0.5, "n_needed": None, "clamped": None}),
        "headlines.0.unflipped: is given for a prediction that is changed",
        INTERVENE,
    ),
    "unflipped, a margin below 0": (unflipped(margin=-1.0), "unflipped.reason: is base", INTERVENE),
    "unflipped, a number too many": (unflipped(n_needed=30), "unflipped.reason: is base", INTERVENE),
    "unflipped, no number": (unflipped(reason="spread"), "unflipped.reason: is spread", INTERVENE),
    "clamped, a level less": (unflipped({**CLAMPED, "levels": []}), "does not have a level", INTERVENE),
    "clamped, a class less": (unflipped({**CLAMPED, "path": [[1.0], [1.0]]}), "does not fit 3 classes", INTERVENE),
    "clamped, a feature beyond": (unflipped({**CLAMPED, "features": [D_SAE]}), "clamped.features", INTERVENE),
    "clamped, a token beyond": (unflipped({**CLAMPED, "positions": [[4000]]}), "clamped.positions", INTERVENE),
    "unrepaired, no number": (
        causes(unrepaired={"reason": "spread", "margin": 0.5, "n_needed": None, "clamped": None}),
        "unrepaired.reason: is spread",
        INTERVENE,
    ),
    "more unflipped than searched": (
        edited(INTERVENTIONS, lambda d: d.update(unflipped={"n_base": 1, "n_spread": 0, "n_clamped": 0})),
        f"{INTERVENTIONS}, unflipped: does not count the 0 predictions",
        INTERVENE,
    ),
    "more pairs than headlines": (
        edited(
            INTERVENTIONS,
            lambda d: d.update(
                interactions={
                    "n_headlines": 1,
                    "share": 0.2,
                    "floor": 0.05,
                    "median_miss": 0.1,
                    "n_above": 2,
                    "n_measured": 1,
                    "measured_miss": None,
                    "left_miss": None,
                }
            ),
        ),
        f"{INTERVENTIONS}, interactions: counts more than its 1 headlines",
        INTERVENE,
    ),
    "interventions of another run": (of_another_run(INTERVENTIONS), rf"{INTERVENTIONS}, run_checksum", INTERVENE),
    "a headline twice": (twice(INTERVENTIONS, "headlines"), "listed already", INTERVENE),
    "no such headline": (
        edited(INTERVENTIONS, lambda d: d["headlines"][0].update(headline=N)),
        "headlines.0.headline_id",
        INTERVENE,
    ),
    "effects that do not add up": (
        edited(INTERVENTIONS, lambda d: d["headlines"][0].update(rest=[1.0, 0.0, 0.0])),
        "headlines.0.logits",
        INTERVENE,
    ),
    "family, a digit": (replaced(FAMILY, b"0.8", b"0.9"), rf"{FAMILY} has changed", FIND),
    "family of another run": (of_another_run(FAMILY), rf"{FAMILY}, run_checksum", FIND),
    "family, a member less": (edited(FAMILY, lambda d: d["members"].pop()), rf"{FAMILY}, matches", FIND),
    "family, a huge number": (
        edited(FAMILY, lambda d: d["matches"][0]["feature"].__setitem__(0, 1 << 60)),
        rf"{FAMILY}, matches.0.feature",
        FIND,
    ),
    "family, empty": (put(FAMILY, b""), rf"{FAMILY} has no checksum", FIND),
    "map, a digit": (replaced(MAP, b'"n_features": 1', b'"n_features": 2'), rf"{MAP} has changed", PLACE),
    "map, a link": (link(MAP), rf"{MAP} is not a plain file|cannot be read", PLACE),
    "map of another run": (of_another_run(MAP), rf"{MAP}, run_checksum", PLACE),
    "map, a feature less": (edited(MAP, lambda d: d["features"].pop()), rf"{MAP}, features", PLACE),
    "map, a dead feature": (edited(MAP, lambda d: d["features"].__setitem__(0, D_SAE)), rf"{MAP}, features", PLACE),
    "map, a place less": (edited(MAP, lambda d: d["y"].pop()), rf"{MAP}, y", PLACE),
    "map, outside the square": (edited(MAP, lambda d: d["x"].__setitem__(3, 1.5)), rf"{MAP}, x.3", PLACE),
    "map, no such region": (edited(MAP, lambda d: d["region"].__setitem__(0, 2)), rf"{MAP}, region", PLACE),
    "contrast, a digit": (replaced(CONTRAST, b'"n_pairs": 2', b'"n_pairs": 3'), rf"{CONTRAST} has changed", TRY),
    "contrast, a link": (link(CONTRAST), rf"{CONTRAST} is not a plain file|cannot be read", TRY),
    "contrast of another run": (of_another_run(CONTRAST), rf"{CONTRAST}, run_checksum", TRY),
    "mending, a digit": (replaced(MENDING, b'"n_search": 4', b'"n_search": 5'), rf"{MENDING} has changed", MEND),
    "mending of another run": (of_another_run(MENDING), rf"{MENDING}, run_checksum", MEND),
    "mending, no such feature": (edited(MENDING, lambda d: d["steps"][1].update(feature=D_SAE)), r"steps, edits", MEND),
    "mending, twice": (twice(MENDING, "edits"), rf"{MENDING}, edits", MEND),
    "mending, a headline more": (edited(MENDING, lambda d: d["change"].update(n_headlines=5)), r"transitions", MEND),
    "mending, no change": (edited(MENDING, lambda d: d.update(change=None)), r"change, verdict", MEND),
    "calibration, a digit": (replaced(CALIBRATION, b'"n_fit": 4', b'"n_fit": 5'), rf"{CALIBRATION} has changed", TRUST),
    "calibration of another run": (of_another_run(CALIBRATION), rf"{CALIBRATION}, run_checksum", TRUST),
    "calibration, a feature": (
        edited(CALIBRATION, lambda d: d["error_features"][1].update(feature=D_SAE)),
        rf"{CALIBRATION}, error_features",
        TRUST,
    ),
    "calibration, twice": (twice(CALIBRATION, "error_features"), rf"{CALIBRATION}, error_features", TRUST),
    "calibration, a headline": (edited(CALIBRATION, lambda d: d.update(n_test=5)), r"before.bins", TRUST),
    "calibration, no order": (edited(CALIBRATION, lambda d: d["rankings"].pop()), r"rankings", TRUST),
    "calibration, coverages": (edited(CALIBRATION, lambda d: d["coverages"].reverse()), r"coverages", TRUST),
    "calibration, seeds": (edited(CALIBRATION, lambda d: d.update(seeds=[])), r"n_unstable, seeds", TRUST),
    "calibration, its verdict": (edited(CALIBRATION, lambda d: d.update(verdict="unknown")), r"verdict", TRUST),
    "diff, a digit": (replaced(DIFF, b'"n_vectors": 900', b'"n_vectors": 901'), rf"{DIFF} has changed", TUNED),
    "diff of another run": (of_another_run(DIFF), rf"{DIFF}, run_checksum", TUNED),
    "diff, a feature": (edited(DIFF, lambda d: d["features"][1].update(alike=D_SAE)), r"features.1", TUNED),
    "diff, twice": (twice(DIFF, "features"), rf"{DIFF}, features", TUNED),
    "diff, a bin": (edited(DIFF, lambda d: d["growth"].pop()), r"growth", TUNED),
    "diff, a role": (edited(DIFF, lambda d: d["models"].reverse()), r"models", TUNED),
    "diff, no control": (edited(DIFF, lambda d: d["models"].pop()), r"counts_control", TUNED),
    "diff, random sets": (edited(DIFF, lambda d: d["sets"][0]["random_changed"].pop()), r"sets.0", TUNED),
    "diff, a token": (
        edited(DIFF, lambda d: d["features"][0]["examples"][0]["positions"].reverse()),
        r"features.0.examples.0.positions",
        TUNED,
    ),
    "contrast, no kinds": (edited(CONTRAST, lambda d: d.update(kinds=[])), rf"{CONTRAST} kinds|{CONTRAST}, kinds", TRY),
    "contrast, a pair more": (edited(CONTRAST, lambda d: d["kinds"][1].update(n_pairs=3)), r"kinds.1.n_pairs", TRY),
    "contrast, a class less": (edited(CONTRAST, lambda d: d["kinds"][0]["mean_shift"].pop()), r"kinds.0: ", TRY),
    "contrast, no such feature": (
        edited(CONTRAST, lambda d: d["kinds"][0]["features"][0].update(feature=D_SAE)),
        r"kinds.0.features",
        TRY,
    ),
    "contrast, no such headline": (
        edited(CONTRAST, lambda d: d["kinds"][0]["pairs"][0].update(headline=N)),
        r"kinds.0.pairs.0.headline",
        TRY,
    ),
    "contrast, a span outside": (
        edited(CONTRAST, lambda d: d["kinds"][0]["pairs"][0].update(after_spans=[[0, 999]])),
        r"kinds.0.pairs.0",
        TRY,
    ),
    "map, another size": (edited(MAP, lambda d: d["regions"][1].update(n_features=1)), rf"{MAP}, regions", PLACE),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_run_is_served_without_a_damaged_file_that_it_can_do_without(folder: Path, tmp_path: Path, kind: str) -> None:
    damage, message, verb = LEFT_OUT[kind]
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*INDEX_FILES))
    damage(copy)
    write_run(tmp_path, 5, 64)
    write_run(tmp_path, N, D_SAE, top=40, seed=3, decoder=np.eye(D_SAE, D_IN, dtype=np.float16))
    client = client_of(tmp_path)
    sentences = get(client, "run", run=1)["damaged_files"]
    (sentence,) = [one for one in sentences if re.search(message, one)]
    does = "makes a new run with it" if verb == "analyze" else "makes it again"
    assert sentence.endswith(f"; `python -m sae_pipeline {verb}` {does}.") and len(sentence) < 300
    named = {re.split("[ ,]", one)[0] for one in sentences}
    assert present(client) == OPTIONAL - named
    assert client_of(tmp_path).get("/api/runs").json["runs"][-1]["readable"]
    copy.rename(tmp_path / ".gone")  # at once, as a server may be writing its index there
    shutil.copytree(folder, copy)
    assert get(client, "run", run=1)["damaged_files"] == []
    assert present(client) == OPTIONAL


OPTIONAL = {NEIGHBOURS, DECODER, NAMES, EXPLANATIONS, FAMILY, MAP, FEATURE_EFFECTS, INTERVENTIONS, CONTRAST, MENDING}
OPTIONAL |= {CALIBRATION, DIFF}


def present(client: FlaskClient) -> set[str]:
    """The optional files of run 1 that the server answers from."""
    feature = get(client, "feature_info", run=1, id=3)
    effects = get(client, "headlines", run=1, limit=500)["headlines"][4]["effects"]
    found = {
        NEIGHBOURS: feature["similar_decoder"] and feature["similar_cofiring"],
        DECODER: get(client, "compare", runs="3,1", feature=3)["matches"][0]["features"],
        NAMES: feature["naming"] and feature["found_name"],
        EXPLANATIONS: feature["explanation"],
        FAMILY: feature["family"],
        MAP: client.get("/api/map?run=1").status_code == 200,
        CONTRAST: client.get("/api/contrast?run=1").status_code == 200,
        MENDING: client.get("/api/mending?run=1").status_code == 200,
        CALIBRATION: client.get("/api/calibration?run=1").status_code == 200,
        DIFF: client.get("/api/diff?run=1").status_code == 200,
        FEATURE_EFFECTS: [stat for stat in feature["stats"] if stat["name"] == "effect_bullish"],
        INTERVENTIONS: effects if client.get("/api/interventions?run=1").status_code == 200 else None,
    }
    return {name for name, shown in found.items() if shown}
