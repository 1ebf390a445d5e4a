"""`name@hash`: what records hold instead of the path of a user's file or folder.

It says what was read and nothing about the machine. The hash is of the content, 12 hex characters.
"""

import re
from pathlib import Path

from sae_pipeline.artefacts.checksums import file_hash
from sae_pipeline.errors import DamageError, UserError

_HASH = re.compile(r"@[0-9a-f]{12}$")


def content_name(path: Path) -> str:
    """The name of a file, or of a folder, whose hash is of the files at any depth that are not hidden.

    Raises UserError for a file that cannot be read.
    """
    paths = [path]
    if path.is_dir():
        path = path.resolve()
        files = (file for file in path.rglob("*") if file.is_file())
        paths = sorted(file for file in files if all(part[0] != "." for part in file.relative_to(path).parts))
    try:
        return f"{path.name}@{file_hash(*(file.resolve() for file in paths))}"
    except DamageError as error:
        raise UserError(f"A file of {path} {error}; make it readable, or name another one.") from error


def without_hash(name: str) -> str:
    """The plain name of a file or folder; any other text as it is."""
    return _HASH.sub("", name)
