"""`darkroom serve`: models over HTTP until it is stopped. No job, so no row of the table of verbs.

`main` itself reads --debug; it is declared here so that it is known and documented.
"""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import output
from darkroom.cli.help_option import HelpOption
from darkroom.cli.stopping import Stopped
from darkroom.errors import ConfigError

if TYPE_CHECKING:
    from darkroom.jobs.serve.config import ServeConfig


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="What to draw with: paths, s3:// URIs, hub ids."),
    ] = None,
    *,
    lora: Annotated[
        list[str] | None,
        typer.Option(help="A LoRA over the first model; repeatable.", metavar="NAME=URI"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.", metavar="HOST")] = None,
    port: Annotated[
        int | None, typer.Option(help="0 takes a free one.", metavar="N", min=0, max=65535)
    ] = None,
    keys: Annotated[
        str | None, typer.Option(help="File or folder of API keys.", metavar="PATH")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings as YAML.", metavar="FILE")] = None,
    set: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option(help="Set one field, over everything else; repeatable.", metavar="A.B=VALUE"),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved settings, and do nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout, for an error too.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - `main` reads it
        bool, typer.Option("--debug", help="Show tracebacks and debug logs.")
    ] = False,
    help: HelpOption = False,  # noqa: A002, ARG001 - the option's name
) -> None:
    """Serve models over HTTP: a page to draw in, and OpenAI's Images API."""
    flags: dict[str, Any] = {
        "models": models or None,
        "loras": dict(map(_named, lora)) if lora else None,
        "host": host,
        "port": port,
        "keys": keys,
    }
    settings = _resolve(flags, config, set or [])
    if show_config:
        output.print_config(settings, as_json=json)
        return
    try:
        _serve(settings, as_json=json)
    except Stopped as stop:
        print("darkroom: stopped", file=sys.stderr, flush=True)
        raise typer.Exit(stop.exit_code) from None


def _serve(settings: ServeConfig, *, as_json: bool) -> None:
    """Until a signal arrives; then what is under way is finished."""
    from darkroom.jobs.caches import caches_of_this_run
    from darkroom.jobs.serve.job import serving

    with caches_of_this_run(), ExitStack() as stack:
        with output.stdout_to_stderr():
            service = stack.enter_context(serving(settings))
        if as_json:
            output.print_json({"address": service.address, "models": list(service.models)})
        else:
            print(f"Draw at {service.address}/ (Ctrl-C stops)", flush=True)
        try:
            _wait()
        finally:
            with output.stdout_to_stderr():
                stack.close()


def _wait() -> None:
    threading.Event().wait()


def _named(text: str) -> tuple[str, dict[str, str]]:
    name, sign, place = text.partition("=")
    if not sign or not place:
        raise ConfigError("--lora", text, "is not NAME=URI", "write --lora ink=s3://bucket/ink")
    return name, {"model": place}


def _resolve(flags: dict[str, Any], file: Path | None, settings: list[str]) -> ServeConfig:
    from darkroom.config_source import load_config
    from darkroom.jobs.serve.config import ServeConfig

    given = {name: value for name, value in flags.items() if value is not None}
    return load_config(ServeConfig, file=file, flags=given, settings=settings)
