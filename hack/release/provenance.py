"""Says what a release was made from: SHA256SUMS, and a SLSA provenance over the same files.

The provenance is an in-toto statement (slsa.dev/provenance/v1). It is not signed here: a workflow
with an identity of its own signs it, and `verify` only holds files and statement to each other.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from testcluster.settings import PROJECT

SUMS = "SHA256SUMS"
STATEMENT = "provenance.intoto.json"
BUILD_TYPE = "https://darkroom.invalid/make-release/v1"
LOCAL_BUILDER = "https://darkroom.invalid/a-machine-by-hand"
# What decides, beside the commit, what the files hold.
MATERIALS = ("requirements/runtime.txt", "requirements/dev.txt", "hack/versions.env")


def write(folder: Path, commit: str, parameters: dict[str, Any], started: datetime) -> None:
    """The statement about every file of the folder, then the sums of all, the statement's too."""
    subjects = [{"name": path.name, "digest": {"sha256": _sha256(path)}} for path in _files(folder)]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters,
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *(
                        {"name": name, "digest": {"sha256": _sha256(PROJECT / name)}}
                        for name in MATERIALS
                    ),
                ],
            },
            "runDetails": {
                "builder": {"id": _builder()},
                "metadata": {
                    "startedOn": _stamp(started),
                    "finishedOn": _stamp(datetime.now(UTC)),
                },
            },
        },
    }
    (folder / STATEMENT).write_text(json.dumps(statement, indent=1) + "\n")
    lines = [f"{_sha256(path)}  {path.name}\n" for path in _files(folder)]
    (folder / SUMS).write_text("".join(lines))


def verify(folder: Path) -> list[str]:
    """What does not fit in a release's folder; an empty list when all does."""
    listed = {
        name: digest
        for line in (folder / SUMS).read_text().splitlines()
        for digest, name in [line.split("  ", 1)]
    }
    there = {path.name: _sha256(path) for path in _files(folder) if path.name != SUMS}
    problems = [f"{name}: missing" for name in listed.keys() - there.keys()]
    problems += [f"{name}: not in {SUMS}" for name in there.keys() - listed.keys()]
    problems += [
        f"{name}: other bytes than {SUMS} says"
        for name in listed.keys() & there.keys()
        if listed[name] != there[name]
    ]
    statement = json.loads((folder / STATEMENT).read_text())
    told = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    ours = {name: digest for name, digest in listed.items() if name != STATEMENT}
    problems += [
        f"{name}: the provenance says otherwise than {SUMS}"
        for name in sorted(told.keys() | ours.keys())
        if told.get(name) != ours.get(name)
    ]
    return sorted(problems)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _builder() -> str:
    """The run of a workflow, where one builds."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    values = [os.environ.get(name) for name in names]
    if not all(values):
        return LOCAL_BUILDER
    return "{}/{}/actions/runs/{}".format(*values)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
