"""Seconds from `kubectl apply` to a training's first step, over those of a minimal RayJob.

    python -m benchmarks.start_up_cluster [--rounds 2] [--image darkroom:VERSION]

On the cluster that `make cluster-up` made, with the images of `make image`; nothing else may run
there. Four arms, interleaved, each a RayJob in a namespace that this makes and deletes:

    a plain RayJob written by hand, its own cluster     until its one task has run
    `train` by the chart, its own cluster               until step 1 is in S3   (<= 1.5)
    one task on a standing cluster                      until it has run
    `train` by the chart on a standing cluster          until step 1 is in S3   (<= 1.3)

Own clusters begin with a head and no worker; the standing one has a worker that is idle. That
step 1 is in S3 is known by its checkpoint, so its writing is in the figure. PHASES says where the
seconds go: Kubernetes writes whole seconds, so a phase may be off by one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import Any

import yaml
from benchmarks.interleaved import Report, Timings, after_each_round, arguments
from benchmarks.phase_table import table_of
from testcluster.client import Kubectl, rayjob_end
from testcluster.settings import KUBECONFIG, path_with_binaries, project_version
from tests.helpers.namespaces import new_namespace
from tests.helpers.plain_rayjob import LAST_WORD, PROGRAM, plain_rayjob
from tests.helpers.release import BUCKET, NAME, Release
from tests.helpers.training_job import published_step

PLAIN, TRAIN, TASK, TRAIN_THERE = (
    "plain RayJob, own cluster", "train, own cluster",
    "one task, standing cluster", "train, standing cluster",
)  # fmt: skip
TARGETS = {TRAIN: (PLAIN, 1.5), TRAIN_THERE: (TASK, 1.3)}
PHASES = {
    "head runs": "until the container of the head is started",
    "head ready": "Ray on the head answers its probes",
    "entrypoint": "the submitter's pod, and Ray starts the driver",
    "work": "the driver, a worker from zero where none is, and the first task or step",
}
STANDING_VALUES = {
    "pools": {"cpu": {"minReplicas": 1, "maxReplicas": 1}},
    "autoscaler": {"idleTimeoutSeconds": 3600},
}
DATA = f"s3://{BUCKET}/start-up"
FEW_STEPS = (
    "args={--set,max_steps=2,--set,lr_schedule.warmup_steps=0,--set,checkpoint.every_steps=1}"
)
LIMIT_SECONDS = 400
POLL_SECONDS = 0.2


class Jobs:
    """The arms, on one release of the cluster's chart."""

    def __init__(self, release: Release, image: str) -> None:
        self._release, self._image = release, image
        self._numbers = count(1)
        self.phases: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
        """Of each arm's runs, in their order."""

    def prepare(self) -> None:
        """The dataset that is trained on."""
        self._release.kubectl.apply_text(
            self._rendered("data", "verb=prepare", f"output={DATA}/data")
        )
        self._ended("data")

    def arm(self, name: str) -> Callable[[], float]:
        """One job, from being applied to its first work; its seconds."""
        return lambda: self._run(name)

    def _run(self, arm: str) -> float:
        name = f"job-{next(self._numbers)}"
        output = f"{DATA}/{name}"
        if arm == PLAIN:
            manifests = yaml.safe_dump(plain_rayjob(self._image, name))
        else:
            manifests = self._rendered(
                name, "verb=train", f"input={DATA}/data", f"output={output}", FEW_STEPS,
                own_cluster=arm == TRAIN,
            )  # fmt: skip
        if arm == TASK:
            manifests = _with_task(manifests)
        began = time.time()
        self._release.kubectl.apply_text(manifests)
        while not (published_step(output) if arm in TARGETS else LAST_WORD in self._log(name)):
            if time.time() - began > LIMIT_SECONDS:
                raise TimeoutError(f"{name} ({arm}):\n{self._release.kubectl.explain()}")
            time.sleep(POLL_SECONDS)
        seconds = time.time() - began
        head = self._own_head(name) or [began, began]
        info = self._ended(name)["rayJobInfo"]  # KubeRay looks at the job every few seconds
        marks = [began, *head, _seconds(info["startTime"]), began + seconds]
        self.phases[arm].append(phases_of(marks))
        self._release.kubectl("delete", "rayjob", name, "--wait=true")
        return seconds

    def _own_head(self, name: str) -> list[float]:
        """When its container started and when it was ready; nothing for the standing cluster."""
        cluster = self._release.kubectl.get("rayjob", name)["status"]["rayClusterName"]
        selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
        if cluster == NAME:
            return []
        (head,) = self._release.kubectl.list("pods", selector)
        states = {each["name"]: each["state"] for each in head["status"]["containerStatuses"]}
        ready = next(c for c in head["status"]["conditions"] if c["type"] == "Ready")
        started = states["ray-head"]["running"]["startedAt"]
        return [_seconds(started), _seconds(ready["lastTransitionTime"])]

    def _rendered(self, name: str, *settings: str, own_cluster: bool = False) -> str:
        return self._release.rayjob(name, "recipe=digits_smoke", *settings, own_cluster=own_cluster)

    def _log(self, name: str) -> str:
        done = self._release.kubectl.run("logs", f"--selector=job-name={name}", "--tail=-1")
        return done.stdout

    def _ended(self, name: str) -> dict[str, Any]:
        status = rayjob_end(self._release.kubectl, name, seconds=LIMIT_SECONDS)
        if status["jobStatus"] != "SUCCEEDED":
            raise RuntimeError(f"{name}: {status}\n{self._release.kubectl.explain()}")
        return status


def _with_task(manifests: str) -> str:
    """The chart's RayJob, with the plain one's program in the place of the verb."""
    objects = [each for each in yaml.safe_load_all(manifests) if each]
    for each in objects:
        if each["kind"] == "RayJob":
            each["spec"]["entrypoint"] = f'python -c "{PROGRAM}"'
    text: str = yaml.safe_dump_all(objects)
    return text


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def phases_of(marks: Sequence[float]) -> dict[str, float]:
    """Seconds of each of PHASES, from their begins and the end; together they are the run."""
    # Whole seconds may seem to lie before what they followed.
    rising = list(accumulate(marks, max))
    return {
        phase: after - before
        for phase, (before, after) in zip(PHASES, pairwise(rising), strict=True)
    }


def tell(report: Report, timings: Timings, jobs: Jobs) -> None:
    """What was seen by now: rows, and a table of phases."""
    measured: dict[str, Any] = {name: runs[1:] for name, runs in jobs.phases.items()}
    report.details |= {"seconds": timings.seconds, "phases": measured}
    print(table_of(measured, list(PHASES)), flush=True)
    for ours, (minimal, target) in TARGETS.items():
        report.add(f"{ours} / {minimal}", timings.ratio(ours, minimal), at_most=target)


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=2)
    parser.add_argument("--image", default=f"darkroom:{project_version()}")
    options = parser.parse_args()
    os.environ["PATH"] = path_with_binaries()["PATH"]
    report = Report("start_up_cluster")
    kubectl = Kubectl(f"--kubeconfig={KUBECONFIG}")
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder,
        new_namespace(kubectl, "bench", "start-up") as namespace,
    ):
        values = Path(folder) / "standing.yaml"
        values.write_text(yaml.safe_dump(STANDING_VALUES))
        release = Release(namespace, f"--values={values}")
        release.upgrade()
        try:
            release.wait_until_ready()
            with release.s3_from_here():
                jobs = Jobs(release, options.image)
                jobs.prepare()
                arms = {name: jobs.arm(name) for name in (PLAIN, TRAIN, TASK, TRAIN_THERE)}
                for timings in after_each_round(arms, num_rounds=options.rounds):
                    tell(report, timings, jobs)
        finally:
            with suppress(AssertionError):
                release.uninstall()


if __name__ == "__main__":
    main()
