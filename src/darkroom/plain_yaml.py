"""Plain data as YAML, strictly: null, booleans, numbers, texts, lists and mappings.

YAML 1.2 by its core schema: `1e-4` is a number, `yes` is a text, `007` is 7. Keys are texts, and
so is what the caller says is one. What could surprise is refused with its line: duplicate keys,
anchors and aliases (they can expand without bound), tags, keys that are no scalars, several
documents, other encodings than UTF-8, tabs. The caller knows what the data means.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from darkroom.errors import ConfigError

# The core schema, YAML 1.2.2 section 10.3.2.
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY_OR_NAN = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Path = tuple[str, ...]
IsText = Callable[[Path, object], bool]
"""Whether the unquoted value at a path of keys and indices is meant as it is written."""

_MAX_DEPTH = 100
"""No config is nested so deeply; the time that the reader takes grows with the depth's square."""


def decode(data: bytes, where: str) -> str:
    """The text of a file's bytes. Errors: ConfigError with the line of the first bad one."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        _fail(where, 0, "starts with a byte-order mark", "save it as UTF-8 without BOM")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        _fail(where, line, f"byte {data[error.start]:#04x} is not UTF-8", "save it as UTF-8")


def parse_yaml(text: str, *, where: str, is_text: IsText | None = None) -> Any:
    """Plain data from one YAML document; None when there is nothing in it.

    Errors: ConfigError whose field is `where:line`.
    """
    _refuse_tabs(text, where)
    try:
        _refuse_surprises(text, where)
        node = YAML(typ="safe", pure=True).compose(text)
        return None if node is None else _construct(node, where, is_text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _fail(where, mark.line if mark else None, error.problem or error.context or "is no YAML")
    except YAMLError as error:
        # Control characters; the reader knows an offset and no line.
        offset = getattr(error, "position", None)
        line = None if offset is None else text.count("\n", 0, offset)
        _fail(where, line, getattr(error, "reason", None) or "is no YAML")


def parse_scalar(text: str, *, where: str, line: int | None = None) -> Any:
    """What `text` is as an unquoted YAML value: null, a boolean, a number or itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED_INTEGER.fullmatch(text):
            return int(text, base=0)
    except ValueError:  # Python bounds the digits of a decimal integer
        _fail(where, line, f"has an integer of {len(text)} digits")
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY_OR_NAN.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def dump_yaml(values: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """Plain data as YAML that `parse_yaml` reads back to the same values."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = not ascii_only
    # Never broken: a bare key that goes on in the next line is none inside brackets.
    yaml.width = 2**31
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Mappings in lines, lists in brackets, texts in quotes where they need them."""

    def represent_list(self, data: list[Any]) -> SequenceNode:
        node: SequenceNode = self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
        return node

    def represent_str(self, data: str) -> ScalarNode:
        # Left alone, the emitter writes a bare `?a` or `: a` inside brackets, where it reads as a
        # mapping's key, and folds lines at breaks that are no line feed.
        style = '"' if data.startswith(("?", ":")) or not data.isprintable() else None
        node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, style=style)
        return node


_Representer.add_representer(list, _Representer.represent_list)
_Representer.add_representer(str, _Representer.represent_str)


def _fail(where: str, line: int | None, problem: str, remedy: str = "") -> NoReturn:
    """Raise ConfigError at a line counted from 0."""
    place = where if line is None else f"{where}:{line + 1}"
    raise ConfigError(place, None, problem, remedy) from None


def _refuse_tabs(text: str, where: str) -> None:
    for line, content in enumerate(text.splitlines()):
        if "\t" in content[: len(content) - len(content.lstrip())]:
            _fail(where, line, "is indented with a tab", "use spaces")


def _refuse_surprises(text: str, where: str) -> None:
    """Anchors, aliases (they can expand without bound), tags, depth, before anything is built."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _MAX_DEPTH:
            _fail(where, None, "is nested too deeply")
        line = event.start_mark.line if event.start_mark else None
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            _fail(where, line, "uses an anchor or alias (& or *)", "write the value out, or quote")
        tag = getattr(event, "ctag", None)
        if tag is not None:
            _fail(where, line, f"uses a tag ({tag})", "write the plain value, or quote it")


def _construct(node: Node, where: str, is_text: IsText | None, path: Path = ()) -> Any:
    if isinstance(node, ScalarNode):
        text: str = node.value
        if node.style or not text:  # only a plain scalar can be anything but a text
            return text if node.style else None
        value = parse_scalar(text, where=where, line=node.start_mark.line)
        return text if is_text and is_text(path, value) else value
    if isinstance(node, SequenceNode):
        return [
            _construct(item, where, is_text, (*path, str(index)))
            for index, item in enumerate(node.value)
        ]
    if not isinstance(node, MappingNode):
        raise TypeError(type(node))
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line
        if not isinstance(key_node, ScalarNode) or not (key_node.value or key_node.style):
            _fail(where, line, "has a key that is no text", "quote it")
        key: str = key_node.value
        if key in values:
            _fail(where, line, f"repeats the key {key!r}", "keep one of them")
        values[key] = _construct(value_node, where, is_text, (*path, key))
    return values
