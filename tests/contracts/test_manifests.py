"""Every verb can be submitted: by a manifest in each environment, and by the chart darkroom-job.

`serve` is a RayService, whose settings are those of the application.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.cli.verbs import VERBS
from darkroom.cluster.kubernetes_yaml import load_all
from darkroom.config import build_config
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.pod_variables import with_pod_variables
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
    wanted = [*NAMES, "serve"]
    assert [verb for verb in wanted if not (overlays / verb / "kustomization.yaml").exists()] == []


def test_the_services_settings_are_those_that_the_application_takes() -> None:
    file = MANIFESTS / "base" / "serve" / "rayservice.yaml"
    (service,) = load_all(file.read_text(), str(file))
    text = service["spec"]["serveConfigV2"]
    (application,) = parse_yaml(text, where="serveConfigV2")["applications"]
    args = with_pod_variables(application["args"], {"DARKROOM_BUCKET": "bucket"})
    config = build_config(ServeConfig, args)
    assert config.models == ("s3://bucket/digits/model",)
    assert config.model_names == ("digits",)


def test_the_job_chart_knows_every_verb() -> None:
    schema = json.loads((ROOT / "charts/darkroom-job/values.schema.json").read_text())
    assert sorted(filter(None, schema["properties"]["verb"]["enum"])) == NAMES
