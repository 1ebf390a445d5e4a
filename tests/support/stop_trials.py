"""Trials of commands that are killed, or that meet a full disk, at one change of the disk."""

import random
import signal
from typing import Any

from sae_pipeline.runs.index import INDEX
from tests.support.faults import Change, Ended, write_points
from tests.support.verb_cases import CASES, Studies, contents

_ONCE = ("analyze", "unseal")  # they make another run, or refuse, when what they make is there


def killed(studies: Studies, name: str, rng: random.Random, at: int | None = None) -> Change:
    """Kill a command at a change, by default a random one. Run again, it must end in the files of an unkilled one.

    Returns where it died.
    """
    whole, changes = studies.whole(name), studies.changes(name)
    studies.start(CASES[name].after)
    at = at or rng.randint(1, len(changes))
    ended, place = studies.run(CASES[name].command, at, signal.SIGKILL), studies.stopped_at(at)
    assert ended.code == -signal.SIGKILL and place, _said(name, at, ended)
    verified = studies.run("verify")
    assert "DAMAGED" not in verified.out and verified.code in (0, 2), _said(name, at, verified)
    _ends_whole(studies, name, whole, str(place))
    return place


def met_by_full_disk(studies: Studies, name: str, at: int) -> bool:
    """Fill the disk at a change: one sentence, nothing lost, then the same result. Returns whether it was noticed.

    An old index may be lost, since what reads a run next makes it again.
    """
    whole, before = studies.whole(name), studies.before(CASES[name].after)
    studies.start(CASES[name].after)
    ended = studies.run(CASES[name].command, at)
    place = f"{name} at {at}: {studies.stopped_at(at)}"
    found = contents(studies.root)
    if ended.code == 0:
        lost = {path for path in whole if found.get(path) != whole[path]}
        assert all(path.endswith(INDEX) for path in lost), f"{place}: in silence not made: {lost}\n{ended}"
    else:
        assert ended.refusal and "Errno" not in ended.refusal, _said(name, at, ended) + place
    replaced = {path for path in before if whole.get(path) != before[path]}
    changed = {path for path in before if found.get(path) != before[path]}
    lost = {path for path in changed if not path.endswith(INDEX) and (path not in found or path not in replaced)}
    assert not lost, f"{place}: lost {lost}"
    _ends_whole(studies, name, whole, place)
    return ended.code != 0


def _ends_whole(studies: Studies, name: str, whole: dict[str, Any], place: str) -> None:
    """Run a stopped command to its end. The index of a run may be missing where nothing asks for it any more."""
    found = contents(studies.root)
    if not (name in _ONCE and all(found.get(path) == whole[path] for path in whole if not path.endswith(INDEX))):
        ended = studies.run(CASES[name].command)
        assert ended.code == 0, f"{place}, then again\n{ended.out[-300:]}\n{ended.err[-3000:]}"
        found = contents(studies.root)
        known = {path for path in whole.keys() & found.keys() if found[path] == whole[path]}
        missing = {path for path in whole if path not in known and not path.endswith(INDEX)}
        assert not missing and not found.keys() - whole.keys(), f"{place}: {missing}, {found.keys() - whole.keys()}"

    if found != whole:
        verified = studies.run("verify")
        assert "DAMAGED" not in verified.out, f"{place}\n{verified.out}"


def together(studies: Studies, name: str, other: str, rng: random.Random) -> tuple[Change | None, list[str | None]]:
    """Run a command while another is paused at a random change. Returns where, and what each was refused with.

    The files must be those of one after the other, in either order where both start from the same study. A refused
    command says so in one sentence, and is run again.
    """
    at = rng.randint(1, len(studies.changes(name)))
    orders = [studies.both(name, other)]
    if CASES[name].after == CASES[other].after:
        orders.append(studies.both(other, name))
    studies.start(CASES[name].after)
    commands = [studies.filled(CASES[one].command) for one in (name, other)]
    both = studies.commands.together(commands[0], commands[1], at)
    stopped, refused = studies.stopped_at(at), [ended.refusal for ended in both]
    place = f"{name} paused at {at} ({stopped}) for {other}, {refused}"
    for command, ended in zip(commands, both, strict=True):
        if ended.code:
            assert ended.refusal, f"{place}: {command}\n{ended.out[-500:]}\n{ended.err[-3000:]}"
            again = studies.run(command)
            assert again.code == 0, f"{place}: {command}\n{again.err[-3000:]}"
    found = contents(studies.root)
    different = [
        {path for path in expected.keys() | found.keys() if found.get(path) != expected.get(path)}
        for expected in orders
    ]
    assert any(all(path.endswith(INDEX) for path in paths) for paths in different), f"{place}: {different}"
    verified = studies.run("verify")
    assert "DAMAGED" not in verified.out, f"{place}\n{verified.out}"
    return stopped, refused


def _said(name: str, at: int, ended: Ended) -> str:
    return f"{name} at {at}: {ended.code}\n{ended.out[-500:]}\n{ended.err[-3000:]}"


def points_of(studies: Studies, name: str) -> list[int]:
    """The numbers of the changes of a command that a full disk can stop; see `write_points`."""
    return write_points(studies.changes(name))
