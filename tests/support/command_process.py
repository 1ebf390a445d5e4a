"""One process that runs commands of the program one after the other, so that a test pays for its imports once."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

_LOOP = """
import contextlib, io, json, sys
from sae_pipeline.__main__ import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line on stderr: the sentence of a command that was refused."""
        assert "Traceback" not in self.err
        return self.err.strip().splitlines()[-1]


class Commands:
    """The process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def __call__(self, *arguments: object) -> Done:
        """Run one command."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(argument) for argument in arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, f"the process has died at {arguments}"
        return Done(*json.loads(answer))


@contextmanager
def command_process(environment: Mapping[str, str]) -> Iterator[Commands]:
    """Start the process in an environment, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOP], env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Commands(process)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=300)  # it may wait long for a processor
