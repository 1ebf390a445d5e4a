"""Completion of verbs and flags in a shell: `sae-explorer --print-completion bash`."""

import argparse
from collections.abc import Iterator

import shtab


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add `--print-completion SHELL` to a parser that has all its verbs and flags. Values complete as file names."""
    shtab.add_argument_to(parser, ["--print-completion"], help="print what a shell needs to complete this command")
    for action in _actions(parser):
        if action.nargs != 0 and not action.choices:
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All flags of a parser and of its verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
        else:
            yield action
