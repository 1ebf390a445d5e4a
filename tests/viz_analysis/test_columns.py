"""Other columns of the table: their values, slices of the headlines, orders, and features' rates in a slice."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask.testing import FlaskClient

from tests.support.api_client import error, get
from tests.support.indexed_runs import client_of, write_whole_run
from tests.support.run_factory import write_run

TICKERS = ["AAPL", "MSFT", None, "aapl", "x..y"]
DATES = [f"2024-{month:02d}-{day:02d}" for month in (1, 2, 3) for day in (1, 15, 31)]
YEARS = [2019, 2020.5, None, 2021]
N = 45


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    columns = {"ticker": TICKERS, "date": DATES, "year": YEARS, "a": ["b:c", "d"], "a:b": ["e"], "none": [None]}
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, N, 64, top=10, columns=columns)
    return client_of(folder)


def found(client: FlaskClient, column: str, *where: str, **query: str) -> list[Any]:
    """The cells of a column in the headlines that meet all conditions."""
    pairs = [("limit", "100"), *query.items(), *(("where", one) for one in where)]
    return [headline["columns"][column] for headline in get(client, f"/api/headlines?{urlencode(pairs)}")["headlines"]]


def cells(values: list[Any]) -> list[Any]:
    return [values[n % len(values)] for n in range(N)]


def test_columns_say_what_they_hold(client: FlaskClient) -> None:
    columns = {one["name"]: one for one in get(client, "/api/columns")["columns"]}
    assert list(columns) == ["ticker", "date", "year", "a", "a:b", "none"]
    assert columns["ticker"] == {
        "name": "ticker", "kind": "text", "n_values": 4, "n_empty": 9, "low": "AAPL", "high": "x..y",
    }  # fmt: skip
    assert (columns["date"]["kind"], columns["date"]["low"], columns["date"]["high"]) == ("date", DATES[0], DATES[-1])
    assert (columns["year"]["kind"], columns["year"]["low"], columns["year"]["high"]) == ("number", 2019, 2021)
    assert (columns["none"]["kind"], columns["none"]["n_empty"], columns["none"]["low"]) == ("text", N, None)


def test_values_come_most_frequent_first_and_are_searched_in_any_case(client: FlaskClient) -> None:
    answer = get(client, "/api/column_values?column=ticker&q=aapl")
    assert [(one["value"], one["n_headlines"]) for one in answer["values"]] == [("AAPL", 9), ("aapl", 9)]
    assert answer["total"] == 2
    years = get(client, "/api/column_values?column=year&limit=1")
    (most,) = years["values"]
    assert most["n_headlines"] == max(Counter(year for year in cells(YEARS) if year).values())
    assert years["total"] == 3


@pytest.mark.parametrize(
    ("column", "where", "kept"),
    [
        ("ticker", ["ticker:AAPL"], lambda cell: cell == "AAPL"),
        ("ticker", ["ticker:AAPL", "ticker:MSFT"], lambda cell: cell in ("AAPL", "MSFT")),
        ("ticker", ["ticker:"], lambda cell: cell is None),
        ("ticker", ["ticker:.."], lambda cell: cell is not None),
        ("ticker", ["ticker:x..y"], lambda cell: cell == "x..y"),
        ("ticker", ["ticker:nobody"], lambda cell: False),
        ("date", ["date:2024-01-15..2024-02"], lambda cell: "2024-01-15" <= cell < "2024-03"),
        ("date", ["date:..2024-01-31"], lambda cell: cell <= "2024-01-31"),
        ("date", ["date:2024-03.."], lambda cell: cell >= "2024-03"),
        ("date", ["date:2024-03..2024-01"], lambda cell: False),
        ("year", ["year:2020.5..2021"], lambda cell: cell in (2020.5, 2021)),
        ("year", ["year:2021.0"], lambda cell: cell == 2021),
        ("a:b", ["a:b:e"], lambda cell: cell == "e"),
        ("none", ["none:x.."], lambda cell: False),
    ],
)
def test_a_condition_keeps_the_headlines_with_these_values(
    client: FlaskClient, column: str, where: list[str], kept: Any
) -> None:
    values = {"ticker": TICKERS, "date": DATES, "year": YEARS, "a:b": ["e"], "none": [None]}[column]
    assert found(client, column, *where) == [cell for cell in cells(values) if kept(cell)]


def test_conditions_on_several_columns_narrow_and_join_other_filters(client: FlaskClient) -> None:
    dates = found(client, "date", "ticker:AAPL", "date:2024-01..2024-01")
    assert dates == [d for t, d in zip(cells(TICKERS), cells(DATES), strict=True) if t == "AAPL" and d < "2024-02"]
    whole = get(client, "/api/confusion")["counts"]
    parts = [get(client, f"/api/confusion?where=ticker:{t}")["counts"] for t in ("AAPL", "MSFT", "", "aapl", "x..y")]
    for label in range(3):
        for prediction in range(3):
            assert sum(part[label][prediction] for part in parts) == whole[label][prediction]
            query = f"where=ticker:AAPL&label={label}&prediction={prediction}"
            assert get(client, f"/api/headlines?{query}")["total"] == parts[0][label][prediction]


@pytest.mark.parametrize(("column", "values"), [("ticker", TICKERS), ("year", YEARS), ("date", DATES)])
def test_sorting_by_a_column_keeps_the_order_of_the_run_in_ties_and_leaves_empty_cells_last(
    client: FlaskClient, column: str, values: list[Any]
) -> None:
    everything = cells(values)
    filled, empty = [cell for cell in everything if cell is not None], [c for c in everything if c is None]
    assert found(client, column, sort=f"column:{column}") == sorted(filled) + empty
    assert found(client, column, sort=f"column:{column}", order="desc") == sorted(filled, reverse=True) + empty
    page = get(client, f"/api/headlines?sort=column:{column}&limit=100&offset=0")["headlines"]
    for before, after in pairwise(page):
        if before["columns"][column] == after["columns"][column]:
            assert before["headline"] < after["headline"]
    own = [
        cell for ticker, cell in zip(cells(TICKERS), everything, strict=True) if ticker == "MSFT" and cell is not None
    ]
    assert found(client, column, "ticker:MSFT", sort=f"column:{column}")[: len(own)] == sorted(own)


def test_rates_of_features_in_a_slice_count_their_headlines(client: FlaskClient) -> None:
    answer = get(client, "/api/features?where=ticker:MSFT&metric=slice_difference&limit=5")
    n_in = answer["n_slice"]
    assert n_in == cells(TICKERS).count("MSFT")
    differences = [row["values"]["slice_difference"] for row in answer["features"]]
    assert differences == sorted(differences, reverse=True)
    for row in answer["features"]:
        own = get(client, f"/api/headlines?where=ticker:MSFT&feature={row['feature']}")["total"]
        both = get(client, f"/api/headlines?feature={row['feature']}")["total"]
        assert row["values"]["slice_rate"] == pytest.approx(own / n_in)
        assert row["values"]["slice_difference"] == pytest.approx(own / n_in - (both - own) / (N - n_in))
    plain = get(client, "/api/features")
    assert plain["n_slice"] is None and "slice_rate" not in plain["features"][0]["values"]
    assert error(client, "/api/features?metric=slice_rate")[0] == 404


def test_effects_in_a_slice_are_means_over_its_headlines_that_list_the_feature(tmp_path: Path) -> None:
    headlines = {
        0: {7: [1.0, -0.5, -0.5], 9: [0.25, 0.0, -0.25]},
        3: {7: [2.0, -1.5, -0.5]},
        6: {},  # in the slice, and lists no feature
        1: {7: [-8.0, 4.0, 4.0], 11: [1.0, 0.0, -1.0]},  # outside
    }
    write_whole_run(tmp_path, {"side": ["in", "out", "out"]}, headlines)
    client = client_of(tmp_path)

    def effects(query: str) -> dict[int, tuple[Any, Any]]:
        rows = get(client, f"/api/features?limit=300{query}")["features"]
        return {row["feature"]: (row["slice_effects"], row["n_slice_effects"]) for row in rows}

    inside = effects("&where=side:in")
    assert inside.pop(7) == ([1.5, -1.0, -0.5], 2)
    assert inside.pop(9) == ([0.25, 0.0, -0.25], 1)
    assert set(map(str, inside.values())) == {"(None, 0)"}
    assert effects("&where=side:out")[7] == ([-8.0, 4.0, 4.0], 1)
    assert set(effects("").values()) == {(None, None)}


def test_a_run_without_causal_findings_has_no_effects_in_a_slice(client: FlaskClient) -> None:
    rows = get(client, "/api/features?where=ticker:MSFT")["features"]
    assert {(row["slice_effects"], row["n_slice_effects"]) for row in rows} == {(None, None)}


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/headlines?where=price:1", 404, "write column:value"),
        ("/api/headlines?where=AAPL", 404, "write column:value"),
        ("/api/confusion?where=", 404, "write column:value"),
        ("/api/features?where=price:1", 404, "write column:value"),
        ("/api/headlines?where=year:last..", 400, "holds numbers"),
        ("/api/headlines?where=year:..nan", 400, "holds numbers"),
        ("/api/headlines?sort=column:price", 404, "has no column"),
        ("/api/headlines?sort=column:", 400, "sort"),
        ("/api/headlines?sort=price", 400, "sort"),
        ("/api/column_values?column=price", 404, "has no column"),
        ("/api/column_values", 400, "column"),
        ("/api/headlines?" + "&".join(["where=ticker:A"] * 21), 400, "where"),
        ("/api/headlines?where=ticker:" + "x" * 2_000, 400, "where"),
    ],
)
def test_a_bad_condition_or_order_is_one_sentence(client: FlaskClient, address: str, status: int, words: str) -> None:
    got, message = error(client, address)
    assert got == status
    assert words in message and len(message) < 500


HOSTILE = [
    "__proto__",
    "\u202eevil",
    "<b>x</b>",
    "a\0b",
    "x" * 1_000,
    "'; DROP TABLE headline;--",
    "\x1b[31m",
    "%",
    "é",
]


def test_hostile_names_and_values_are_text(tmp_path: Path) -> None:
    write_run(tmp_path, 18, 32, columns=dict.fromkeys(HOSTILE, HOSTILE))
    client = client_of(tmp_path)
    for name in HOSTILE:
        answer = get(client, f"/api/column_values?column={quote(name)}")
        assert {one["value"] for one in answer["values"]} == set(HOSTILE)
        assert found(client, name, f"{name}:{HOSTILE[1]}") == [HOSTILE[1]] * 2
        assert found(client, name, sort=f"column:{name}") == sorted(HOSTILE * 2)


def test_a_column_of_a_thousand_values_is_answered_by_its_most_frequent(tmp_path: Path) -> None:
    write_run(tmp_path, 1_000, 32, columns={"id": [f"id-{n}" for n in range(1_000)]})
    client = client_of(tmp_path)
    answer = get(client, "/api/column_values?column=id")
    assert (answer["n_values"], answer["total"], len(answer["values"])) == (1_000, 1_000, 20)
    assert found(client, "id", "id:id-777") == ["id-777"]
    assert get(client, "/api/column_values?column=id&q=77")["total"] == sum("77" in str(n) for n in range(1_000))


def test_a_run_without_columns_has_none(tmp_path: Path) -> None:
    write_run(tmp_path, 10, 32)
    client = client_of(tmp_path)
    assert get(client, "/api/columns")["columns"] == []
    status, message = error(client, "/api/headlines?where=ticker:AAPL")
    assert status == 404 and message.endswith("with one of its columns (none).")
