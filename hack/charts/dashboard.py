"""Writes darkroom-cluster's Grafana dashboard from a table of panels.

    python hack/charts/dashboard.py

A dashboard's JSON is mostly layout; here stands what a person decides: title, query, unit. Metrics
are Ray's, KubeRay's, and those of training runs (src/darkroom/jobs/training/telemetry.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = (
    Path(__file__).resolve().parents[2] / "charts/darkroom-cluster/files/dashboards/darkroom.json"
)
OF_CLUSTER = 'namespace="$namespace", ray_io_cluster=~"$cluster"'
OF_NAMESPACE = 'namespace="$namespace"'
_WORKER_SECONDS = f"ray_darkroom_train_worker_seconds{{{OF_CLUSTER}}}"
_DISK_USED = f"ray_node_disk_usage{{{OF_CLUSTER}}}"

# Title, unit, then query and legend of each line.
PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
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


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it: two panels to a row."""
    return {
        "uid": "darkroom",
        "title": "Darkroom",
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
        "panels": [_panel(index, *panel) for index, panel in enumerate(PANELS)],
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
    TARGET.write_text(json.dumps(dashboard(), indent=2) + "\n")
