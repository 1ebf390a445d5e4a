"""Commands that are stopped at a chosen change of the disk: killed, paused, or met by a full disk.

A process preloads `faults.c`, which counts what it changes below one folder: files and folders that are made, written,
renamed, synced or removed. `Faults` says which change is stopped, and reads what was counted.
"""

import json
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.built_viewer import write_viewer

FULL = 0
_HEAD, _ROOT, _ENTRY, _ENTRIES = 24, 488, 256, 16384
_NUMBER = re.compile(r"(?<=/\.cache/huggingface/).*|\d[0-9a-f]*|\b[0-9a-f]{12,}|\btmp\w+")
_NEEDS_SPACE = set("owmlrs")  # made, written, folder, link, renamed, synced; not: removed or emptied

# Each command runs in a fork of a process that has imported everything, so that a trial costs no imports. A fork ends
# without taking the interpreter apart, which would cost more than many a verb.
_FORKS = """
import atexit, gc, importlib, json, os, pkgutil, signal, sys, time, traceback
import torch, pyarrow.parquet, transformers.models.bert.modeling_bert
for name in ("sae_pipeline", "viz_analysis"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if ".gpu" not in module.name and not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:
                pass
from pathlib import Path
from sae_explorer.__main__ import main
from sae_pipeline.activations import extraction
from viz_analysis.web import viewer_files
viewer_files.VIEWER_DIR = Path(os.environ["VIEWER"])
torch.set_num_threads(1)
extraction.SHARD_TOKENS = 500  # several shards
gc.collect()
gc.freeze()

def start(arguments, folder, log):
    if child := os.fork():
        return child
    for path, stream in ((os.devnull, 0), (log + "out", 1), (log + "err", 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    code = 1
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)

def ended(child, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if found:
            return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None

for line in sys.stdin:
    commands, folder, log, os.environ["CHECKPOINT_SECONDS"] = json.loads(line)
    children, codes = [], {}
    for number, arguments in enumerate(commands):  # each later one starts when those before have ended or are paused
        child = start(arguments, folder, f"{log}{number}")
        children.append(child)
        codes[child] = ended(child, 3 if children[1:] else 600)
    for child in children:
        if codes[child] is None:
            os.kill(child, signal.SIGCONT)
    print(json.dumps([ended(child, 600) if codes[child] is None else codes[child] for child in children]), flush=True)
os._exit(0)
"""


class Ended(NamedTuple):
    """How a command ended: its exit code (a negative one is the signal that killed it), and what it printed."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str | None:
        """The one sentence of a command that was refused, which is the last line on stderr; None if there is more."""
        lines = [line for line in self.err.replace("\r", "\n").splitlines() if line.strip()]
        complaints = [line for line in lines if line.startswith(("error: ", "Traceback", "Exception"))]
        return complaints[0] if complaints == lines[-1:] and self.code == 2 else None


class Change(NamedTuple):
    """A change of the disk: what was done, to which path below the watched folder."""

    kind: str
    path: str


class Faults:
    """What is counted and stopped in the processes that have `environment`. `folder` is the watched one."""

    def __init__(self, library: Path, control: Path, folder: Path) -> None:
        control.write_bytes(bytes(_HEAD + _ROOT + _ENTRY * _ENTRIES))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.folder = folder
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "FAULTS": str(control), **_quiet(folder)}
        root = str(folder.resolve()).encode()
        self._memory[_HEAD : _HEAD + len(root)] = root

    def stop(self, at: int = 0, sent: int = FULL) -> None:
        """Stop at change number `at` from now on; 0 for none. The count begins anew.

        `sent` is the signal that the process gets there: SIGKILL, or SIGSTOP for a pause; FULL for a full disk instead.
        """
        self._memory[:_HEAD] = struct.pack("3q", 0, at, sent)

    @property
    def count(self) -> int:
        """The changes since `stop`."""
        return int(struct.unpack("q", self._memory[:8])[0])

    def changes(self) -> list[Change]:
        """The changes since `stop`, in their order."""
        assert self.count <= _ENTRIES
        starts = range(_HEAD + _ROOT, _HEAD + _ROOT + _ENTRY * self.count, _ENTRY)
        entries = (self._memory[at : at + _ENTRY].split(b"\0", 1)[0].decode(errors="replace") for at in starts)
        return [Change(entry[:1], entry[1:]) for entry in entries]


def _quiet(folder: Path) -> dict[str, str]:
    """The environment of a process whose caches and temporary files are on the watched disk too."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    names = {"TMPDIR": temporary, "MPLCONFIGDIR": temporary / "matplotlib", "HF_HOME": temporary / "hub"}
    hub = {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test", "HF_HUB_OFFLINE": "0"}
    one_thread = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**{name: str(path) for name, path in names.items()}, **hub, **one_thread}


def write_points(changes: list[Change]) -> list[int]:
    """The numbers of the changes that a full disk can stop: of each kind to each file, the first and the last.

    Files whose names differ in numbers or hashes alone count as one, such as the shards of a store.
    """
    first, last = dict[Change, int](), dict[Change, int]()
    for number, change in enumerate(changes, 1):
        if change.kind in _NEEDS_SPACE:
            point = Change(change.kind, _NUMBER.sub("#", change.path))
            first.setdefault(point, number)
            last[point] = number
    return sorted({*first.values(), *last.values()})


class StoppableCommands:
    """A process that runs commands of the program, each in a fork of its own."""

    def __init__(self, faults: Faults, process: "subprocess.Popen[str]", logs: Path) -> None:
        self.faults = faults
        self._process, self._logs = process, logs

    def __call__(self, command: str, at: int = 0, sent: int = FULL, checkpoints: bool = True) -> Ended:
        """Run one command in the watched folder, and stop it at change number `at`; 0 lets it run to its end.

        It saves a checkpoint whenever it can, or none.
        """
        return self._run([command], at, sent, 0 if checkpoints else 1000)[0]

    def together(self, first: str, second: str, at: int) -> list[Ended]:
        """Pause the first command at change number `at`, run the second for some seconds, and let both end."""
        return self._run([first, second], at, signal.SIGSTOP)

    def _run(self, commands: list[str], at: int, sent: int, pause: int = 0) -> list[Ended]:
        assert self._process.stdin and self._process.stdout
        self.faults.stop(at, sent)
        split = [command.split() for command in commands]
        line = json.dumps([split, str(self.faults.folder), f"{self._logs}/", str(pause)])
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that runs the commands has died"
        return [self._ended(number, code) for number, code in enumerate(json.loads(answer))]

    def _ended(self, number: int, code: int) -> Ended:
        out, err = (self._logs / f"{number}{name}" for name in ("out", "err"))
        return Ended(code, out.read_text(errors="replace"), err.read_text(errors="replace"))


@contextmanager
def stoppable_commands(
    folder: Path, watched: Path, more: Mapping[str, str] | None = None
) -> Iterator[StoppableCommands]:
    """Start the process; `folder` is for what it needs, and `watched` is the disk that is counted and filled."""
    faults = Faults(compiled(folder), folder / "control", watched)
    viewer = folder / "viewer"
    viewer.mkdir()
    write_viewer(viewer)
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        env={**faults.environment, "VIEWER": str(viewer), **(more or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield StoppableCommands(faults, process, folder)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=300)


def compiled(folder: Path) -> Path:
    """Compile `faults.c`. Raises FileNotFoundError where there is no compiler."""
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library
