"""Batch verbs killed at random moments and run again: nothing lost, nothing doubled, same bytes.

A run is the command in a process of its own, with a Ray of its own; killing it is SIGKILL to the
driver and everything that it started, at once. The moment is drawn by a seed: after so many
committed pieces, and then a fraction of a second, so that it falls anywhere in a piece's way.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.helpers.proof import write_json
from tests.helpers.training import running, wait_until

import darkroom
from darkroom.jobs.batch.commits import Commit, parse_commit
from darkroom.storage import Artifact, open_artifact, open_store

MAX_EXTRA_SECONDS = 1.0


@dataclass(frozen=True)
class Kill:
    """One kill and the rerun after it."""

    verb: str
    seed: int
    committed_pieces: int
    """When everything was dead."""
    num_pieces: int
    resumed_rows: int
    """Rows that the rerun took over."""
    num_rows: int
    first_seconds: float
    rerun_seconds: float

    @property
    def rerun_share(self) -> float:
        """Share of the rows that the rerun had to do."""
        return 1 - self.resumed_rows / self.num_rows


def published_here(verb: str, values: Mapping[str, Any]) -> Artifact:
    """What the verb publishes from Python, on the Ray that this process has."""
    getattr(darkroom, verb)(**values)
    return open_artifact(str(values["output"]))


def undisturbed(verb: str, values: Mapping[str, Any], directory: Path) -> Artifact:
    """The command run to its end; what it published."""
    with running(verb, values, directory) as run:
        assert run.wait() == 0, run.log.read_text()[-4000:]
    return open_artifact(str(values["output"]))


def killed_and_rerun(
    verb: str, values: Mapping[str, Any], directory: Path, *, seed: int, reference: Artifact
) -> Kill:
    """Kill one run at the seed's moment, run the same command again, and compare the output."""
    moment = random.Random(seed)
    num_pieces = num_committable(reference)
    wanted = moment.randrange(num_pieces)
    output = str(values["output"])
    started = time.monotonic()
    with running(verb, values, directory) as run:
        wait_until(lambda: len(records(output)) >= wanted or None, f"{wanted} pieces", run)
        time.sleep(moment.uniform(0, MAX_EXTRA_SECONDS))
        run.kill_everything()
    first_seconds = time.monotonic() - started
    is_published = "manifest.json" in {name for name, _ in open_store(output).children()}
    committed = [] if is_published else commits(output)

    started = time.monotonic()
    rerun = {**values, "on_existing": "resume"} if is_published else values
    artifact = undisturbed(verb, rerun, directory)
    assert_same(artifact, reference)
    figures = artifact.manifest.metadata["figures"]
    if not is_published:
        # What was committed is not done again, and nothing else is taken for done.
        assert figures["num_resumed"] == sum(commit.num_rows for commit in committed)
    return Kill(
        verb=verb,
        seed=seed,
        committed_pieces=num_pieces if is_published else len(committed),
        num_pieces=num_pieces,
        resumed_rows=figures["num_rows"] if is_published else figures["num_resumed"],
        num_rows=figures["num_rows"],
        first_seconds=round(first_seconds, 1),
        rerun_seconds=round(time.monotonic() - started, 1),
    )


def assert_same(artifact: Artifact, reference: Artifact) -> None:
    """The same rows once each, and every file but the page of figures byte for byte."""
    expected, found = all_ids(reference), all_ids(artifact)
    assert len(set(found)) == len(found), "rows doubled"
    assert found == expected, "rows lost or moved"
    assert [(entry.name, entry.sha256) for entry in artifact.manifest.files] == [
        (entry.name, entry.sha256) for entry in reference.manifest.files
    ]


def all_ids(artifact: Artifact) -> list[str]:
    """Ids of the published rows and of the dead letters, in the files' order."""
    entries = [*artifact.entries("data/"), *artifact.entries("dead_letters/")]
    return [
        row_id for entry in entries for row_id in artifact.read_table(entry.name)["id"].to_pylist()
    ]


def records(output: str) -> list[str]:
    """Keys of the committed pieces' records."""
    keys = (info.key for info in open_store(output).list("attempts/"))
    return [key for key in keys if "/commits/" in key]


def commits(output: str) -> list[Commit]:
    """The committed pieces of a run that is not published."""
    store = open_store(output)
    return [parse_commit(store.get(key), uri=key) for key in records(output)]


def num_committable(reference: Artifact) -> int:
    """Pieces of the whole run, about: those of `prepare` are of one split each."""
    metadata = reference.manifest.metadata
    num_rows: int = metadata["figures"]["num_rows"]
    piece_rows: int = metadata["piece_rows"]
    return math.ceil(num_rows / piece_rows)


def write_proof(name: str, kills: list[Kill]) -> None:
    """The figures as JSON under build/proofs/."""
    shares = [kill.rerun_share for kill in kills]
    summary = {
        "kills": [{**asdict(kill), "rerun_share": round(kill.rerun_share, 4)} for kill in kills],
        "num_kills": len(kills),
        "rows_lost": 0,  # asserted for each
        "rows_doubled": 0,
        "outputs_that_differ": 0,
        "mean_rerun_share": round(sum(shares) / len(shares), 4),
    }
    write_json(name, summary)
