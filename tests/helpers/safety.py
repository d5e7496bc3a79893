"""Safety checks as an operator may write them, for tests of `serve`."""

from __future__ import annotations

from typing import Any

SEEN: list[tuple[tuple[int, ...], str | None]] = []
"""Of each picture that `allows_all_but_class_1` was asked about: its shape, what was asked for."""


def allows_all_but_class_1(pixels: Any, prompt: str | None) -> bool:
    SEEN.append((pixels.shape, prompt))
    pixels[:] = 7  # what it does with its copy is its own affair
    return prompt == "1"


def fails(_pixels: Any, _prompt: str | None) -> bool:
    raise RuntimeError("sk-secret")


def says_nothing(_pixels: Any, _prompt: str | None) -> None:
    return None


def fails_for_class_1(_pixels: Any, prompt: str | None) -> bool:
    if prompt == "1":
        raise RuntimeError("sk-secret")
    return False
