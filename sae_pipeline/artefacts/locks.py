"""Locks between processes. The operating system frees a lock when the process that holds it dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor, unlock_descriptor

_POLL = 0.01  # seconds between two attempts to get a lock


class HeldError(Exception):
    """Another process or thread holds the lock."""


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is missing and stays.

    A thread must not ask again for a lock that it holds. Raises `HeldError` if the lock is held and `wait` is False,
    and `OSError` if the file cannot be written.
    """
    # A disk without flock would get a soft lock, which outlives its process: an error is better than that.
    # The lock is not bound to the thread that takes it, because another thread may close this generator.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, poll_interval=_POLL)
    try:
        lock.acquire(blocking=wait)
    except Timeout as timeout:
        raise HeldError(f"{path} is held") from timeout
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_descriptor(descriptor: int) -> Iterator[None]:
    """Hold a lock on an open file or folder."""
    lock_descriptor(descriptor, poll_interval=_POLL)
    try:
        yield
    finally:
        unlock_descriptor(descriptor)  # closing alone would leave the lock to children forked meanwhile


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder itself, in which no file is left behind. Raises `OSError` if it cannot be opened.

    Windows opens no folders, so a hidden file is left there.
    """
    if not hasattr(os, "O_DIRECTORY"):
        with locked(folder / ".lock"):
            yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with locked_descriptor(descriptor):
            yield
    finally:
        os.close(descriptor)
