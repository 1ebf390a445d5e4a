"""The copy of an address, at one that needs no server."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.artefacts.mirror import Mirror

FOLDERS = st.lists(st.sampled_from(["d", "ö ?#%", "..", ".hidden", "back\\slash"]), max_size=2)
NAMES = st.builds(lambda path, name: "/".join([*path, name]), FOLDERS, st.sampled_from(["a", "b.json", ".c"]))


@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "send"]), NAMES, st.binary(max_size=20)), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_copy_follows_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, str, bytes]]
) -> None:
    """After any sequence of changes on both sides, both hold the same files, and no file lies elsewhere."""
    monkeypatch.setenv("SAE_CACHE", str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe_file("/study2/a", b"of another study")
    mirror, expected = Mirror("memory://study"), dict[str, bytes]()
    for action, name, data in steps:
        plain = not any(part[0] == "." or "\\" in part for part in name.split("/"))
        if action == "put":
            memory.store[f"/study/{name}"] = MemoryFile(memory, f"/study/{name}", data)
            memory.store[f"/study/{name}"].modified = datetime.now(UTC)
            expected |= {name: data} if plain else {}
        elif action == "delete":
            memory.store.pop(f"/study/{name}", None)
            expected.pop(name, None)
        elif plain:
            (mirror.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (mirror.folder / name).write_bytes(data)
            mirror.push(mirror.changed())
            expected[name] = data
            assert memory.cat_file(f"/study/{name}") == data
        recorded, files = mirror.recorded(), mirror.list_files()
        mirror.forget(recorded - files.keys())
        mirror.pull(files)
        assert {name: (mirror.folder / name).read_bytes() for name in files} == expected
        assert mirror.changed() == [] and all(mirror.is_current(name, file) for name, file in files.items())
    copies = [path for path in mirror.folder.rglob("*") if path.is_file() and ".mirror" not in path.parts]
    assert len(copies) == len(expected) + 1  # and .address
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_secrets_in_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password or a token leads to the files and is neither shown nor kept."""
    monkeypatch.setenv("SAE_CACHE", str(tmp_path))
    fsspec.filesystem("memory").pipe_file("/anna:secret@host/study?token=secret/a", b"content")
    mirror = Mirror("memory://anna:secret@host/study?token=secret/")
    mirror.pull(mirror.list_files())
    assert (mirror.folder / "a").read_bytes() == b"content"
    assert mirror.address == "memory://anna@host/study"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
