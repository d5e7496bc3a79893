"""The commands behind `make cluster-up` and its companions: `python -m testcluster --help`."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from testcluster import argocd, binaries, flux, images, kuberay, machine, node, transfer
from testcluster.light import PROGRAMS as LIGHT
from testcluster.light import WITH_QUEUES
from testcluster.settings import HERE, KUBECONFIG, LOGS, PROJECT, path_with_binaries


def up(*, policies: bool = True) -> None:
    """Builds what is missing, then starts the node and the operator; does nothing when they run.

    Without policies, nothing enforces NetworkPolicy, and what does is not built.
    """
    if machine.running():
        print(f"already up: export KUBECONFIG={KUBECONFIG}")
        return
    machine.stop()  # what a node that was killed may have left
    _timed("binaries", lambda: binaries.build(_programs(policies=policies)))
    try:
        _timed("node", lambda: machine.start(policies=policies))
        _timed("API server", _wait_for_api)
        _timed("operator", kuberay.install)
        _timed("all ready", kuberay.wait_until_ready)
    except BaseException:
        machine.stop()
        print(f"the cluster did not come up and was taken down: see {LOGS}", file=sys.stderr)
        raise
    print(f"up: export KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """Takes the cluster away; binaries and image layers stay in the cache."""
    machine.stop()


def status() -> None:
    """Prints the node and the pods; exits 1 when no cluster runs."""
    if not machine.running():
        sys.exit("no test cluster runs")
    print(kuberay.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide"))


def make_images() -> None:
    """Builds every image and, when the cluster runs, loads it there."""
    images.build()
    if machine.running():
        _load_images()


def light(pytest_arguments: list[str]) -> int:
    """Runs tests/light on a control plane that they start; returns pytest's exit status."""
    binaries.build([*LIGHT, "helm"])  # before any test: no time limit of theirs is for a compiler
    return _pytest("light", ["--timeout=900", *pytest_arguments], path_with_binaries())


def queues(pytest_arguments: list[str]) -> int:
    """Runs tests/queues on a control plane with Kueue; returns pytest's exit status."""
    binaries.build([*WITH_QUEUES, "helm"])
    return _pytest("queues", ["--timeout=900", *pytest_arguments], path_with_binaries())


def gitops(pytest_arguments: list[str]) -> int:
    """Runs tests/gitops on a control plane with Argo CD; returns pytest's exit status."""
    binaries.build([*LIGHT, *argocd.PROGRAMS])
    return _entry_points("gitops", pytest_arguments)


def flux_releases(pytest_arguments: list[str]) -> int:
    """Runs tests/flux on a control plane with Flux; returns pytest's exit status."""
    binaries.build([*LIGHT, *flux.PROGRAMS, "helm"])
    return _entry_points("flux", pytest_arguments)


def smoke(pytest_arguments: list[str]) -> int:
    """Runs the tests marked `smoke` on an image without torch; returns pytest's exit status."""
    return e2e(["-m", "smoke", *pytest_arguments], requirements="prepare", policies=False)


def e2e(
    pytest_arguments: list[str], requirements: str = "runtime", *, policies: bool = True
) -> int:
    """Runs tests/e2e on a cluster made for it, or on E2E_CONTEXT; returns pytest's exit status."""
    environment = path_with_binaries()
    if "E2E_CONTEXT" in environment:
        return _e2e_tests(pytest_arguments, environment)
    was_running = bool(machine.running())
    try:
        with ThreadPoolExecutor() as side_by_side:
            built = side_by_side.submit(images.build, requirements)
            binaries.build(_programs(policies=policies))
            up(policies=policies)
            built.result()
        _load_images()
        return _e2e_tests(pytest_arguments, {**environment, "KUBECONFIG": str(KUBECONFIG)})
    finally:
        if not was_running and not environment.get("KEEP"):
            machine.stop()


def shell(command: list[str]) -> None:
    """Runs a command inside the node's namespaces (a look with ctr, ip or iptables)."""
    os.environ |= path_with_binaries()
    inside = machine.node_command(*(command or ["bash"]))
    os.execvp(inside[0], inside)  # noqa: S606


def _entry_points(suite: str, arguments: list[str]) -> int:
    """Runs a suite that takes other projects' kinds from where the charts' tests have them."""
    hack = HERE.parent
    environment = path_with_binaries() | {"PYTHONPATH": f"{hack}:{hack / 'charts'}"}
    return _pytest(suite, ["--timeout=1200", *arguments], environment)


def _e2e_tests(arguments: list[str], environment: dict[str, str]) -> int:
    return _pytest("e2e", ["--timeout=1500", *arguments], environment)


def _pytest(folder: str, arguments: list[str], environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", f"tests/{folder}", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment).returncode


def _programs(*, policies: bool) -> list[str]:
    return [*binaries.CLUSTER, *(binaries.POLICIES if policies else [])]


def _load_images() -> None:
    for name in images.IMAGES:
        transfer.load(name)


def _wait_for_api() -> None:
    end = time.monotonic() + node.START_SECONDS
    while machine.running() and time.monotonic() < end:
        if kuberay.answers("get", "serviceaccount", "default"):
            return
        time.sleep(0.3)
    raise SystemExit("the API server does not answer")


def _timed(what: str, step: Callable[[], object]) -> None:
    started = time.monotonic()
    step()
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="testcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, simple in (("up", up), ("down", down), ("status", status), ("images", make_images)):
        commands.add_parser(name, help=simple.__doc__).set_defaults(run=lambda _, f=simple: f())
    build = commands.add_parser("build", help=binaries.build.__doc__)
    build.add_argument("names", nargs="+", choices=binaries.names())
    build.set_defaults(run=lambda arguments: binaries.build(arguments.names))
    for name, long in (
        ("e2e", e2e),
        ("smoke", smoke),
        ("light", light),
        ("queues", queues),
        ("gitops", gitops),
        ("flux", flux_releases),
        ("shell", shell),
    ):
        command = commands.add_parser(name, help=long.__doc__)
        command.add_argument("words", nargs=argparse.REMAINDER)
        command.set_defaults(run=lambda a, f=long: f([w for w in a.words if w != "--"]))
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    alone = (
        arguments.command in {"build", "light", "queues", "gitops", "flux"}
        or "E2E_CONTEXT" in os.environ
    )
    if not alone and (obstacle := machine.obstacle()):
        sys.exit(f"{obstacle}; elsewhere name a cluster: E2E_CONTEXT")
    sys.exit(arguments.run(arguments))


if __name__ == "__main__":
    main()
