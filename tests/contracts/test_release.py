"""A release is what its sums and its provenance say, and workflows build it by our own targets."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack"))

from release import parts, provenance  # noqa: E402 - from hack/

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
COMMIT = "1" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release of two files."""
    for name in ("a.whl", "b.tgz"):
        (tmp_path / name).write_text(name)
    provenance.write(tmp_path, COMMIT, {"version": "1"}, datetime.now(UTC))
    return tmp_path


def test_a_release_as_it_was_made_fits(folder: Path) -> None:
    assert provenance.verify(folder) == []
    statement = json.loads((folder / provenance.STATEMENT).read_text())
    assert [subject["name"] for subject in statement["subject"]] == ["a.whl", "b.tgz"]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": COMMIT}
    for material in definition["resolvedDependencies"][1:]:
        assert re.fullmatch(r"[0-9a-f]{64}", material["digest"]["sha256"])


def test_other_bytes_are_found(folder: Path) -> None:
    (folder / "a.whl").write_text("other")
    assert provenance.verify(folder) == ["a.whl: other bytes than SHA256SUMS says"]


def test_a_file_too_many_or_too_few_is_found(folder: Path) -> None:
    (folder / "b.tgz").rename(folder / "c.tgz")
    assert provenance.verify(folder) == ["b.tgz: missing", "c.tgz: not in SHA256SUMS"]


def test_sums_that_were_made_anew_do_not_fit_the_provenance(folder: Path) -> None:
    sums = folder / provenance.SUMS
    (folder / "a.whl").write_text("other")
    digest = provenance._sha256(folder / "a.whl")
    lines = sums.read_text().splitlines()
    lines[0] = f"{digest}  a.whl"
    sums.write_text("\n".join(lines) + "\n")
    assert provenance.verify(folder) == [
        "a.whl: the provenance says otherwise than SHA256SUMS",
    ]


def test_the_manifests_name_nothing_outside_of_their_folder() -> None:
    manifests = ROOT / "manifests"
    for path in manifests.rglob("kustomization.yaml"):
        document = yaml.safe_load(path.read_text())
        for key in ("resources", "components"):
            for name in document.get(key) or []:
                if "://" in name:
                    continue
                assert (path.parent / name).resolve().is_relative_to(manifests), (path, name)


def test_archives_come_out_the_same_twice(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        parts.manifests(tmp_path / name, 1_700_000_000)
        (archive,) = (tmp_path / name).iterdir()
        found.append(archive.read_bytes())
    assert found[0] == found[1]


def test_workflows_run_our_own_targets_and_pin_what_they_use() -> None:
    assert {path.stem for path in WORKFLOWS} == {"check", "release"}
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        for step in steps:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
            else:
                for line in step["run"].strip().splitlines():
                    assert re.match(r"(sudo --preserve-env )?(make |\.ci/run$)|gh release ", line)
        assert workflow["permissions"] == {"contents": "read"}
