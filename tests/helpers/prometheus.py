"""Debian's Prometheus as a process, and what the charts' monitors and rules make of its settings.

The Prometheus operator, which turns monitors into settings on a cluster, is not here: `scrape`
writes what its source writes for the fields that the charts use (v0.85.0,
pkg/prometheus/promcfg.go). Pods are found in a file that has the labels Kubernetes' discovery
gives to a pod. A minute of a rule is a second here, everywhere in it alike: in `for` and in ranges.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.helpers.processes import free_port

BUILT = Path(__file__).parents[2] / ".cache" / "prometheus" / "usr" / "bin" / "prometheus"
SECOND = "1s"

Object = dict[str, Any]
Samples = list[tuple[dict[str, str], float]]
"""Labels and value of each."""


class Prometheus:
    """A running server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> Samples:
        """What an expression is now."""
        found = self._ask("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Labels of the alerts of this name that fire."""
        return [each["labels"] for each in self._firing(alert)]

    def targets(self) -> list[Object]:
        """What it scrapes, after relabelling."""
        found: list[Object] = self._ask("targets", state="active")["activeTargets"]
        return found

    def until(self, what: str, seen: Callable[[], Any], seconds: float = 90) -> Any:
        """Poll until something is so, and return it."""
        end = time.monotonic() + seconds
        while not (result := seen()):
            if time.monotonic() > end:
                states = [(t["labels"], t["health"], t["lastError"]) for t in self.targets()]
                alerts = self._ask("alerts")["alerts"]
                pytest.fail(f"not within {seconds:.0f} s: {what}; {states}; {alerts}")
            time.sleep(0.2)
        return result

    def until_firing(self, alert: str, seconds: float = 90, **labels: str) -> str:
        """Wait for one with these labels; what it tells people."""

        def told() -> list[str]:
            return [
                each["annotations"]["summary"]
                for each in self._firing(alert)
                if labels.items() <= each["labels"].items()
            ]

        return str(self.until(f"{alert} fires", told, seconds)[0])

    def until_clear(self, alert: str, seconds: float = 90, **labels: str) -> None:
        """Wait until none with these labels fires."""

        def clear() -> bool:
            return not any(labels.items() <= each.items() for each in self.firing(alert))

        self.until(f"{alert} is clear", clear, seconds)

    def _firing(self, alert: str) -> list[Object]:
        return [
            each
            for each in self._ask("alerts")["alerts"]
            if each["labels"]["alertname"] == alert and each["state"] == "firing"
        ]

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")


@contextmanager
def prometheus(
    folder: Path, scrapes: Iterable[Object], rules: Iterable[Object]
) -> Iterator[Prometheus]:
    """A server that scrapes and evaluates each second; what it kept goes with the folder."""
    folder.mkdir(parents=True)
    (folder / "rules.json").write_text(json.dumps(rule_file(rules)))
    settings = {
        "global": {
            "scrape_interval": SECOND,
            "evaluation_interval": SECOND,
            "scrape_timeout": SECOND,
        },
        "rule_files": ["rules.json"],
        "scrape_configs": list(scrapes),
    }
    (folder / "prometheus.json").write_text(json.dumps(settings))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    log = folder / "log"
    command = [program(), f"--config.file={folder}/prometheus.json"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    with log.open("w") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            end = time.monotonic() + 60
            while not _is_ready(address):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            yield Prometheus(address)
        finally:
            process.terminate()


def program() -> str:
    """Its path. Skips the test where it is not to be had."""
    found = str(BUILT) if BUILT.exists() else shutil.which("prometheus")
    if found is None:
        pytest.skip("Prometheus is not here: make prometheus, on Debian or Ubuntu")
    return found


def rule_file(rules: Iterable[Object]) -> Object:
    """PrometheusRules as one file, their minutes seconds."""
    text = json.dumps([group for rule in rules for group in rule["spec"]["groups"]])
    return {"groups": json.loads(in_seconds(text))}


def in_seconds(text: str) -> str:
    """A rule or an expression, its minutes seconds."""
    return re.sub(r'(\[|"for": ")(\d+)m(?=[\]"])', r"\1\2s", text)


def scrape(monitor: Object, found: Path) -> list[Object]:
    """The settings for each endpoint of a PodMonitor, or of a ServiceMonitor; targets in a file."""
    namespace, name = monitor["metadata"]["namespace"], monitor["metadata"]["name"]
    spec = monitor["spec"]
    of_pods = monitor["kind"] == "PodMonitor"
    noun = "pod" if of_pods else "service"
    port_name = "pod_container_port_name" if of_pods else "endpoint_port_name"
    configs = []
    for index, endpoint in enumerate(spec["podMetricsEndpoints" if of_pods else "endpoints"]):
        relabel = [
            {
                "action": "keep",
                "source_labels": [_meta(f"{noun}_label", k), _meta(f"{noun}_labelpresent", k)],
                "regex": f"({value});true",
            }
            for k, value in sorted(spec["selector"]["matchLabels"].items())
        ]
        relabel.append(
            {
                "action": "keep",
                "source_labels": [f"__meta_kubernetes_{port_name}"],
                "regex": endpoint["port"],
            }
        )
        relabel += [
            {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
            for source, target in (
                ("namespace", "namespace"),
                ("pod_container_name", "container"),
                ("pod_name", "pod"),
                ("service_name", "service"),
            )
        ]
        relabel += [
            {
                "source_labels": [_meta("pod_label", key)],
                "target_label": _name(key),
                "regex": "(.+)",
                "replacement": "${1}",
            }
            for key in spec.get("podTargetLabels", [])
        ]
        relabel += [
            {"target_label": "job", "replacement": f"{namespace}/{name}"},
            {"target_label": "endpoint", "replacement": endpoint["port"]},
        ]
        configs.append(
            {
                "job_name": f"{noun}Monitor/{namespace}/{name}/{index}",
                "honor_labels": endpoint.get("honorLabels", False),
                "file_sd_configs": [{"files": [str(found)]}],
                "scrape_interval": endpoint.get("interval", SECOND),
                "relabel_configs": relabel,
            }
        )
    return configs


def pod_targets(pod: Object, ports: Mapping[str, int]) -> list[Object]:
    """A pod as Kubernetes' discovery finds it: a target for each port; here each has its own.

    ports: name of a container's port -> where it is on this machine.
    """
    metadata = pod["metadata"]
    labels = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_pod_name": metadata["name"],
        "__meta_kubernetes_pod_phase": "Running",
    }
    for key, value in metadata["labels"].items():
        labels |= {_meta("pod_label", key): value, _meta("pod_labelpresent", key): "true"}
    container, *_ = pod["spec"]["containers"]
    return [
        {
            "targets": [f"127.0.0.1:{ports[port['name']]}"],
            "labels": {
                **labels,
                "__meta_kubernetes_pod_container_name": container["name"],
                "__meta_kubernetes_pod_container_port_name": port["name"],
            },
        }
        for port in container["ports"]
        if port["name"] in ports
    ]


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _meta(what: str, key: str) -> str:
    return f"__meta_kubernetes_{what}_{_name(key)}"


def _name(key: str) -> str:
    """As Prometheus writes a label's name."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)
