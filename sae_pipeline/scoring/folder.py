"""The folder of a table's scores: its content, and a lock that lets only one command write into it.

`score.json` is written last, so a folder without it is unfinished. Until then, the hidden folder `.score/` holds a
record of what the scores are made from, a record of each complete part, and files that are being written.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from sae_pipeline.artefacts.checksums import (
    MissingError,
    check_files,
    passing_over_damage,
    read_record,
    write_record,
)
from sae_pipeline.artefacts.locks import HeldError, locked
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.scoring.record import SCORE, Part, ScoreInputs, ScoreRecord, check_scores


class ScoreFolder:
    """A folder that holds the scores of one table, or is to hold them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / ".score"
        self._inputs = self.work / "inputs.json"

    def finished(self, inputs: ScoreInputs) -> ScoreRecord | None:
        """The record of a folder that holds the whole scores of these inputs, if it does."""
        if not self.path.is_dir():
            return None
        with passing_over_damage(self.path):
            if read_record(self.path / SCORE, ScoreRecord).inputs == inputs:
                record = check_scores(self.path)
                shutil.rmtree(self.work, ignore_errors=True)  # what a kill after the record was written has left
                return record
        return None

    @contextmanager
    def held(self, inputs: ScoreInputs) -> Iterator[None]:
        """Prepare the folder for the scores of these inputs, and lock it against other processes inside the context.

        Raises UserError where it holds something else, where it cannot be made, and where another process has the lock.
        """
        self._check(inputs)
        try:
            with readable_os_errors(self.path, flag="--out"):
                self.work.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"{self.path} cannot be a folder, as a file is in its place; choose another one."
            ) from error
        with ExitStack() as lock:
            try:
                lock.enter_context(locked(self.work / ".lock", wait=False))
            except HeldError as error:
                raise UserError(f"Another process writes into {self.path}; wait for it, or end it.") from error
            self._check(inputs)
            write_record(self._inputs, inputs)
            self._reopen()
            yield

    def _check(self, inputs: ScoreInputs) -> None:
        """Raise UserError where the folder holds other scores, or no scores but something else."""
        if not self.path.is_dir():
            return
        known = self._known_inputs()
        if known is not None and known != inputs:
            raise UserError(
                f"{self.path} holds scores {_difference(known, inputs)}; choose another folder with --out, or delete "
                "this one."
            )
        others = sorted(path.name for path in self.path.iterdir() if path != self.work)
        if known is None and others:
            listed = ", ".join(others[:3]) + (" …" if others[3:] else "")
            raise UserError(f"{self.path} holds something else ({listed}); choose another folder with --out.")

    def _known_inputs(self) -> ScoreInputs | None:
        """The inputs of the scores in the folder; None where there are no scores yet."""
        try:
            return read_record(self.path / SCORE, ScoreRecord).inputs
        except MissingError:
            path = self._inputs
        except DamageError as error:
            raise UserError(f"{self.path / SCORE} {error}; delete the folder and run again.") from error
        try:
            return read_record(path, ScoreInputs)
        except MissingError:
            return None
        except DamageError as error:
            raise UserError(f"{path} {error}; delete the folder and run again.") from error

    def _reopen(self) -> None:
        """Turn a finished folder, of which a file is damaged, into an unfinished one."""
        if (self.path / SCORE).exists():
            tqdm.write(f"{self.path} is damaged; what is whole of it is kept, and the rest is made again.")
            for number, part in enumerate(read_record(self.path / SCORE, ScoreRecord).parts):
                self.keep(number, part)
            (self.path / SCORE).unlink()

    def keep(self, number: int, part: Part) -> None:
        """Record that a part is whole."""
        write_record(self._record_of(number), part)

    def part(self, number: int) -> Part | None:
        """The record of a part that is whole; None for one that must be made."""
        with passing_over_damage(self.path):
            part = read_record(self._record_of(number), Part)
            check_files(self.path, part.files)
            return part
        return None

    def _record_of(self, number: int) -> Path:
        return self.work / f"part-{number:05d}.json"

    def finish(self, record: ScoreRecord) -> None:
        """Write the record, and remove the records that were needed to continue."""
        write_record(self.path / SCORE, record)
        shutil.rmtree(self.work, ignore_errors=True)


def _difference(known: ScoreInputs, wanted: ScoreInputs) -> str:
    """The inputs in which existing scores differ from the wanted ones, in words."""
    if known.table != wanted.table:
        return f"of another table ({known.table})"
    other = [word for name, word in _WORDS.items() if getattr(known, name) != getattr(wanted, name)]
    return f"that were made with another {' and another '.join(other)}"


_WORDS = {
    "classifier_hash": "classifier",
    "sae_hash": "SAE",
    "text_column": "--text-column",
    "features": "choice of --features",
    "columns": "--columns",
    "rows_per_part": "--rows-per-part",
    "tokens_per_batch": "--score-tokens-per-batch",
}
