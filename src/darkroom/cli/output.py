"""What a user sees: results on stdout, errors and logs on stderr.

With --json, stdout carries exactly one JSON object, for an error too. Exit codes are those of
`darkroom.errors`; usage errors are bad input, 2. Nothing here decides what is computed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from darkroom.cli.stopping import Stopped
from darkroom.cli.streams import StdoutLostError, can_spell
from darkroom.errors import DarkroomError, InputError
from darkroom.messages import masked, message, one_line

if TYPE_CHECKING:
    from darkroom.config import Config


def print_json(values: Mapping[str, Any], *, of_secrets: bool = False) -> None:
    """One JSON object on stdout; of_secrets: it is asked for credentials."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    if not can_spell(text):
        text = json.dumps(values, indent=2, allow_nan=False)
    print(text if of_secrets else masked(text), flush=True)


def print_config(config: Config, *, as_json: bool) -> None:
    """Resolved settings: JSON, or YAML that --config takes."""
    if as_json:
        print_json(config.to_dict())
        return
    from darkroom.config_source import SCHEMA_VERSION
    from darkroom.plain_yaml import dump_yaml

    values = {"version": SCHEMA_VERSION, **config.to_dict()}
    text = dump_yaml(values)
    print(text if can_spell(text) else dump_yaml(values, ascii_only=True), end="", flush=True)


def print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    """A verb's result: JSON, or one `name  value` line per figure, nested names dotted."""
    if as_json:
        print_json(result)
        return
    rows = list(_rows(result))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(masked(f"{name:{width}}  {value}".rstrip()), flush=True)


def print_error(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Report an error in one line (and as JSON), and return its exit code."""
    exit_code = _exit_code(error)
    if isinstance(error, StdoutLostError) and error.is_silent:
        return exit_code
    text = _message(error, debug=debug)
    if debug:
        traceback.print_exception(error)
    print(f"darkroom: {text}", file=sys.stderr, flush=True)
    if as_json:
        shown: dict[str, Any] = {"type": type(error).__name__, "message": text}
        if isinstance(error, InputError):
            shown |= {"field": error.field, "remedy": error.remedy}
        print_json({"error": shown, "exit_code": exit_code})
    return exit_code


def log_to_stderr(*, debug: bool) -> None:
    """Send Darkroom's own log records to stderr; other libraries keep their settings."""
    handler = _StderrHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("darkroom")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Keep stdout for the result, whatever libraries and child processes print meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


class _StderrHandler(logging.Handler):
    """Writes to what standard error is at the time: what it was may have been closed since."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - logging says what was wrong with the record
            self.handleError(record)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return message(super().formatMessage(record))


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, (DarkroomError, Stopped)) else 1


def _message(error: BaseException, *, debug: bool) -> str:
    text = one_line(error)
    if isinstance(error, (DarkroomError, Stopped)):
        return text
    hint = "" if debug else "; DARKROOM_DEBUG=1 or --debug shows the traceback"
    return f"unexpected {type(error).__name__}: {text}{hint}"


def _rows(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{key}.")
        elif _are_mappings(value):
            yield from _rows({str(i): item for i, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _show(value)


def _are_mappings(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    if not isinstance(value, list | tuple):
        return False
    return bool(value) and all(isinstance(item, Mapping) for item in value)


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_show(item) for item in value) or "-"
    return "-" if value is None else str(value)
