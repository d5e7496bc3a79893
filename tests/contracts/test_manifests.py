"""Every verb can be submitted: by a manifest in each environment, and by the chart darkroom-job."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.cli.verbs import VERBS
from darkroom.plain_yaml import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
NAMES = sorted(verb.name for verb in VERBS)


@pytest.mark.parametrize("verb", NAMES)
def test_a_manifests_command_is_one_that_the_verb_takes(verb: str) -> None:
    file = MANIFESTS / "base" / verb / "rayjob.yaml"
    job = parse_yaml(file.read_text(), where=str(file))
    program, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, arguments[0]) == ("darkroom", verb)
    plain = [word.replace("$(DARKROOM_BUCKET)", "bucket") for word in arguments]
    shown = CliRunner().invoke(app, [*plain, "--show-config"])
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("environment", ["dev", "staging", "production"])
def test_every_environment_has_every_verb(environment: str) -> None:
    overlays = MANIFESTS / "overlays" / environment
    assert [verb for verb in NAMES if not (overlays / verb / "kustomization.yaml").exists()] == []


def test_the_job_chart_knows_every_verb() -> None:
    schema = json.loads((ROOT / "charts/darkroom-job/values.schema.json").read_text())
    assert sorted(filter(None, schema["properties"]["verb"]["enum"])) == NAMES
