"""`darkroom ray`: one local Ray for several commands. No job, so no row of the table of verbs."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from darkroom.cli.child import run_child
from darkroom.cli.help_option import HelpOption


def ray(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.", show_default=False)
    ],
    *,
    num_cpus: Annotated[
        int | None,
        typer.Option(help="Logical CPUs; by default the cores, at least 4.", metavar="N", min=1),
    ] = None,
    debug: Annotated[  # noqa: ARG001 - `main` reads it
        bool, typer.Option("--debug", help="Show tracebacks and debug logs.")
    ] = False,
    help: HelpOption = False,  # noqa: A002, ARG001 - the option's name
) -> None:
    """Run a local Ray while COMMAND runs: its verbs then need not each start one.

    Where RAY_ADDRESS names a cluster, COMMAND runs on that one.
    """
    from darkroom.jobs.session import ray_session, running_address

    with ray_session(num_cpus, watches_demands=False):
        environment = {**os.environ, "RAY_ADDRESS": running_address()}
        raise typer.Exit(run_child(command, environment))
