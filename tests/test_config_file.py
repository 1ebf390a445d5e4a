"""Configuration files: what is read, what is refused with its line, and that what is written is read as the same."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_explorer.__main__ import main as explorer
from sae_pipeline.__main__ import main
from sae_pipeline.config import PRESETS, StudyConfig, study_config
from sae_pipeline.config_file import read_settings, settings_text
from sae_pipeline.errors import UserError
from tests.conftest import SmallStudy

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "headlines": st.fixed_dictionaries(
            {"source": _TEXT, "label_names": st.lists(_TEXT, max_size=3), "text_column": st.none() | _TEXT}
        ),
        "finetune": st.fixed_dictionaries(
            {"learning_rate": st.floats(1e-300, 1e300), "new_head": st.booleans(), "max_length": st.none() | st.just(8)}
        ),
        "train": st.fixed_dictionaries({"latent_dims": st.lists(st.integers(1, 10**6), min_size=1, unique=True)}),
        "analyze": st.fixed_dictionaries({"top_features": st.just("all") | st.integers(1, 999), "sae_size": _TEXT}),
        "push": st.fixed_dictionaries({"to": _TEXT, "private": st.booleans()}),
    },
)


def read(folder: Path, text: str) -> StudyConfig:
    """The settings in a file with this text."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    preset, stages = read_settings(path)
    return study_config(preset or "finbert", **stages)


@given(preset=st.sampled_from(sorted(PRESETS)), changes=_CHANGES)
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, preset: str, changes: dict[str, Any]
) -> None:
    """Any settings come back equal, whatever their texts look like."""
    study = study_config(preset, **changes)
    assert read(tmp_path_factory.getbasetemp(), settings_text(study)) == study


def test_words_of_python_are_written_without_a_mark(tmp_path: Path) -> None:
    """The stage import_ and its field from_ are import and from in a file; the other spelling is read too."""
    study = study_config(import_={"from_": "saelens"})
    text = settings_text(study)
    assert "\nimport:\n" in text and "\n  from: saelens\n" in text and "_:" not in text
    assert read(tmp_path, text) == read(tmp_path, "import_: {from_: saelens}") == study
    with pytest.raises(UserError, match=r"there is no stage 'imports' \(did you mean import\?\)"):
        read(tmp_path, "imports: {}")


@pytest.mark.parametrize(
    "text", ["none", "null", "~", "", "yes", "1e-3", "a: b", "# c", "- d", "tab\t", "l1\nl2", "é\x7f"]
)
def test_texts_that_yaml_would_change(tmp_path: Path, text: str) -> None:
    """A text stays a text, also where YAML has another meaning for it."""
    study = study_config(headlines={"text_column": text, "label_names": [text]}, push={"to": text})
    assert read(tmp_path, settings_text(study)) == study


def test_values_are_read_as_flags_are(tmp_path: Path) -> None:
    """Numbers with an exponent, yes and no, lists and comma lists, none and quoted none."""
    study = read(
        tmp_path,
        "preset: demo\ntrain: {l1_coefficient: 1e-3, latent_dims: '64,128', stream: yes, target_l0: none}\n"
        "headlines:\n  label_names: [no, 012, 1:30]\n  text_column: 'none'\n  split_by:\nsweep:\n",
    )
    assert (study.preset, study.extract.layer) == ("demo", PRESETS["demo"].extract.layer)
    assert (study.train.l1_coefficient, study.train.latent_dims, study.train.stream) == (1e-3, (64, 128), True)
    assert study.train.target_l0 is None
    assert study.headlines.label_names == ("no", "012", "1:30")
    assert (study.headlines.text_column, study.headlines.split_by) == ("none", None)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 0, "is empty"),
        ("# nothing\n", 0, "is empty"),
        ("- train\n", 1, "holds a list"),
        ("train\n", 1, "holds a value"),
        ("seed: 1\n", 1, "no stage 'seed'"),
        ("trian:\n  k: 3\n", 1, "did you mean train?"),
        ("train:\n  num_epoch: 3\n", 2, "did you mean num_epochs?"),
        ("train: [1]\n", 1, "holds a list"),
        ("train:\n  k: 3\n  k: 4\n", 3, "k is already set in line 2"),
        ("train:\n  k: 3\ntrain:\n  k: 4\n", 3, "train is already set in line 1"),
        ("train:\n\tk: 3\n", 2, "spaces instead of tabs"),
        ("train:\n  learning_rate: fast\n", 2, "valid number"),
        ("train:\n  num_epochs: 0\n", 2, "greater than or equal to 1"),
        ("train:\n  learning_rate: inf\n", 2, "finite number"),
        ("train:\n  seed:\n", 2, "has no value"),
        ("train:\n  k: [1]\n", 2, "a list instead of one value"),
        ("train:\n  latent_dims: [[1]]\n", 2, "a list instead of one value"),
        ("train:\n  ? {a: 1}\n  : 2\n", 2, "write a word"),
        ("preset: big\n", 1, "no preset 'big'"),
        ("train: &a\n  k: 3\n", 1, "anchors and aliases"),
        ("train:\n  <<: {k: 3}\n", 2, "no field '<<'"),
        ("train: !!python/object/apply:os.system\n  k: 3\n", 1, "tags are not read"),
        ("train: {k: 3\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("train:\n  seed: 1\n---\ntrain:\n", 3, "not YAML"),
        ("train:\n  seed: \x00\n", 0, "characters that YAML does not allow"),
        ('export:\n  out: "a\\0b"\n', 2, "a character that no text or path has"),
        ('export:\n  out: "\\ud800"\n', 2, "a character that no text or path has"),
        ("[" * 5000, 1, "nested too deeply"),
        ("train:\n  seed: " + "1" * (1 << 20), 0, "larger than 1 MiB"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """One sentence names the file, the line where there is one, and what is wrong."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert problem in str(caught.value) and "\n" not in str(caught.value)
    assert str(tmp_path / "study.yaml") in str(caught.value)
    assert (f"line {line}:" in str(caught.value)) == bool(line)


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    """Nested aliases, which stand for a billion values, are refused at the first one."""
    layers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(UserError, match="line 1: anchors and aliases"):
        read(tmp_path, "a0: &a0 [lol]\n" + layers)


def test_from_the_command_line(study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags come before the file; a file is never overwritten; a run's settings are repeated."""
    own, out = tmp_path / "own.yaml", tmp_path / "out.yaml"
    own.write_text("train:\n  latent_dims: [64]\n  num_epochs: 7\n")
    write = ["--root", str(tmp_path), "--write-config", str(out)]
    assert main(["train", "--config", str(own), "--num-epochs", "2", *write]) == 0
    found = read(tmp_path, out.read_text())
    assert (found.train.latent_dims, found.train.num_epochs) == ((64,), 2)
    comment = "NUM_EPOCHS: passes over the activations; none: 3, and up to 30 where tokens are few"
    assert f"  # {comment}\n  num_epochs: 2\n" in out.read_text()
    assert main(["train", *write]) == 2
    assert "is there already" in capsys.readouterr().err
    for run in (study.run, study.run / "metadata.json"):
        out.unlink()
        assert main(["analyze", "--config", str(run), "--max-samples", "9", *write]) == 0
        repeated = read(tmp_path, out.read_text())
        assert repeated.analyze == study.config.analyze.model_copy(update={"max_samples": 9})
        assert repeated.finetune == study.config.finetune and repeated.preset == "demo"
    for missing in (tmp_path, tmp_path / "no.yaml"):
        assert main(["train", "--config", str(missing), "--root", str(tmp_path)]) == 2
        assert "name a configuration file" in capsys.readouterr().err


_COMPLETE = """
source completion
_words() { COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_sae_explorer; echo "${COMPREPLY[@]}"; }
_words sae-explorer fin
_words sae-explorer train --lat
_words sae-explorer train --config stu
_words sae-explorer train --preset d
"""


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """bash completes verbs, flags, files and choices from what --print-completion prints."""
    with pytest.raises(SystemExit) as ended:
        explorer(["--print-completion", "bash"])
    assert ended.value.code == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    (tmp_path / "study.yaml").touch()
    found = subprocess.run(["bash", "-c", _COMPLETE], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.splitlines() == ["finetune finish", "--latent-dims", "study.yaml", "demo"], found.stderr
    for shell in ("zsh", "fish"):
        with pytest.raises(SystemExit):
            explorer(["--print-completion", shell])
        assert "latent-dims" in capsys.readouterr().out
    assert explorer(["--print-completion", "dos"]) == 2
