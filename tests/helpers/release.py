"""The darkroom-cluster chart, installed in one namespace, and what tests ask of it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from testcluster.settings import PROJECT

from darkroom.storage import open_store

CHART = PROJECT / "charts" / "darkroom-cluster"
JOB_CHART = PROJECT / "charts" / "darkroom-job"
NAME = "darkroom"
BUCKET = "darkroom"
OF_RELEASE = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/managed-by=Helm"
"""What Helm made for it, as a selector."""
HEAD_ADDRESS = "--address=http://127.0.0.1:8265"

Object = dict[str, Any]


class Release:
    """The chart's release in one namespace."""

    def __init__(self, namespace: Kubectl, *settings: str) -> None:
        self.kubectl = namespace
        self.settings = settings

    def upgrade(self, *settings: str) -> None:
        """Installs or upgrades with the values for small clusters, and `settings` on top."""
        done = self.kubectl.helm(
            "upgrade", "--install", NAME, str(CHART), *self.values(*settings), "--force-conflicts"
        )
        assert done.returncode == 0, done.stderr

    def values(self, *settings: str) -> list[str]:
        """The flags that give helm this release's values."""
        return [f"--values={CHART}/ci/kind.yaml", *self.settings, *(f"--set={s}" for s in settings)]

    def wait_until_ready(self) -> None:
        """Blocks until the head and the S3 server are ready."""

        def ready() -> bool:
            status = self.kubectl.get("raycluster", NAME).get("status", {})
            return bool(status.get("state") == "ready")

        wait_for("a ready RayCluster", ready, seconds=300, explain=self.kubectl.explain)
        self.wait_for_s3()

    def wait_for_s3(self) -> None:
        """Blocks until the S3 server is ready."""
        statefulset = f"statefulset/{NAME}-s3"
        self.kubectl("rollout", "status", statefulset, "--timeout=180s", timeout=200)

    def uninstall(self) -> None:
        """Uninstalls, and fails unless every object of the release, and every pod, goes."""
        done = self.kubectl.helm("uninstall", NAME)
        assert done.returncode == 0, done.stderr
        wait_for("nothing of the release", self._is_gone, seconds=120, explain=self.kubectl.explain)

    def _is_gone(self) -> bool:
        kinds = "raycluster,statefulset,service,networkpolicy,serviceaccount,secret,role"
        kinds += ",rolebinding,configmap,persistentvolumeclaim"
        left = self.kubectl.list(kinds, OF_RELEASE)
        return not left and not self.kubectl.list("pods", f"ray.io/cluster={NAME}")

    def pods(self, node_type: str, group: str = "") -> list[Object]:
        """Running pods of a kind of Ray node, `head` or `worker`."""
        asked_for = self.pods_asked_for(node_type, group)
        return [pod for pod in asked_for if pod["status"].get("phase") == "Running"]

    def pods_asked_for(self, node_type: str, group: str = "") -> list[Object]:
        """The same, with those that do not run yet; never another cluster's of the namespace."""
        selector = f"ray.io/cluster={NAME},ray.io/node-type={node_type}"
        selector += f",ray.io/group={group}" if group else ""
        return [
            pod
            for pod in self.kubectl.list("pods", selector)
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def on_head(self, *command: str, timeout: float = 120) -> str:
        """Runs a command in the head's container."""
        head = self.pods("head")[0]["metadata"]["name"]
        return self.kubectl("exec", head, "--container=ray-head", "--", *command, timeout=timeout)

    @contextmanager
    def running_job(self, name: str, program: str) -> Iterator[None]:
        """A Python program submitted from the head, stopped at the end: no demand of it stays."""
        job = ["ray", "job", "submit", HEAD_ADDRESS, "--no-wait", f"--submission-id={name}"]
        self.on_head(*job, "--", "python", "-c", program)
        try:
            yield
        finally:
            self.on_head("ray", "job", "stop", HEAD_ADDRESS, name)

    def rayjob(self, name: str, *settings: str, own_cluster: bool = False) -> str:
        """darkroom-job's manifests for this release's S3: on this cluster, or on one of its own."""
        namespace = self.kubectl.namespace
        where = [] if own_cluster else [f"clusterSelector={NAME}"]
        endpoint = f"s3.endpoint=http://{NAME}-s3.{namespace}.svc:8333"
        flags = [f"--set={s}" for s in ("input=", endpoint, *where, *settings)]
        file = "kind" if own_cluster else "kind-on-cluster"
        values = f"--values={JOB_CHART}/ci/{file}.yaml"
        return self.kubectl.template(name, JOB_CHART, values, *flags)

    @contextmanager
    def s3_from_here(self) -> Iterator[str]:
        """Makes the release's S3 server that of this process and its children; the bucket's URI."""
        secret = self.kubectl.get("secret", f"{NAME}-s3")["data"]
        with (
            _forwarded(self.kubectl, f"service/{NAME}-s3", 8333) as port,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in secret.items():
                patch.setenv(name, base64.b64decode(value).decode())
            patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_REGION", "us-east-1")
            yield f"s3://{BUCKET}"


def job_arguments(arguments: Sequence[str]) -> list[str]:
    """The setting of the job chart that gives the verb further arguments; none for none.

    Helm takes a word that is a number for one, which the chart refuses: write --limit=4.
    """
    return [f"args={{{','.join(arguments)}}}"] if arguments else []


def upload_folder(folder: Path, uri: str) -> str:
    """Puts every file below the folder under the URI, which is returned."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    open_store(uri).upload_many([(path, str(path.relative_to(folder))) for path in files])
    return uri


@contextmanager
def _forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[int]:
    """A free port of this machine that leads to `port` of the target."""
    command = ["kubectl", *kubectl.flags, f"--namespace={kubectl.namespace}"]
    command += ["port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> 8333
            assert line.startswith("Forwarding from 127.0.0.1:"), f"{' '.join(command)}: {line}"
            yield int(line.split(":", 1)[1].split(" ")[0])
        finally:
            process.terminate()


def submit(
    kubectl: Kubectl, *arguments: str, stdin: str = "", seconds: float = 420
) -> tuple[int, str, float]:
    """Runs `darkroom submit` on this machine; its exit code, what it said, and the seconds."""
    command, environment = submitting(kubectl, *arguments)
    started = time.monotonic()
    done = subprocess.run(
        command,
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - started


def submit_in_time(kubectl: Kubectl, manifests: str) -> tuple[int, list[tuple[float, str]]]:
    """As `submit`, of manifests: the exit code, and every line with its seconds since the start."""
    command, environment = submitting(kubectl, "-f", "-")
    started = time.monotonic()
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(manifests)
        process.stdin.close()
        lines = [(time.monotonic() - started, line.rstrip()) for line in process.stdout]
    return process.returncode, lines


def submitting(kubectl: Kubectl, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command and its environment."""
    context = [flag for flag in kubectl.flags if flag.startswith("--context")]
    kubeconfig = [f.partition("=")[2] for f in kubectl.flags if f.startswith("--kubeconfig=")]
    environment = {**os.environ, **({"KUBECONFIG": kubeconfig[0]} if kubeconfig else {})}
    environment["PYTHONUNBUFFERED"] = "1"
    darkroom = str(Path(sys.executable).with_name("darkroom"))
    command = [darkroom, "submit", *context, f"--namespace={kubectl.namespace}", *arguments]
    return command, environment
