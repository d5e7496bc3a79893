"""`darkroom storage`: look after what jobs published; each command is one call of the library."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import output
from darkroom.cli.child import run_child
from darkroom.cli.help_option import HelpOption

storage_app = typer.Typer(
    help="Look at, fetch, check and clean up what is published.", rich_markup_mode=None
)


@storage_app.callback(add_help_option=False)
def _root(*, help: HelpOption = False) -> None:  # noqa: A002 - the option's name
    pass


UriArgument = Annotated[str, typer.Argument(metavar="URI", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]

# They would send the command elsewhere than the server's own variables say.
_FOREIGN_VARIABLES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ENDPOINT_URL")


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
    debug: Debug = False,  # noqa: ARG001 - main reads it
) -> None:
    """Run an S3 server while COMMAND runs, or until it is stopped."""
    from darkroom.storage import EmbeddedServer

    with EmbeddedServer(data, port=port) as server:
        server.create_bucket(bucket)
        if command:
            raise typer.Exit(run_child(command, _environment_with(server.environment)))
        if json:
            output.print_json({"bucket": bucket, "environment": server.environment})
        else:
            for name, value in server.environment.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)
            print(f"# s3://{bucket} is served; Ctrl-C stops the server", flush=True)
        threading.Event().wait()


def _environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in _FOREIGN_VARIABLES}
    return {**kept, **variables}
