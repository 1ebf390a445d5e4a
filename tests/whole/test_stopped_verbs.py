"""Every verb, killed or met by a full disk at any change of the disk, and two of them at once on one root.

`tests/support/faults.py` stops commands at a change, and `tests/support/verb_cases.py` lists them. The
ordinary suite stops a few; `pytest -m full -s` on this file stops all, and prints the counts.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice

import pytest

from tests.support.endpoint import KEY, stand_in
from tests.support.faults import Change, stoppable_commands
from tests.support.hub import writable_hub
from tests.support.stop_trials import killed, met_by_full_disk, points_of, together
from tests.support.verb_cases import CASES, Studies

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="the faults are compiled, and there is no C compiler")

N_KILLS = 50
KILLED, FILLED = ("map",), ("import",)  # of the ordinary suite
PAIRS = (("paper", "paper"),)
MORE_PAIRS = (
    *(
        ("train relu", "train relu"),
        ("train relu", "extract, two layers"),
        ("extract, two layers", "extract"),
        ("train relu", "sweep"),
    ),
    *(
        ("intervene", "contrast"),
        ("mend", "calibrate"),
        ("analyze", "score"),
        ("finish", "analyze"),
        ("compare", "layers"),
        ("finetune", "adopt"),
    ),
    *((name, name) for name in ("finetune", "extract", "finish", "sweep", "score", "intervene", "map", "diff")),
    *((name, name) for name in ("compare", "layers", "report", "import", "export site", "export html")),
)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studies]:
    """Studies to start from, on a disk that can be filled, with a hub and an endpoint as partners."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "disk").mkdir()
    with writable_hub(folder / "hub") as hub, stand_in() as endpoint:
        more = {"HF_ENDPOINT": hub.address, "OPENAI_API_KEY": KEY}
        with stoppable_commands(folder, folder / "disk", more) as commands:
            yield Studies(commands, folder / "kept", endpoint.address)


@pytest.mark.parametrize("name", KILLED)
def test_killed_at_a_random_change(studies: Studies, name: str) -> None:
    """Nothing is damaged then, and the same command ends in the same files."""
    killed(studies, name, random.Random(name))


def test_killed_between_two_layers(studies: Studies) -> None:
    """The study's layer is the same as if the command had not been killed."""
    last = Change("r", "/finbert_sae/layer_3_64.pt")
    killed(studies, "train, two layers", random.Random(0), at=studies.changes("train, two layers").index(last))


def test_killed_in_the_middle_of_a_shard(studies: Studies) -> None:
    """The temporary file of safetensors does not stay in the store."""
    changes = studies.changes("extract")
    at = next(n for n, change in enumerate(changes, 1) if change.kind == "w" and "/store/.tmp" in change.path)
    killed(studies, "extract", random.Random(0), at)


@pytest.mark.parametrize("name", FILLED)
def test_a_full_disk_at_a_random_change(studies: Studies, name: str) -> None:
    """One sentence, all that was there is there, and with space again the same command ends in the same files."""
    met_by_full_disk(studies, name, random.Random(name).choice(points_of(studies, name)))


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_two_verbs_at_once(studies: Studies, name: str, other: str) -> None:
    """One runs while the other is paused at a random change: both end well, or one says what it waits for."""
    together(studies, name, other, random.Random(name))


@pytest.mark.full
def test_fifty_kills(studies: Studies) -> None:
    """All verbs and all kinds of SAE, in a random order, each at a random change."""
    rng, counts = random.Random(0), Counter[str]()
    names = list(CASES)
    rng.shuffle(names)
    for name in islice(cycle(names), N_KILLS):
        killed(studies, name, rng)
        counts[name] += 1
    print(f"{counts.total()} kills: {dict(sorted(counts.items()))}")


@pytest.mark.full
@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_at_every_write_point(studies: Studies, name: str) -> None:
    """The first and the last change of each kind to each file."""
    points = points_of(studies, name)
    met = sum(met_by_full_disk(studies, name, at) for at in points)
    print(f"{name}: {len(points)} write points met a full disk, {met} of them ended the command")


@pytest.mark.full
@pytest.mark.parametrize(("name", "other"), [*PAIRS, *MORE_PAIRS])
def test_two_verbs_at_once_at_many_changes(studies: Studies, name: str, other: str) -> None:
    """One runs while the other is paused, at several random changes."""
    rng = random.Random(name + other)
    for _ in range(4):
        print(name, other, *together(studies, name, other, rng))
