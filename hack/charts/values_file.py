"""Reads an annotated values.yaml: every key with its default, its comment and its schema.

    # -- What the value is for, in sentences.
    # @schema {"minimum": 0}
    key: default

It assumes block style with two spaces, as our values files have it, and leaves YAML itself to
PyYAML. What is made of the entries (README, JSON Schema) is generate.py's business.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_.-]+):(?: |$)")
_COMMENT = re.compile(r"^ *# ?(?P<text>.*)$")


class UndocumentedValueError(Exception):
    """A key has neither a `# --` comment nor documented keys below it."""


@dataclass
class Entry:
    """One key of values.yaml."""

    path: tuple[str, ...]
    default: Any
    description: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    children: list[Entry] = field(default_factory=list)

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def is_section(self) -> bool:
        """Only a place where documented keys stand."""
        return not self.description


def read_entries(path: Path) -> list[Entry]:
    """The top-level entries of a values file, in its order."""
    text = path.read_text()
    values = yaml.safe_load(text)
    comments = _comments_by_path(text.splitlines())
    return [_entry((key,), value, comments) for key, value in values.items()]


def leaves(entries: list[Entry]) -> list[Entry]:
    """Documented entries, depth first."""
    found: list[Entry] = []
    for entry in entries:
        found.extend(leaves(entry.children) if entry.is_section else [entry])
    return found


Comments = dict[tuple[str, ...], list[str]]


def _comments_by_path(lines: list[str]) -> Comments:
    """The comment block directly above each key that has one."""
    comments: Comments = {}
    path: list[str] = []
    block: list[str] = []
    for line in lines:
        if comment := _COMMENT.match(line):
            block.append(comment["text"])
            continue
        if key := _KEY.match(line):
            depth = len(key["indent"]) // 2
            path = [*path[:depth], key["key"]]
            comments[tuple(path)] = block
        block = []
    return comments


def _entry(path: tuple[str, ...], default: Any, comments: Comments) -> Entry:
    entry = Entry(path, default)
    for line in comments.get(path, []):
        if line.startswith("-- "):
            entry.description = line.removeprefix("-- ")
        elif line.startswith("@schema "):
            entry.schema = json.loads(line.removeprefix("@schema "))
        elif entry.description:
            entry.description += " " + line.strip()
    if entry.is_section:
        if not isinstance(default, dict) or not default:
            raise UndocumentedValueError(f"{entry.dotted} has no `# --` comment")
        entry.children = [_entry((*path, key), value, comments) for key, value in default.items()]
    return entry
