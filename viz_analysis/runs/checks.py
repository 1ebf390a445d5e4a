"""Comparing all runs with their checksums in the background, so that the list of runs names damaged ones."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread

from sae_pipeline.errors import UserError

_LOG = logging.getLogger(__name__)


class RunChecks:
    """What `compare` found out about runs; `compare` raises a `UserError` for a damaged one.

    A run is compared once, and again when its stamp has changed. The run asked for first is compared first.
    """

    def __init__(self, compare: Callable[[Path], None]) -> None:
        self._compare = compare
        self._found: dict[Path, tuple[str, str | None]] = {}  # stamp and damage
        self._waiting: dict[Path, str] = {}  # stamps, in the order in which the runs were asked for
        self._lock = Lock()
        self._works = False

    def damage(self, run: Path, stamp: str) -> str | None:
        """What is wrong with a run; None if it is whole, or has not been compared yet and soon will be."""
        with self._lock:
            seen, damage = self._found.get(run, ("", None))
            if seen == stamp:
                return damage
            self._waiting[run] = stamp
            if not self._works:
                self._works = True
                Thread(target=self._work, daemon=True).start()
        return None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._works = False
                    return
                run, stamp = next(iter(self._waiting.items()))
            try:
                damage = None
                self._compare(run)
            except UserError as error:
                damage = str(error)
            except Exception as error:  # of any kind: the other runs are still compared
                _LOG.warning("%s could not be compared with its checksums (%s).", run, error)
            with self._lock:
                self._found[run] = stamp, damage
                if self._waiting.get(run) == stamp:
                    del self._waiting[run]
