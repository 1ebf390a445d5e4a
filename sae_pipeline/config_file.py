"""Configuration files: the settings of a study in YAML, read in place of flags, and written with a comment each.

    preset: demo
    headlines:
      source: news.csv
    train:
      latent_dims: [4096, 8192]

A value is read as the flag of its field reads it, so `1e-3` is a number, and `no` is a word unless the field wants yes
or no. Nothing in a file is executed: tags, anchors and merge keys are refused.
"""

import difflib
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sae_pipeline.artefacts.writing import readable_os_errors, write_file
from sae_pipeline.config import PRESETS, Config, StudyConfig
from sae_pipeline.errors import UserError, reason_of

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 8  # of lists and fields in each other
_NO_VALUE = ("", "~", "null")
_NONE = (*_NO_VALUE, "none")
_WIDTH = 100  # characters of a comment
_SHOWN = 60  # characters of a wrong value in a message
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")  # no path and no file in UTF-8 can hold these
_TYPES = {"mapping": "fields", "sequence": "a list", "scalar": "a value"}


class Settings(NamedTuple):
    """What a configuration file holds."""

    preset: str | None
    stages: Mapping[str, Mapping[str, Any]]


# --- reading -------------------------------------------------------------------------------------------


def read_settings(path: Path) -> Settings:
    """Read a configuration file. Raises UserError, with the line, for what is not a setting of a study."""
    return _Reader(path).settings()


def field_value(info: FieldInfo, text: str) -> Any:
    """Turn a text into what pydantic takes: "none" for an optional field, a list for a tuple."""
    if text.lower() == "none" and _is_optional(info):
        return None
    return text.split(",") if _is_tuple(info) else text


def _is_optional(info: FieldInfo) -> bool:
    return type(None) in get_args(info.annotation)


def _is_tuple(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is tuple


class _Reader:
    """One file, read node by node, so that every complaint can name its line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self) -> Settings:
        root = self._root()
        if root is None:
            raise UserError(f"{self.path} is empty; write fields below the name of their stage, such as `train:`.")
        preset, stages = None, {}
        for name, node in self._entries(root, "the file"):
            if name.value == "preset":
                preset = self._text(node, "preset")
                if preset not in PRESETS:
                    raise self._error(node, f"there is no preset {preset!r}; choose from {', '.join(PRESETS)}")
            else:
                stage = self._known(name, StudyConfig, "there is no stage")
                stages[stage] = self._stage(name.value, stage, node)
        return Settings(preset, stages)

    def _root(self) -> yaml.Node | None:
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)  # a device or a pipe has no size, and may never end
            if len(data) > _MAX_BYTES:
                raise UserError(f"{self.path} is larger than {_MAX_BYTES >> 20} MiB; name a configuration file.")
            text = data.decode("utf-8-sig")
            self._check_events(text)
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({reason_of(error)}); name a configuration file.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path} is not UTF-8 text; save it as UTF-8.") from error
        except yaml.MarkedYAMLError as error:
            raise UserError(self._syntax(error)) from error
        except yaml.YAMLError as error:
            raise UserError(f"{self.path} holds characters that YAML does not allow; save it as plain text.") from error

    def _check_events(self, text: str) -> None:
        """Refuse what a parser would unfold: anchors, and nesting without end."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._error(event, "anchors and aliases are not read; write the values out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise self._error(
                    event, "this is nested too deeply; a stage holds fields, and a field a value or a list"
                )

    def _syntax(self, error: yaml.MarkedYAMLError) -> str:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or error.context or "the syntax is wrong"
        hint = "indent with spaces instead of tabs" if "\\t" in problem else "see docs/study.md for the form"
        return f"{self.path}{line}: this is not YAML ({problem}); {hint}."

    def _error(self, place: yaml.Node | yaml.Event, problem: str) -> UserError:
        return UserError(f"{self.path}, line {place.start_mark.line + 1}: {problem}.")

    def _entries(self, node: yaml.Node, what: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The names and values of a mapping; a name that is there twice is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what} holds {_TYPES[node.id]} instead of fields, such as `seed: 1`")
        self._check_tag(node)
        lines: dict[str, int] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._error(name, f"the name of a field in {what} is {_TYPES[name.id]}; write a word")
            if name.value in lines:
                raise self._error(name, f"{name.value} is already set in line {lines[name.value]}; leave one of them")
            lines[name.value] = name.start_mark.line + 1
            yield name, value

    def _known(self, name: yaml.ScalarNode, config: type[Config], problem: str) -> str:
        """The field of a config that a name in the file means; Python's own words end with _ there."""
        fields = {known: field for field in config.model_fields for known in (field, field.rstrip("_"))}
        if name.value not in fields:
            known = dict.fromkeys(field.rstrip("_") for field in config.model_fields)
            raise self._error(name, f"{problem} {name.value!r}{_instead(name.value, known)}")
        return fields[name.value]

    def _stage(self, shown: str, stage: str, node: yaml.Node) -> dict[str, Any]:
        config = type(getattr(StudyConfig(), stage))
        if isinstance(node, yaml.ScalarNode) and node.value in _NO_VALUE:
            return {}
        values = {}
        for name, value in self._entries(node, shown):
            field = self._known(name, config, f"{shown} has no field")
            values[field] = self._value(f"{shown}, {name.value}", config.model_fields[field], value)
        return values

    def _value(self, shown: str, info: FieldInfo, node: yaml.Node) -> Any:
        value: Any
        if isinstance(node, yaml.SequenceNode) and _is_tuple(info):
            self._check_tag(node)
            value = [self._text(item, shown) for item in node.value]
        else:
            text = self._text(node, shown)
            if isinstance(node, yaml.ScalarNode) and node.style is not None:  # in quotes it is a text, whatever it says
                value = text.split(",") if _is_tuple(info) else text
            elif text.lower() in _NO_VALUE and not _is_optional(info):
                raise self._error(node, f"{shown} has no value; write one, or leave the line out")
            else:
                value = None if text.lower() in _NONE and _is_optional(info) else field_value(info, text)
        wanted: Any = Annotated[(info.annotation, "", *info.metadata)]  # the text is no rule
        try:
            TypeAdapter(wanted, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._error(node, f"{shown}: {first['msg']} (given: {repr(first['input'])[:_SHOWN]})") from error
        return value

    def _text(self, node: yaml.Node, shown: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"{shown} is {_TYPES[node.id]} instead of one value")
        self._check_tag(node)
        if _NO_TEXT.search(node.value):
            raise self._error(node, f"{shown} holds a character that no text or path has; remove it")
        return str(node.value)

    def _check_tag(self, node: yaml.Node) -> None:
        if "!" in node.tag or "/" in node.tag:
            raise self._error(node, f"tags are not read; leave out {node.tag.replace('tag:yaml.org,2002:', '!!')}")


def _instead(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {near[0]}?)" if near else f"; choose from {', '.join(known)}"


# --- writing -------------------------------------------------------------------------------------------


def write_settings(path: Path, study: StudyConfig) -> None:
    """Write all settings of a study, each below what it means. Raises UserError where the file is there already."""
    if path.exists():
        raise UserError(f"{path} is there already; name another file, or move it away.")
    with readable_os_errors(path.parent, "--write-config"):
        write_file(path, settings_text(study).encode())


def settings_text(study: StudyConfig) -> str:
    """All settings of a study as YAML, which `read_settings` reads as the same settings."""
    lines = ["# The settings of a study. Any verb reads them with --config FILE; flags come before them.", ""]
    lines += ["# where values that are not named here come from", f"preset: {study.preset}"]
    for stage in StudyConfig.model_fields:
        config = getattr(study, stage)
        if isinstance(config, Config):
            lines += ["", *_comment(type(config).__doc__ or "", ""), f"{stage.rstrip('_')}:"]
            for name, info in type(config).model_fields.items():
                lines += _comment(info.description or "", "  ")
                lines.append(f"  {name.rstrip('_')}: {_written(getattr(config, name))}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _written(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_written, value))}]"
        case str():
            return _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    """A text as it can stand in YAML: bare where it is a plain word, else in quotes."""
    if text.lower() not in _NONE and all(part.isidentifier() or part.isdigit() for part in text.split("/")):
        return text
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10 * len(text) + 100)
    return dumped.rstrip("\n")
