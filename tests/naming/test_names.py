"""Names with a known answer: rules that were planted are found, scored as counted by hand, and beat other names."""

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from sae_pipeline.arrays import Flags
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.naming.controls import other_units, sparsified
from sae_pipeline.naming.names import FoundNames, NamedHeadlines, find_names
from sae_pipeline.naming.predicates import holds, stem_of
from sae_pipeline.naming.rules import information, log_odds
from sae_pipeline.naming.sample import HeadlineSample, Peaks, SampledHeadline, peak_matrix
from sae_pipeline.naming.shapes import shapes_in
from sae_pipeline.schema.names import FeatureName, Predicate

CLASSES = ["Bearish", "Bullish"]
FIRMS = ["Acme", "Borel", "Cantor", "Dirac", "Euler"]
MOVES = ["rises", "falls", "cuts debt by $1.2bn", "holds", "to merge with Zeta", "up 3%"]


def headline(text: str, prediction: int = 0, fired: dict[int, float] | None = None) -> SampledHeadline:
    fired = dict(sorted((fired or {}).items()))
    peaks = Peaks(np.array(list(fired), np.int32), np.array(list(fired.values()), np.float32))
    return SampledHeadline(text, tuple(text.split()), prediction, peaks, np.zeros(4, np.float16))


TEXTS = [f"{firm} {move} {day}" for firm, move, day in product(FIRMS, MOVES, ("today", "on Monday", "again", "now"))]
HEADLINES = [headline(text, int("rises" in text)) for text in TEXTS]
TESTS: Flags = np.arange(len(TEXTS)) // 2 % 2 == 1  # each text with "on Monday" and "today" chooses, the others test


def named(fires: list[list[float]], tests: Flags = TESTS) -> FoundNames:
    """Names of units that fire as given, [n_units][n_headlines]."""
    table = NamedHeadlines.read(HEADLINES, tests, CLASSES)
    return find_names(table, sparse.csr_matrix(np.array(fires, np.float32).T))


def record(fires: list[float], tests: Flags = TESTS) -> FeatureName:
    return named([fires], tests).records()[0]


def on(*parts: str) -> list[float]:
    return [float(any(part in text for part in parts)) for text in TEXTS]


def test_planted_rules_are_found_and_score_1() -> None:
    cases = {"Cantor": on("Cantor"), "Borel, Dirac": on("Borel", "Dirac"), "holds": on("holds")}
    records = named(list(cases.values())).records()
    for (name, _), found in zip(cases.items(), records.values(), strict=True):
        assert found.name is not None and sorted(found.name.split(", ")) == name.split(", ")
        assert found.score == found.high == found.f1 == 1.0 and found.low and found.low > 0.8
        assert found.n == found.n_rule


def test_general_predicates_are_found() -> None:
    shapes = record([float("%" in text) for text in TEXTS])
    assert shapes.name == "a percentage" and shapes.score == 1.0


def test_the_predicted_class_makes_a_name_alone_and_where_little_else_says_the_same() -> None:
    bullish = [float(one.prediction == 1) for one in HEADLINES]
    found = record(bullish)
    assert found.name == "rises" and found.score == 1.0  # the class costs less
    scattered = [text._replace(prediction=n * n % 7 % 2) for n, text in enumerate(HEADLINES)]
    table = NamedHeadlines.read(scattered, TESTS, CLASSES)
    fires = [float(one.prediction == 1 or "Cantor" in one.text) for one in scattered]
    found = find_names(table, sparse.csr_matrix(np.array([fires], np.float32).T)).records()[0]
    assert found.name == "predicted Bullish" and found.score == pytest.approx(0.5 + 17 / 25 / 2)


def test_the_score_is_counted_on_the_other_half_alone() -> None:
    wrong_there = [f if not test else 1 - f for f, test in zip(on("Cantor"), TESTS, strict=True)]
    found = record(wrong_there)
    assert found.rule == [Predicate(kind="word", value="cantor")]
    assert found.score == 0.0 and found.name is None
    half_there = [f * (n % 4 != 3) for n, f in enumerate(on("Cantor"))]
    found = record(half_there)
    held = sum(f for f, test in zip(on("Cantor"), TESTS, strict=True) if test)
    silent = TESTS.sum() - found.n
    assert found.score == pytest.approx(0.5 + (1 - (held - found.n) / silent) / 2, abs=1e-6)
    assert found.f1 == pytest.approx(2 * found.n / (found.n + held), abs=1e-6)


def test_noise_and_two_examples_have_no_name() -> None:
    noise = np.random.default_rng(0).random((40, len(TEXTS))) < 0.1
    records = list(named(noise.astype(float).tolist()).records().values())
    assert sum(one.name is not None for one in records) <= 1
    assert sum(bool(one.rule) for one in records) <= 4
    two = [float(n in (0, 2)) for n in range(len(TEXTS))]
    found = record(two)
    assert found.score is found.low is found.f1 is None and found.name is None


def test_a_unit_that_nearly_always_fires_is_named_by_where_it_is_strong() -> None:
    strong = [1.0 + 5.0 * f + 0.001 * n for n, f in enumerate(on("Dirac", "Euler"))]
    found = record(strong)
    assert found.above > 1 and found.name is not None and set(found.name.split(", ")) == {"Dirac", "Euler"}


def test_weak_firing_is_left_out() -> None:
    weak = [f or 0.4 * (n % 3 == 0) for n, f in enumerate(on("Cantor"))]
    found = record(weak)
    assert found.above == 0.5 and found.name == "Cantor" and found.score == 1.0


def test_a_rule_that_is_mostly_wrong_is_no_name() -> None:
    """A unit fires in 6 of 60 headlines with a question mark, of 240 headlines, in either half."""
    headlines = [headline(f"is it x{n} ?" if n % 4 < 1 else f"it is y{n}") for n in range(480)]
    table = NamedHeadlines.read(headlines, np.arange(480) % 8 < 4, CLASSES)
    fires = np.array([[float(n % 80 in (0, 4)) for n in range(480)]])
    found = find_names(table, sparse.csr_matrix(fires.T.astype(np.float32))).records()[0]
    assert found.rule and found.score and found.score > 0.85 and found.low and found.low > 0.5
    assert found.f1 and found.f1 < 0.3 and found.name is None


def test_of_equal_phrases_one_without_linking_words_is_the_name() -> None:
    texts = [f"x{n} hears calls by Acme on a conference" if n % 3 else f"y{n} hears nothing" for n in range(60)]
    table = NamedHeadlines.read([headline(text) for text in texts], np.arange(60) % 2 == 0, CLASSES).table
    phrases = [name for name, one in zip(table.names, table.predicates, strict=True) if one.kind == "phrase"]
    assert phrases.index("hears calls") < phrases.index("Acme on") and phrases.index("calls by Acme") < phrases.index(
        "calls by"
    )


def test_forms_of_a_word_are_one_predicate() -> None:
    assert {stem_of(word) for word in ("raise", "raises", "raised", "raising")} == {"rais"}
    assert stem_of("here") != stem_of("her") and stem_of("cuts") == stem_of("cut") == "cut"
    assert stem_of("apple's") == stem_of("apples") == "appl" and stem_of("is") == stem_of("3%") == ""
    texts = [
        f"{firm} {verb} {n}" for n in range(8) for firm in FIRMS for verb in ("raises cash", "raised cash", "sleeps")
    ]
    headlines = [headline(text) for text in texts]
    table = NamedHeadlines.read(headlines, np.arange(len(texts)) % 2 == 0, CLASSES)
    names = {name for name, one in zip(table.table.names, table.table.predicates, strict=True) if one.kind == "stem"}
    assert names == {"raised/raises"}


def test_the_shortest_of_equal_rules_wins() -> None:
    for part in ("merge", "to merge with Zeta"):
        assert record(on(part)).rule == [Predicate(kind="word", value="merge")]


def test_names_of_other_units_score_as_chance() -> None:
    found = named([on(firm) for firm in FIRMS])
    assert np.nanmax(found.shuffled.auroc) < 0.5
    assert [found.summaries("names").share_named, found.shuffled_summary().share_named] == [1.0, 0.0]
    for n in (2, 3, 50):
        assert sorted(other_units(n)) == list(range(n)) and (other_units(n) != np.arange(n)).all()


def test_neurons_fire_as_often_as_features_do() -> None:
    strengths = np.random.default_rng(1).normal(size=(200, 30))
    fires = sparsified(strengths, np.array([0.05, 0.1]))
    assert set(np.diff(fires.tocsc().indptr)) == {10, 20}
    column = fires[:, 0].toarray().ravel()
    assert strengths[column > 0, 0].min() >= strengths[column == 0, 0].max()


def test_one_rule_holds_where_the_table_says() -> None:
    found = record(on("Borel", "Dirac"))
    assert [holds(found.rule, h.text, h.words, CLASSES[h.prediction]) for h in HEADLINES] == [
        bool(f) for f in on("Borel", "Dirac")
    ]


def test_information_and_log_odds_have_known_values() -> None:
    assert information(np.array(4), np.array(4), np.array(4), 8) == pytest.approx(8)  # a perfect rule: 1 bit each
    assert information(np.array(2), np.array(4), np.array(4), 8) == pytest.approx(0)  # independent
    together, alone = (log_odds(np.array([both]), np.array([20]), np.array([20]), 200)[0] for both in (18, 2))
    assert together > 3 and alone == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("$AAPL up", "ticker"),
        ("profit falls -4.2% today", "fall in percent"),
        ("up +3 %", "rise in percent"),
        ("a $1.2bn deal", "billions"),
        ("5 million shares", "millions"),
        ("Q3 results", "quarter"),
        ("read https://t.co/ab12", "link"),
        ("thanks @cnbc", "user"),
        ("Fed: no cuts", "source"),
        ("is it over?", "question"),
        ("Beyond Meat Inc", "company"),
        ("due on March 3", "date"),
    ],
)
def test_shapes(text: str, shape: str) -> None:
    assert shape in shapes_in(text)
    assert shape not in shapes_in("plain words about shares")


def test_shapes_of_a_very_long_text_are_found_soon() -> None:
    """The time grows as the length; were it the square, this would take minutes."""
    assert "all capitals" not in shapes_in("A" * 150_000 + "a")
    assert "all capitals" in shapes_in("1 É A" * 30_000)


def test_a_link_is_no_number_and_no_colon() -> None:
    assert shapes_in("read https://t.co/ab12") == ["link"]


def test_the_sample_does_not_depend_on_order_or_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sae_pipeline.naming.sample.MAX_HEADLINES", 20)
    monkeypatch.setattr("sae_pipeline.naming.sample.MAX_ENTRIES", 60)
    rng = np.random.default_rng(0)
    made = {headline_id(text): headline(text, 0, dict.fromkeys(range(rng.integers(9)), 1.0)) for text in TEXTS}
    names = list(made)

    def sample(order: list[str]) -> list[str]:
        parts = [HeadlineSample(), HeadlineSample()]
        for n, name in enumerate(order):
            parts[n % 2].add({name: made[name]})
        return [name for name, _ in (parts[0] + parts[1]).finish()]

    kept = sample(names)
    assert kept == sample(names[::-1]) == sorted(names)[: len(kept)] and 5 < len(kept) <= 20
    headlines = [made[name] for name in kept]
    assert peak_matrix(headlines, 9).sum() == sum(len(one.features.unit) for one in headlines) <= 60
