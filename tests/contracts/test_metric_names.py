"""Dashboards and alerts ask for metrics that training and serving export, by their names there."""

from __future__ import annotations

import re
from pathlib import Path

from darkroom.jobs.report.attempts import NAMES
from darkroom.jobs.serve.engine.stats import Counts
from darkroom.jobs.serve.telemetry import COUNTED
from darkroom.jobs.serve.telemetry import METRICS as SERVING
from darkroom.jobs.training.goodput import PARTS
from darkroom.jobs.training.metrics_log import METRIC_COLUMNS
from darkroom.jobs.training.telemetry import METRICS, OF_THE_LOG

ROOT = Path(__file__).resolve().parents[2]
ASKED = re.compile(r"\bray_(darkroom_[a-z0-9_]+)")
DASHBOARD = ROOT / "charts/darkroom-cluster/files/dashboards/darkroom.json"
OF_SERVICE = ROOT / "charts/darkroom-service/files/dashboards/darkroom-service.json"
RULES = ROOT / "charts/darkroom-cluster/templates/monitoring.yaml"


def asked(path: Path) -> set[str]:
    return set(ASKED.findall(path.read_text()))


def test_charts_and_manifests_ask_only_for_what_is_exported() -> None:
    files = [
        path
        for folder in ("charts", "hack/charts", "manifests", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".yaml", ".json", ".py", ".md", ".tpl"}
    ]
    found = {
        path: asked(path) - set(METRICS) - set(SERVING) - {"darkroom_serve_"} for path in files
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_the_dashboard_shows_a_run_and_an_alert_watches_its_checkpoints() -> None:
    shown = {name.removeprefix("darkroom_train_") for name in asked(DASHBOARD)}
    assert shown == {name.removeprefix("darkroom_train_") for name in METRICS} - {"epoch"}
    assert asked(RULES) == {"darkroom_train_checkpoint_age_seconds"}


def test_the_services_dashboard_shows_all_that_its_engine_counts() -> None:
    assert asked(OF_SERVICE) == set(SERVING)
    assert set(COUNTED) == set(Counts().to_dict())


def test_the_report_names_every_part() -> None:
    assert list(NAMES) == list(PARTS)


def test_every_column_of_the_log_is_exported() -> None:
    assert set(OF_THE_LOG) == set(METRIC_COLUMNS) - {"step", "seconds"}


def test_the_documentation_names_every_metric_and_every_part() -> None:
    text = (ROOT / "docs/verbs/train.md").read_text()
    for name in [*METRICS, *PARTS]:
        assert f"`{name}`" in text or f"`{name.removeprefix('darkroom_train_')}`" in text, name
