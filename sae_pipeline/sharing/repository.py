"""A model repository on the Hugging Face hub: its files, fetching them, and adding files in one commit.

A commit arrives whole or not at all. Files that arrived before a failure are not sent again by the next call.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError

from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.headlines.text import shortened
from sae_pipeline.machine.hub import hub_trouble

_NAME = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*/[A-Za-z0-9][\w-]*(\.[\w-]+)*", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """The state of a repository at the moment when `look` asked for it."""

    name: str
    commit: str | None  # of the revision that was asked for; None where there is no such repository
    files: frozenset[str]

    @classmethod
    def look(cls, name: str, flag: str, revision: str | None = None) -> "Repository":
        """Ask the hub for a repository; `flag` is what named it. Raises UserError when the hub does not answer."""
        check_name(name, flag)
        if constants.is_offline_mode():
            raise UserError(f"HF_HUB_OFFLINE is set, so {name} cannot be reached; unset it for this command.")
        with _sentences(f"{name} cannot be read"):
            try:
                info = HfApi().model_info(name, revision=revision)
            except RepositoryNotFoundError:
                return cls(name, None, frozenset())
        return cls(name, info.sha, frozenset(file.rfilename for file in info.siblings or ()))

    def fetch(self, path: str, folder: Path) -> Path:
        """Download a file to `folder/path`, or go on with a download that broke off there. Raises ResourceError."""
        with readable_os_errors(folder), _sentences(f"{path} of {self.name} did not arrive"):
            return Path(hf_hub_download(self.name, path, revision=self.commit, local_dir=folder))

    def add(self, files: Mapping[str, Path | bytes], message: str, private: bool) -> str:
        """Add files, by their paths, in one commit; make the repository where there is none. Returns its address.

        Raises ResourceError when the hub fails, and when the repository has changed since it was looked at.
        """
        operations = [
            CommitOperationAdd(path, source if isinstance(source, bytes) else str(source))
            for path, source in files.items()
        ]
        with _sentences(f"{self.name} was not changed", sending=True):
            api = HfApi()
            if self.commit is None:
                api.create_repo(self.name, private=private, exist_ok=True)
            api.create_commit(self.name, operations, commit_message=message, parent_commit=self.commit)
        return f"{constants.ENDPOINT}/{self.name}"


def check_name(name: str, flag: str) -> None:
    """Raise UserError unless the hub can have a repository of this name, which `flag` gave."""
    if not _NAME.fullmatch(name) or len(name) > 96:
        raise UserError(f"{name!r} is not the name of a repository; write {flag} USER/NAME.")


@contextmanager
def _sentences(what: str, sending: bool = False) -> Iterator[None]:
    """Turn what the hub's client raises into a ResourceError; `what` begins its sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client, its HTTP library and its Rust parts have errors of their own
        reason = hub_trouble(error, sending)
        if reason is None and isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's
        reason = reason or shortened(str(error).strip() or type(error).__name__, 200)
        raise ResourceError(
            f"{what} ({reason.rstrip('.')}); the same command goes on from what has arrived."
        ) from error
