"""Where a job's config comes from: recipe < YAML file < flags < `--set a.b=c`.

Each later source wins. The file's mappings are merged key by key into the recipe's; a flag or
`--set` replaces exactly the value at its path. What a person writes for a field that takes texts is
a text, also where YAML would read a number. `darkroom.config` validates the result, once;
`darkroom.plain_yaml` says what may stand in the file. Nothing here knows what a job is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.config import Config, ConfigT, build_config
from darkroom.contents import HEAD_BYTES, foreign
from darkroom.errors import ConfigError
from darkroom.fields import meant_as_text, types_at
from darkroom.places import absolute
from darkroom.plain_yaml import IsText, decode, parse_scalar, parse_yaml

SCHEMA_VERSION = 1
"""Of config files; `version: 1` may stand at the top of one."""

MAX_FILE_BYTES = 1024 * 1024


def load_config(
    config_type: type[ConfigT],
    *,
    recipe: Mapping[str, Any] | None = None,
    file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
) -> ConfigT:
    """Merge the sources and validate the result.

    values: of a caller in Python, nested and merged like the file's. flags: dotted path -> plain
    value. settings: the texts of `--set`, each `a.b=c`.
    Errors: ConfigError naming the field, or the file and line.
    """
    merged = merge(recipe or {}, read_file(file, config_type) if file else {})
    merged = merge(merged, values or {})
    for path, value in (flags or {}).items():
        _assign(merged, path, value)
    for setting in settings:
        path, value = parse_setting(setting, config_type)
        _assign(merged, path, value)
    return build_config(config_type, merged)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top: mappings key by key, every other value replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def read_file(path: Path, config_type: type[Config] = Config) -> dict[str, Any]:
    """The mapping that a YAML file holds, less its `version`."""
    try:
        with Path(absolute(str(path))).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "--config", str(path), f"cannot be read ({problem})", "name a YAML file"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(str(path), None, f"is larger than {MAX_FILE_BYTES} bytes")
    if data and (other := foreign(data[:HEAD_BYTES])):
        raise ConfigError(str(path), None, other.what, other.remedy)
    values = parse_yaml(decode(data, str(path)), where=str(path), is_text=_texts_of(config_type))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(str(path), None, "holds no mapping", "write `key: value` lines")
    version = values.pop("version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ConfigError(
            f"{path}: version",
            version,
            f"this Darkroom reads version {SCHEMA_VERSION}",
            "rewrite the file by docs/configuration.md, or use the Darkroom it was written for",
        )
    return values


def parse_setting(text: str, config_type: type[Config] = Config) -> tuple[str, Any]:
    """`a.b=c` as (path, value). For a field that takes texts, the value is the text after the `=`,
    quotes around it taken off; for any other it is YAML, so `[1, 2]` and `{k: v}` work. One text
    for a field that takes a list of texts is a list of it.
    """
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals:
        raise ConfigError("--set", text, "has no =", "write --set a.b=value")
    if not all(path.split(".")):
        raise ConfigError("--set", text, "names no field", "write --set a.b=value")
    if not value.strip():
        raise ConfigError(
            f"--set {path}", value, "is empty", "write null for nothing, '\"\"' for an empty text"
        )
    fields, where = path.split("."), f"--set {path}"
    types = types_at(config_type, fields)
    if "array" in types and types_at(config_type, [*fields, "0"]) == {"string"}:
        return path, _texts(value, where, _texts_of(config_type, fields))
    if "string" not in types or _is_quoted(value):
        return path, parse_yaml(value, where=where, is_text=_texts_of(config_type, fields))
    if types == {"string"}:
        return path, value
    read = parse_scalar(value.strip(), where=where)
    return path, value if isinstance(read, str) or meant_as_text(types, read) else read


def _texts(value: str, where: str, is_text: IsText) -> Any:
    if value.strip().startswith("[") or parse_scalar(value.strip(), where=where) is None:
        return parse_yaml(value, where=where, is_text=is_text)
    return [parse_yaml(value, where=where) if _is_quoted(value) else value]


def _texts_of(config_type: type[Config], above: Sequence[str] = ()) -> IsText:
    def is_text(path: tuple[str, ...], value: object) -> bool:
        fields = (*above, *path)
        # A list may name a class called null; `output: null` is no folder of that name.
        if value is None and "array" not in types_at(config_type, fields[:-1]):
            return False
        return meant_as_text(types_at(config_type, fields), value)

    return is_text


def _is_quoted(text: str) -> bool:
    """Whether all of it is one text in YAML's quotes."""
    if text.strip()[0] not in "'\"":
        return False
    try:
        return isinstance(parse_yaml(text, where=""), str)
    except ConfigError:
        return False


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    """Put `value` at the dotted path, making the mappings on the way."""
    *parents, last = path.split(".")
    for depth, key in enumerate(parents, start=1):
        below = values.get(key)
        if isinstance(below, (list, tuple)):
            name = ".".join(parents[:depth])
            raise ConfigError(path, None, f"{name} is a list", f"set all of it: --set {name}=[...]")
        values[key] = dict(below) if isinstance(below, Mapping) else {}
        values = values[key]
    values[last] = value
