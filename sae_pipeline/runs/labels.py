"""Reading what people write about the features of an SAE: names, stars, notes, and named sets of features.

The file belongs to an SAE and not to a run, so it stands beside the runs. A server that writes it seals it with a
checksum. A person may edit it and remove the checksum; the next change seals it again.
"""

import re
import stat
from pathlib import Path

from pydantic import ValidationError

from sae_pipeline.artefacts.checksums import CHANGED, unseal
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.schema.labels import LABELS, FeatureSet, LabelsFile, Sets

MAX_LABELS_BYTES = 16 << 20  # more than the largest change can make
_SAFE_HASH = re.compile(r"[0-9A-Za-z]{1,64}")
_NAMES_A_CHECKSUM = re.compile(rb'\s*\{\s*"checksum"')
_LISTED = 20  # sets that a message names


class DamagedLabelsError(UserError):
    """The file exists but cannot be read. It is left as it is."""


class UnknownSetError(UserError):
    """People have named no such set of features."""


def labels_path(analysis_dir: Path, sae_hash: str) -> Path:
    """The file of an SAE beside the runs of `analysis_dir`. Raises `DamagedLabelsError` for what is no hash."""
    if not _SAFE_HASH.fullmatch(sae_hash):  # it may come from elsewhere, and names a file
        raise DamagedLabelsError(f"{sae_hash[:64]!r} is no hash of an SAE and has no annotations; analyse again.")
    return analysis_dir / LABELS / f"{sae_hash}.json"


def read_labels(analysis_dir: Path, sae_hash: str, d_sae: int) -> LabelsFile:
    """What people wrote about an SAE of `d_sae` features; nothing where there is no file.

    Raises `DamagedLabelsError`.
    """
    path = labels_path(analysis_dir, sae_hash)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(path, "is not a plain file")
        if status.st_size > MAX_LABELS_BYTES:
            raise _damaged(path, f"is larger than {MAX_LABELS_BYTES >> 20} MiB")
        data = path.read_bytes()
        file = LabelsFile.model_validate_json(unseal(data) if _NAMES_A_CHECKSUM.match(data) else data)
    except FileNotFoundError:
        return LabelsFile(sae_hash=sae_hash, labels={})
    except OSError as error:
        raise DamagedLabelsError(f"{path.name} in {LABELS} cannot be read: {error.strerror}.") from error
    except DamageError as error:
        reason = f"{path.name} in {LABELS} {CHANGED}"
        raise DamagedLabelsError(
            f"{reason}; if you changed it yourself, remove its field `checksum`, otherwise repair it or move it away."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _damaged(path, f"is damaged ({place}: {first['msg']})") from error
    if file.sae_hash != sae_hash:
        raise _damaged(path, f"belongs to another SAE (sae_hash: {file.sae_hash[:64]!r})")
    where, highest = file.highest
    if highest >= d_sae:
        raise _damaged(path, f"is damaged ({where}.{highest}: this SAE has features 0 to {d_sae - 1})")
    return file


def find_set(sets: Sets, name: str) -> FeatureSet:
    """The set of a name. Raises `UnknownSetError`, which lists the sets that there are."""
    if name in sets:
        return sets[name]
    if not sets:
        known = "it has no sets yet; make one in the viewer"
    else:
        more = f" and {len(sets) - _LISTED} more" if len(sets) > _LISTED else ""
        known = f"it has {', '.join(repr(one[:100]) for one in list(sets)[:_LISTED])}{more}"
    raise UnknownSetError(f"This SAE has no set of features named {name[:100]!r}; {known}.")


def _damaged(path: Path, reason: str) -> DamagedLabelsError:
    return DamagedLabelsError(f"{path.name} in {LABELS} {reason}; repair it or move it away.")
