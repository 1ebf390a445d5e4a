"""Compact JSON: one record per line, floats with 6 significant digits."""

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.runs.compact_json import NotFiniteError, array, lines, nullable, six_digits
from sae_pipeline.schema.run import Hookpoint
from tests.support.run_factory import write_run


def test_one_record_per_line_and_six_digits(tmp_path: Path) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    for name, key in (
        ("feature_stats.json", "metrics"),
        ("feature_tokens.json", "features"),
        ("headline_features.json", "headlines"),
    ):
        head, *records, tail = (folder / name).read_text().splitlines()
        whole = json.loads((folder / name).read_text())
        assert head.endswith(f'"{key}":[') and tail == "]}"
        assert [json.loads(record.removesuffix(",")) for record in records] == whole[key]
    for column in json.loads((folder / "feature_stats.json").read_text())["metrics"]:
        assert all(value == float(f"{value:.6g}") for value in column["values"])
    for line in (folder / "prompts.jsonl").read_text().splitlines():
        assert all(p == float(f"{p:.6g}") for p in json.loads(line)["probabilities"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=80))
def test_six_digits_equals_printing_with_six_digits(values: list[float]) -> None:
    assert six_digits(np.array(values)).tolist() == pytest.approx(
        [float(f"{value:.6g}") for value in values], rel=1.1e-5, abs=0
    )
    once = six_digits(np.array(values))
    assert [f"{v!r}" for v in once.tolist()] == [f"{float(f'{v:.6g}')!r}" for v in once.tolist()]


def test_arrays_numbers_and_models_are_written_like_plain_values() -> None:
    values = np.linspace(0, 1 / 3, 100)
    plain = {"long": [float(f"{v:.6g}") for v in values], "short": [1.0, 0.333333], "n": 7, "flag": True, "none": None}
    record = {"long": values, "short": (1.0, np.float32(1 / 3)), "n": np.int64(7), "flag": np.True_, "none": None}
    place = Hookpoint(layer=8, module="bert.encoder.layer.7")
    expected = [orjson.dumps({**plain, "place": place.model_dump()}) + b"\n", b"[1]\n"]
    assert list(lines([{**record, "place": place}, b"[1]"])) == expected
    with pytest.raises(TypeError, match="cannot write a set"):
        list(lines([{"values": {1}}]))


@pytest.mark.parametrize(("header", "records"), [({}, []), ({"k": 1}, []), ({"k": 1}, [{"a": 1}, {"a": 2}])])
def test_an_array_is_one_object(header: dict[str, int], records: list[dict[str, int]]) -> None:
    assert json.loads(b"".join(array(header, "records", records))) == {**header, "records": records}


def test_null_stands_for_nan_and_infinity_is_refused() -> None:
    assert orjson.dumps(nullable([[1 / 3, np.nan]])) == b"[[0.333333,null]]"
    with pytest.raises(NotFiniteError, match="inf"):
        nullable([np.nan, np.inf])
