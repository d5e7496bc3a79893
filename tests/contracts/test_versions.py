"""The version: the package has it, and changelog, command, charts and manifests agree with it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import darkroom

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_project_reads_its_version_from_the_package() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/darkroom/__init__.py"


def test_the_changelog_has_a_section_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert versions[:2] == ["Unreleased", darkroom.__version__]


def test_the_command_says_this_version() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "darkroom", "--version"], check=True, capture_output=True, text=True
    ).stdout
    assert said == f"darkroom {darkroom.__version__}\n"


def test_every_chart_is_of_this_version() -> None:
    charts = sorted((ROOT / "charts").glob("*/Chart.yaml"))
    assert charts
    for path in charts:
        chart = yaml.safe_load(path.read_text())
        ours = [
            each for each in chart.get("dependencies", ()) if each["name"].startswith("darkroom-")
        ]
        found = [chart["version"], *(each["version"] for each in ours)]
        if chart["type"] != "library":
            assert ours, path
            found.append(chart["appVersion"])
        assert set(found) == {darkroom.__version__}, path


def test_images_in_manifests_have_this_version_as_their_tag() -> None:
    tags = {
        path.relative_to(ROOT): set(re.findall(r"\bimage: darkroom:(\S+)", path.read_text()))
        for path in (ROOT / "manifests").rglob("*.yaml")
    }
    tagged = {path: found for path, found in tags.items() if found}
    assert tagged
    for path, found in tagged.items():
        assert found == {darkroom.__version__}, path


def test_python_versions_agree() -> None:
    low, high = re.findall(r"3\.\d+", PROJECT["project"]["requires-python"])
    last = f"3.{int(high[2:]) - 1}"
    setup = (ROOT / "scripts/setup").read_text()
    assert f"(3, {low[2:]}) <= sys.version_info[:2] <= (3, {last[2:]})" in setup
    for page in ("docs/getting-started.md", "Makefile", "README.md"):
        assert f"{low} to {last}" in (ROOT / page).read_text(), page
