"""The exceptions whose message tells the user what to do, and the name of the program in such messages."""

import sys
from pathlib import Path


class UserError(Exception):
    """A bad input. The message is one sentence that says what is wrong and what to do.

    Programs print it without a traceback and exit with code 2.
    """

    def _render_traceback_(self) -> list[str]:
        """Show a notebook the sentence without a traceback."""
        return [f"error: {self}"]


class ResourceError(UserError):
    """A disk or a memory that is too small. Finished work is kept, and the same command goes on from there."""


class NoEncoderError(UserError):
    """The sentence encoder is not installed."""


class DamageError(ValueError):
    """A file is not the one that was written. The message continues a sentence that begins with the file's name."""


class UnreadableError(DamageError):
    """The system does not let a file be read now, so nothing is known of its content."""


def reason_of(error: OSError) -> str:
    """The reason of a system error, in a few words."""
    return (error.strerror or str(error)).lower()


def command(verb: str) -> str:
    """The command that runs a verb, for messages: with the program that is running, else `python -m sae_pipeline`."""
    started = Path(sys.argv[0])
    if started.stem == "sae-explorer":
        return f"sae-explorer {verb}"
    if started.parent.name == "sae_explorer":
        return f"python -m sae_explorer {verb}"
    return f"python -m sae_pipeline {verb}"
