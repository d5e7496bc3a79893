"""The `darkroom` command: parse, choose a recipe, call one job, and turn errors into exit codes.

    0    done
    1    failed
    2    bad input: one line names the field, the value and the remedy; nothing was written
    3    done and published, but a figure is not what was required of it
    130  interrupted by Ctrl-C; a training says 143
    141  the reader of stdout has gone
    143  stopped by SIGTERM, after what could be kept was kept

`darkroom --help` imports neither torch nor ray nor pydantic; a contract test measures it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from darkroom import __version__
from darkroom.cli import output
from darkroom.cli.help_option import HelpOption
from darkroom.cli.ray import ray
from darkroom.cli.serve import serve
from darkroom.cli.stopping import Stopped, unwinding_on_signals
from darkroom.cli.storage import storage_app
from darkroom.cli.streams import standard_streams
from darkroom.cli.submit import submit
from darkroom.cli.verbs import add_verbs
from darkroom.errors import ConfigError
from darkroom.loopback import keep_off_proxies

app = typer.Typer(
    name="darkroom",
    help="Image diffusion models on Ray clusters, with S3 as the only storage.",
    epilog="Each verb has a page in docs/verbs/.",
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to import than all the rest
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if asked:
        print(f"darkroom {__version__}")
        raise typer.Exit


@app.callback(add_help_option=False)
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    help: HelpOption = False,  # noqa: A002 - the option's name
) -> None:
    pass


add_verbs(app)
app.add_typer(storage_app, name="storage")
app.command("ray", add_help_option=False)(ray)
app.command("serve", add_help_option=False)(serve)
app.command("submit", add_help_option=False)(submit)


@app.command("recipes")
def _recipes(
    *, json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """List the recipes that --recipe takes."""
    from darkroom.recipes import RECIPES

    descriptions = {name: make().description for name, make in RECIPES.items()}
    output.print_result(descriptions, as_json=json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in own
    debug = "--debug" in own or os.environ.get("DARKROOM_DEBUG", "") not in ("", "0")
    with standard_streams():
        output.log_to_stderr(debug=debug)
        keep_off_proxies(os.environ)
        try:
            with unwinding_on_signals():
                return _run(arguments or ["--help"])
        except (Exception, Stopped) as error:  # noqa: BLE001 - the last line of defence
            return output.print_error(error, as_json=as_json, debug=debug)


def _run(arguments: Sequence[str]) -> int:
    if "--help" not in arguments:
        _check_folder()
    try:
        # Not standalone: typer would print usage errors in several lines and exit by itself.
        result: Any = app(list(arguments), prog_name="darkroom", standalone_mode=False)
    except typer.TyperException as error:
        raise _usage_error(error, arguments) from error
    return result if isinstance(result, int) else 0


def _check_folder() -> None:
    """Paths are relative to the current folder, and Ray's processes start in it."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            "current folder", None, f"is gone ({error.strerror})", "cd into one that exists"
        ) from None


def _usage_error(error: typer.TyperException, arguments: Sequence[str]) -> ConfigError:
    context = getattr(error, "ctx", None)  # not every usage error knows its command
    words = takewhile(lambda word: not word.startswith("-"), arguments)
    command = context.command_path if context else " ".join(("darkroom", *words))
    problem = " ".join(error.format_message().split()).rstrip(".")
    return ConfigError(
        command.removeprefix("darkroom ").replace("darkroom", "command"),
        None,
        problem[:1].lower() + problem[1:],
        f"see {command} --help",
    )
