"""Writes the Grafana dashboards of darkroom-cluster and darkroom-service from tables of panels.

    python hack/charts/dashboard.py

A dashboard's JSON is mostly layout; here stands what a person decides: title, query, unit. Metrics
are Ray's, KubeRay's, those of training runs (src/darkroom/jobs/training/telemetry.py) and those of
the drawing engine (src/darkroom/jobs/serve/telemetry.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHARTS = Path(__file__).resolve().parents[2] / "charts"
OF_CLUSTER = 'namespace="$namespace", ray_io_cluster=~"$cluster"'
OF_NAMESPACE = 'namespace="$namespace"'
_WORKER_SECONDS = f"ray_darkroom_train_worker_seconds{{{OF_CLUSTER}}}"
_DISK_USED = f"ray_node_disk_usage{{{OF_CLUSTER}}}"

_ENGINE = "ray_darkroom_serve_"
_REQUESTS = f"ray_serve_num_http_requests_total{{{OF_CLUSTER}}}"

Panel = tuple[str, str, list[tuple[str, str]]]
"""Title, unit, then query and legend of each line."""

CLUSTER: list[Panel] = [
    (
        "Training and validation loss",
        "none",
        [
            (f"ray_darkroom_train_loss{{{OF_CLUSTER}}}", "{{run}} {{part}}"),
            (f"ray_darkroom_train_validation_loss{{{OF_CLUSTER}}}", "{{run}} validation"),
        ],
    ),
    (
        "Worker-seconds of training by part, share",
        "percentunit",
        [
            (
                f"sum by (part) ({_WORKER_SECONDS}) / scalar(sum({_WORKER_SECONDS}))",
                "{{part}}",
            )
        ],
    ),
    (
        "Training images per second",
        "short",
        [(f"ray_darkroom_train_images_per_second{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Share of time waiting for training data",
        "percentunit",
        [(f"ray_darkroom_train_data_wait_share{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Gradient norm and norm of the weights",
        "none",
        [
            (f"ray_darkroom_train_grad_norm{{{OF_CLUSTER}}}", "{{run}} gradient {{part}}"),
            (f"ray_darkroom_train_param_norm{{{OF_CLUSTER}}}", "{{run}} weights {{part}}"),
        ],
    ),
    (
        "Learning rate",
        "none",
        [(f"ray_darkroom_train_learning_rate{{{OF_CLUSTER}}}", "{{run}} {{part}}")],
    ),
    (
        "Optimizer steps done, and saved",
        "short",
        [
            (f"ray_darkroom_train_step{{{OF_CLUSTER}}}", "{{run}}"),
            (f"ray_darkroom_train_checkpoint_step{{{OF_CLUSTER}}}", "{{run}} saved"),
        ],
    ),
    (
        "Age of the newest checkpoint",
        "s",
        [(f"ray_darkroom_train_checkpoint_age_seconds{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Goodput of training",
        "percentunit",
        [(f"ray_darkroom_train_goodput{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Memory of training's rank 0",
        "bytes",
        [(f"ray_darkroom_train_memory_bytes{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Images of one forward pass of training",
        "short",
        [(f"ray_darkroom_train_micro_batch_size{{{OF_CLUSTER}}}", "{{run}}")],
    ),
    (
        "Jobs by state",
        "short",
        [
            (
                f"sum by (deployment_status) (kuberay_job_deployment_status{{{OF_NAMESPACE}}})",
                "{{deployment_status}}",
            )
        ],
    ),
    (
        "Clusters not provisioned",
        "short",
        [
            (
                f'kuberay_cluster_condition_provisioned{{{OF_NAMESPACE}, condition="false"}}',
                "{{name}}",
            )
        ],
    ),
    (
        "Seconds until a cluster was provisioned",
        "s",
        [(f"kuberay_cluster_provisioned_duration_seconds{{{OF_NAMESPACE}}}", "{{name}}")],
    ),
    (
        "Seconds that jobs took",
        "s",
        [
            (
                f"kuberay_job_execution_duration_seconds{{{OF_NAMESPACE}}}",
                "{{name}} {{job_deployment_status}}",
            )
        ],
    ),
    ("CPU use per pod", "percent", [(f"ray_node_cpu_utilization{{{OF_CLUSTER}}}", "{{pod}}")]),
    (
        "Memory use per pod",
        "percentunit",
        [(f"ray_node_mem_used{{{OF_CLUSTER}}} / ray_node_mem_total{{{OF_CLUSTER}}}", "{{pod}}")],
    ),
    (
        "Logical resources in use and free",
        "short",
        [
            (
                f'sum by (Name, State) (ray_resources{{{OF_CLUSTER}, Name=~"CPU|GPU"}})',
                "{{Name}} {{State}}",
            )
        ],
    ),
    (
        "Tasks by state",
        "short",
        [(f"sum by (State) (ray_tasks{{{OF_CLUSTER}}})", "{{State}}")],
    ),
    (
        "Object store by place",
        "bytes",
        [(f"sum by (Location) (ray_object_store_memory{{{OF_CLUSTER}}})", "{{Location}}")],
    ),
    (
        "Disk use per pod",
        "percentunit",
        [
            (
                f"{_DISK_USED} / ({_DISK_USED} + ray_node_disk_free{{{OF_CLUSTER}}})",
                "{{pod}}",
            )
        ],
    ),
    (
        "Network per pod",
        "Bps",
        [
            (f"ray_node_network_receive_speed{{{OF_CLUSTER}}}", "{{pod}} in"),
            (f"ray_node_network_send_speed{{{OF_CLUSTER}}}", "{{pod}} out"),
        ],
    ),
]


def _rate(metric: str, more: str = "") -> str:
    return f"sum(rate({metric}{{{OF_CLUSTER}{more}}}[5m]))"


def _latency(quantile: float) -> str:
    buckets = f"rate(ray_serve_http_request_latency_ms_bucket{{{OF_CLUSTER}}}[5m])"
    return f"histogram_quantile({quantile}, sum by (le) ({buckets})) / 1000"


SERVICE: list[Panel] = [
    (
        "Requests per second by status",
        "reqps",
        [
            (
                f"sum by (status_code) (rate({_REQUESTS}[5m]))",
                "{{status_code}}",
            )
        ],
    ),
    (
        "Latency of requests",
        "s",
        [(_latency(0.5), "half"), (_latency(0.95), "19 of 20")],
    ),
    (
        "Pictures per second",
        "short",
        [
            (_rate(f"{_ENGINE}{end}_total"), end)
            for end in ("drawn", "cancelled", "failed", "out_of_memory")
        ],
    ),
    (
        "Pictures waiting, and under way",
        "short",
        [
            (f"sum({_ENGINE}waiting{{{OF_CLUSTER}}})", "waiting"),
            (f"sum({_ENGINE}drawing{{{OF_CLUSTER}}})", "under way"),
        ],
    ),
    (
        "Seconds of drawing that wait, by replica",
        "s",
        [(f"{_ENGINE}backlog_seconds{{{OF_CLUSTER}}}", "{{replica}}")],
    ),
    (
        "Seconds until the first step",
        "s",
        [(f"{_rate(_ENGINE + 'waited_seconds_total')} / {_rate(_ENGINE + 'begun_total')}", "mean")],
    ),
    (
        "Pictures that share a step",
        "short",
        [(f"{_rate(_ENGINE + 'rows_total')} / {_rate(_ENGINE + 'steps_total')}", "mean")],
    ),
    (
        "Seconds of a step",
        "s",
        [(f"{_rate(_ENGINE + 'step_seconds_total')} / {_rate(_ENGINE + 'steps_total')}", "mean")],
    ),
    (
        "Share of time that replicas draw",
        "percentunit",
        [(f"rate({_ENGINE}busy_seconds_total{{{OF_CLUSTER}}}[5m])", "{{replica}}")],
    ),
    (
        "Replicas that are healthy",
        "short",
        [
            (
                f"sum by (deployment) (ray_serve_deployment_replica_healthy{{{OF_CLUSTER}}})",
                "{{deployment}}",
            )
        ],
    ),
]


def dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """The dashboard as Grafana imports it: two panels to a row."""
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                _variable("namespace", "label_values(kuberay_cluster_info, namespace)"),
                _variable(
                    "cluster",
                    'label_values(ray_node_mem_total{namespace="$namespace"}, ray_io_cluster)',
                    includeAll=True,
                    multi=True,
                ),
            ]
        },
        "panels": [_panel(index, *panel) for index, panel in enumerate(panels)],
    }


def _variable(name: str, query: str, **options: Any) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {"name": name, "type": "query", "datasource": source, "query": query, **options}


def _panel(index: int, title: str, unit: str, lines: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": index % 2 * 12, "y": index // 2 * 8, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(lines)
        ],
    }


if __name__ == "__main__":
    for chart, name, title, panels in (
        ("darkroom-cluster", "darkroom", "Darkroom", CLUSTER),
        ("darkroom-service", "darkroom-service", "Darkroom service", SERVICE),
    ):
        target = CHARTS / chart / "files" / "dashboards" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(dashboard(name, title, panels), indent=2) + "\n")
