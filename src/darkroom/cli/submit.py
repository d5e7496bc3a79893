"""`darkroom submit`: run RayJobs and RayServices on Kubernetes, and follow them.

The command only parses; what it does is darkroom.cluster.submit's. Logs are kept through
darkroom.storage, which the cluster package does not know: it is handed in from here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from darkroom.cli.help_option import HelpOption
from darkroom.errors import ConfigError


def submit(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|FOLDER]...", help="YAML files, or folders with a kustomization."
        ),
    ] = None,
    *,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="A YAML file; - reads standard input.", metavar="FILE"),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Default: the context's own.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Context of the kubeconfig. Default: the current one.")
    ] = None,
    logs: Annotated[
        str | None,
        typer.Option(help="URI to keep logs below. Default: the job's output.", metavar="URI"),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Follow a job to its end, a service until it is ready."
        ),
    ] = True,
    pending_timeout: Annotated[
        float,
        typer.Option(
            help="Give up on what has not started and whose pods find no node.",
            metavar="SECONDS",
            min=1,
        ),
    ] = 1800,
    follow: Annotated[
        str | None,
        typer.Option(help="Follow a job or service that is there already.", metavar="NAME"),
    ] = None,
    cancel: Annotated[
        str | None,
        typer.Option(help="Delete a job or service and what it started.", metavar="NAME"),
    ] = None,
    force_conflicts: Annotated[
        bool,
        typer.Option(
            "--force-conflicts", help="Take over fields that kubectl or an operator has written."
        ),
    ] = False,
    for_job: Annotated[
        str | None,
        typer.Option(
            help="Make the RayJob for this Job of a schedule: named after it, and gone with it.",
            metavar="NAME/UID",
        ),
    ] = None,
    debug: Annotated[  # noqa: ARG001 - `main` reads it
        bool, typer.Option("--debug", help="Show tracebacks and debug logs.")
    ] = False,
    help: HelpOption = False,  # noqa: A002, ARG001 - the option's name
) -> None:
    """Run RayJobs and RayServices on Kubernetes: check, apply, follow, and keep their logs.

    Exits with 0 when the job succeeded or the service is ready, 1 when it failed, 2 when refused.
    """
    sources = [*(manifests or []), *(file or [])]
    if sum(map(bool, (sources, follow, cancel))) != 1:
        remedy = "give manifests, or --follow NAME, or --cancel NAME"
        raise ConfigError("submit", None, "has to know one thing to do", remedy)
    if for_job and not (sources and wait):
        remedy = "give the RayJob's manifest, and wait for it"
        raise ConfigError("for-job", for_job, "is for a manifest that is followed", remedy)
    try:
        from darkroom.cluster import submit as run
        from darkroom.cluster.client import Cluster
    except ImportError as error:
        remedy = "run `make setup`, or uv pip install --require-hashes -r requirements/runtime.txt"
        raise ConfigError("submit", None, f"lacks a package: {error.name}", remedy) from None
    from darkroom.storage import open_store

    if cancel:
        code = run.cancel(Cluster(namespace, context), cancel)
    elif follow:
        code = run.follow_until_the_end(
            Cluster(namespace, context),
            follow,
            logs,
            open_store,
            pending_timeout_seconds=pending_timeout,
        )
    else:
        code = run.submit(
            sources,
            namespace=namespace,
            context=context,
            logs=logs,
            follow=wait,
            pending_timeout_seconds=pending_timeout,
            for_job=for_job,
            force_conflicts=force_conflicts,
            open_store=open_store,
        )
    raise typer.Exit(code)
