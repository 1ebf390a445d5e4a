"""Records name a study's files without saying where they lie on this machine."""

from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.study.places import located, recorded, remember


@pytest.fixture
def anna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user, who works in it and has two files of headlines and a study."""
    home = tmp_path / "home" / "anna"
    for path in (home / "my.csv", home / "study" / "data" / "test.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text,label\n")
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    return home


def names(anna: Path, source: str, test_source: str | None = None) -> tuple[str, str | None]:
    """How records name two sources."""
    config = recorded(HeadlinesConfig(source=source, test_source=test_source), anna / "study")
    return config.source, config.test_source


def test_files_inside_the_root(anna: Path) -> None:
    """The path from the root, however it is given, also of a link; so a study may be moved."""
    (anna / "study" / "link.csv").symlink_to(anna / "my.csv")
    inside = ("data/test.csv", "link.csv")
    assert names(anna, "study/data/test.csv", "study/link.csv") == inside
    assert names(anna, str(anna / "study" / "data" / ".." / "data" / "test.csv"), "~/study/link.csv") == inside


def test_files_outside_the_root(anna: Path, tmp_path: Path) -> None:
    """The name and a hash of the content: the same wherever the file is, another one for other content."""
    own, moved = anna / "my.csv", tmp_path / "my.csv"
    moved.write_bytes(own.read_bytes())
    found = {*names(anna, "my.csv", "~/my.csv"), *names(anna, str(own), str(moved)), *names(anna, "./../anna/my.csv")}
    (name,) = found - {None}
    assert str(name).startswith("my.csv@")
    own.write_text("text,label\nmore,0\n")
    assert names(anna, "my.csv")[0] != name


def test_folders_are_found_again(anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved data set inside the root or outside it is found from any working folder."""
    root = anna / "study"
    for folder in (anna / "outside", root / "data" / "inside"):
        folder.mkdir(parents=True)
        (folder / "state.json").write_text("{}")
    config = HeadlinesConfig(source="outside", test_source="study/data/inside")
    names = recorded(config, root)
    assert names.source.startswith("outside@") and names.test_source == "./data/inside"
    remember(config, root)
    monkeypatch.chdir(tmp_path)
    found = located(names, root)
    assert [Path(path).resolve() for path in (found.source, str(found.test_source))] == [
        anna / "outside", root / "data" / "inside"
    ]  # fmt: skip


def test_what_is_no_file(anna: Path) -> None:
    """The sample and the names of data sets on the hub stay as they are."""
    for source in ("sample", "zeroshot/twitter-financial-news-sentiment"):
        assert names(anna, source) == (source, None)
    with pytest.raises(UserError, match=r"gone\.csv is missing"):
        names(anna, "gone.csv")
