"""`darkroom storage`: look after what jobs published; each command is one call of the library.

`main` itself reads --debug; it is declared here so that it is known and documented.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from darkroom.cli import output
from darkroom.cli.child import run_child
from darkroom.cli.help_option import HelpOption
from darkroom.errors import ConfigError, InputError, IntegrityError
from darkroom.messages import masked

storage_app = typer.Typer(
    help="Look at, fetch, check and clean up what is published.", rich_markup_mode=None
)


UriArgument = Annotated[str, typer.Argument(metavar="URI", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]

_DURATION = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@storage_app.callback(add_help_option=False)
def _root(*, help: HelpOption = False) -> None:  # noqa: A002 - the option's name
    pass


class _Report(Protocol):
    def to_dict(self) -> dict[str, Any]: ...
    def text(self) -> str: ...


def _show(report: _Report, *, as_json: bool) -> None:
    if as_json:
        output.print_json(report.to_dict())
    else:
        print(masked(report.text()), flush=True)


@storage_app.command()
def check(uri: UriArgument, *, json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Try what jobs do there, and say what is missing."""
    from darkroom import storage

    report = storage.check(uri)
    _show(report, as_json=json)
    if not report.ok:
        raise typer.Exit(InputError.exit_code)


@storage_app.command()
def ls(uri: UriArgument, *, json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """List what is published, or the files of one output."""
    from darkroom import storage

    _show(storage.ls(uri), as_json=json)


@storage_app.command()
def get(
    uri: UriArgument,
    directory: Annotated[str, typer.Argument(metavar="DIR", show_default=False)],
    *,
    only: Annotated[
        str, typer.Option(help="Only this folder of it, or this file.", metavar="FOLDER/")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier get wrote.")
    ] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Fetch an output as a plain folder, every file verified."""
    from darkroom import storage

    folder = storage.get(uri, directory, prefix=only, overwrite=overwrite)
    output.print_result({"directory": str(folder)}, as_json=json)


@storage_app.command()
def lineage(
    uri: UriArgument,
    *,
    verify: Annotated[bool, typer.Option(help="Read every file, or trust the manifests.")] = True,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Follow an output or a picture to its sources, verified."""
    from darkroom import storage

    tree = storage.lineage(uri, verify=verify)
    _show(tree, as_json=json)
    if not tree.ok:
        raise typer.Exit(IntegrityError.exit_code)


@storage_app.command()
def gc(
    uri: UriArgument,
    *,
    older_than: Annotated[
        str, typer.Option(help="Minutes, hours or days: 30m, 24h, 7d.", metavar="AGE")
    ] = "24h",
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove it; without, only list it.")
    ] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Find what crashes left behind: old attempts without a manifest."""
    from darkroom import storage

    _show(storage.gc(uri, _duration(older_than), delete=delete), as_json=json)


@storage_app.command()
def serve(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="What to run.", show_default=False),
    ] = None,
    *,
    data: Annotated[Path, typer.Option(help="Where the objects are kept.", metavar="DIR")],
    bucket: Annotated[str, typer.Option(help="A bucket to have.", metavar="NAME")] = "darkroom",
    port: Annotated[
        int, typer.Option(help="0 takes a free one.", min=0, max=65535, metavar="N")
    ] = 0,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Run an S3 server while COMMAND runs, or until it is stopped."""
    from darkroom.storage import EmbeddedServer
    from darkroom.storage.aws_settings import use_no_settings

    use_no_settings()
    with EmbeddedServer(data, port=port) as server:
        server.create_bucket(bucket)
        if command:
            raise typer.Exit(run_child(command, {**os.environ, **server.environment}))
        if json:
            output.print_json(
                {"bucket": bucket, "environment": server.environment}, of_secrets=True
            )
        else:
            for name, value in server.environment.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)
            print(f"# s3://{bucket} is served; Ctrl-C stops the server", flush=True)
        threading.Event().wait()


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError("--older-than", text, "is no duration", "write 30m, 24h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
