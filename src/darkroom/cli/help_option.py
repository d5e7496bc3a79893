"""`--help` for a group of commands, without what typer's own costs.

typer converts the value of its built-in help option by pydantic whenever a command of the group
is called, `darkroom train --help` included; a flag that is declared as one needs no conversion.
"""

from __future__ import annotations

from typing import Annotated

import typer


def _print_help(context: typer.Context, asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(context.get_help())
        raise typer.Exit


HelpOption = Annotated[
    bool,
    typer.Option("--help", callback=_print_help, is_eager=True, help="Show this message and exit."),
]
