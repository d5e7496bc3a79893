"""What a schedule of darkroom-job has made: its CronJob, Jobs, and runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testcluster.client import Kubectl, wait_for
from tests.helpers.owners import owned

Object = dict[str, Any]


def jobs_of(kubectl: Kubectl, schedule: str) -> list[Object]:
    """Jobs that the CronJob made, or that were made from it by hand."""
    return owned(kubectl, "jobs.batch", "CronJob", schedule)


def start_by_hand(kubectl: Kubectl, schedule: str, word: str) -> str:
    """A run now, as the chart's notes say it; the Job's name."""
    name = f"{schedule}-{word}"
    kubectl("create", "job", f"--from=cronjob/{schedule}", name)
    return name


def pod_of(kubectl: Kubectl, job: str, *, seconds: float) -> Object:
    """The pod that the Job asks for."""
    selector = f"batch.kubernetes.io/job-name={job}"
    found: list[Object] = wait_for(
        f"a pod of {job}",
        lambda: kubectl.list("pods", selector),
        seconds=seconds,
        explain=kubectl.explain,
    )
    return found[0]


@contextmanager
def pods_command(kubectl: Kubectl, pod: Object, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs what the pod's container would run, here, as the pod's account and with its files.

    A kubeconfig stands in for the account's files in the pod, whose place is fixed.
    """
    (container,) = pod["spec"]["containers"]
    account = pod["spec"]["serviceAccountName"]
    token = kubectl("create", "token", account).strip()
    kubeconfig = folder / "account.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(_as_account(kubectl, token)))
    (mount,) = (item for item in container["volumeMounts"] if item["name"] == "rayjob")
    (volume,) = (item for item in pod["spec"]["volumes"] if item["name"] == "rayjob")
    for name, text in kubectl.get("configmap", volume["configMap"]["name"])["data"].items():
        (folder / name).write_text(text)
    words = [*container["command"], *container["args"]]
    words = [_expand(word, pod).replace(mount["mountPath"], str(folder)) for word in words]
    program = str(Path(sys.executable).with_name(words[0]))
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [program, *words[1:]],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _expand(word: str, pod: Object) -> str:
    """`$(NAME)` of variables that come from the pod's labels, as the kubelet does it."""
    labels = pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    values = {
        item["name"]: labels[re.sub(r"^metadata\.labels\['(.*)'\]$", r"\1", path)]
        for item in container["env"]
        if (path := item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"))
    }
    return re.sub(r"\$\((\w+)\)", lambda match: str(values[match[1]]), word)


def _as_account(kubectl: Kubectl, token: str) -> Object:
    """The kubeconfig that kubectl uses here, with another user and the namespace."""
    config: Object = json.loads(kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["contexts"][0]["context"]["namespace"] = kubectl.namespace
    config["users"][0]["user"] = {"token": token}
    return config
