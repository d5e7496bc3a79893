"""The batch core on a real Ray and a real store: each row once, whatever happens on the way.

`Neighbours` writes into every row the sum over its batch, so a row that was redone in other
company would show. What the store alone decides runs the same stages in this process (`here`).
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from tests.helpers.batch_stages import SCHEMA, SumConfig, Trouble, rows, stages
from tests.helpers.killing import records

from darkroom.errors import (
    ConfigError,
    DarkroomError,
    DataError,
    FencedError,
    OutputExistsError,
    PreconditionFailedError,
)
from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.stage import Stage
from darkroom.storage import Artifact, FileEntry, gc, open_artifact, open_store

NUM_ROWS = 20
PIECE_ROWS = 4
UNDISTURBED = [
    {"id": f"r{i:03d}", "value": 2 * i, "neighbours": sum(range(first, first + 8, 2))}
    for i in range(NUM_ROWS)
    for first in [2 * (i // PIECE_ROWS) * PIECE_ROWS]
]


def config(output: str, **changes: object) -> SumConfig:
    return SumConfig(output=output, piece_rows=PIECE_ROWS, max_bad_share=0.5).model_copy(
        update=changes
    )


def run(batch: BatchRun, given: list[Stage] | None = None) -> None:
    batch.run(given or stages(), schema=SCHEMA, description="sum", unit="rows")


def whole(settings: SumConfig, given: list[Stage] | None = None) -> Artifact:
    """The job from its begin to its end."""
    with open_batch(settings, kind="sums", rows=rows(NUM_ROWS), parents=[]) as batch:
        if batch.completed is not None:
            return batch.completed
        run(batch, given)
        return batch.publish()


def parts(artifact: Artifact) -> list[FileEntry]:
    return artifact.entries("data/")


def read(artifact: Artifact) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for entry in parts(artifact):
        found += artifact.read_table(entry.name).to_pylist()
    return found


def dead(artifact: Artifact) -> list[tuple[str, str, str]]:
    table = artifact.read_table("dead_letters/part-00000.parquet")
    return [(row["id"], row["stage"], row["reason"]) for row in table.to_pylist()]


def interrupted(settings: SumConfig) -> list[int]:
    """A run that ends with an error at its last piece; which others were committed before."""
    # Not sooner, or what is under way when the error comes is committed or not, by chance.
    waiting = Trouble("wait for pieces", "r018", settings.output, NUM_ROWS // PIECE_ROWS - 1)
    with (
        open_batch(settings, kind="sums", rows=rows(NUM_ROWS), parents=[]) as batch,
        pytest.raises(DarkroomError, match="sum failed on the 4 rows from 'r016' on"),
    ):
        run(batch, stages(task_trouble=waiting, actor_trouble=Trouble("raise", "r018")))
    with pytest.raises(FileNotFoundError):
        open_artifact(settings.output)
    committed = sorted(int(Path(key).stem) for key in records(settings.output))
    assert committed == [0, 1, 2, 3]
    return committed


@pytest.fixture(scope="module")
def undisturbed(ray_local: None, s3_module_uri: str) -> Artifact:
    """What every disturbed run must equal."""
    return whole(config(f"{s3_module_uri}/undisturbed"))


def test_every_row_once_in_order_a_part_per_piece(undisturbed: Artifact) -> None:
    assert read(undisturbed) == UNDISTURBED
    assert [entry.name for entry in parts(undisturbed)] == [
        f"data/part-{i:05d}.parquet" for i in range(5)
    ]
    assert undisturbed.manifest.rows == NUM_ROWS
    figures = undisturbed.manifest.metadata["figures"]
    assert set(figures["busy_seconds"]) == {"double", "sum", "write"}
    assert all(seconds > 0 for seconds in figures["busy_seconds"].values())
    assert figures["bottleneck"] in figures["busy_seconds"]
    left = {info.key for info in undisturbed.store.list()}
    named = {entry.key for entry in undisturbed.manifest.files}
    assert {key.rpartition("/")[2] for key in left - named} == {"manifest.json", "run.json"}


DISTURBED = {
    "a task's worker is killed": ("task_trouble", "kill once", []),
    "an actor is killed": ("actor_trouble", "kill once", []),
    "an actor runs out of memory once": ("actor_trouble", "memory once", []),
    "a row never fits into memory": (
        "actor_trouble",
        "memory always",
        [("r009", "sum", "out_of_memory")],
    ),
    "a row kills every worker": (
        "task_trouble",
        "kill always",
        [("r009", "double", "killed_worker")],
    ),
}


@pytest.mark.parametrize("name", DISTURBED)
def test_what_happens_to_workers_changes_no_other_piece(
    name: str, undisturbed: Artifact, bucket_uri: str, tmp_path: Path
) -> None:
    where, kind, letters = DISTURBED[name]
    trouble = Trouble(kind, "r009", str(tmp_path))
    given = stages(
        task_trouble=trouble if where == "task_trouble" else None,
        actor_trouble=trouble if where == "actor_trouble" else None,
    )
    # With no patience, a row that kills every worker is looked for at once.
    patience = 1 if kind.endswith("once") else 0
    artifact = whole(config(bucket_uri, max_restarts=patience), given)
    assert (tmp_path / "struck").exists() == kind.endswith("once")
    same = [(entry.name, entry.sha256) for entry in parts(artifact)]
    wanted = [(entry.name, entry.sha256) for entry in parts(undisturbed)]
    if not letters:
        assert same == wanted
        return
    # The piece of the row that is gone was done row by row; no other piece is touched.
    assert [entry for entry in same if entry[0] != wanted[2][0]] == [
        entry for entry in wanted if entry != wanted[2]
    ]
    assert [row["id"] for row in read(artifact)] == [
        row["id"] for row in UNDISTURBED if row["id"] != "r009"
    ]
    assert dead(artifact) == letters


@pytest.mark.skipif(
    psutil.virtual_memory().available < 10 * 2**30, reason="fills some GiB of memory"
)
def test_ray_kills_an_actor_for_its_memory(
    undisturbed: Artifact, bucket_uri: str, tmp_path: Path
) -> None:
    """The real thing: memory is filled until Ray's own monitor kills the worker."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.helpers.out_of_memory", bucket_uri, tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "struck").exists()
    assert "OOM kill reason" in (tmp_path / "raylet.out").read_text()
    artifact = open_artifact(bucket_uri)
    assert [entry.sha256 for entry in parts(artifact)] == [e.sha256 for e in parts(undisturbed)]


def test_an_interrupted_run_is_kept_and_a_rerun_does_only_what_is_missing(
    undisturbed: Artifact, bucket_uri: str
) -> None:
    settings = config(bucket_uri)
    committed = interrupted(settings)

    # What an unfinished run has committed is no garbage, unless it is old.
    assert gc(bucket_uri).garbage == []
    (old,) = gc(bucket_uri, timedelta(0)).garbage
    assert old.kind == "attempt"
    assert old.num_objects == len(list(open_store(bucket_uri).list()))

    # Another command is refused.
    with (
        pytest.raises(OutputExistsError, match=r"piece_rows: got 5, the output .* begun with 4"),
        open_batch(
            config(bucket_uri, piece_rows=5, on_existing="resume"),
            kind="sums", rows=rows(NUM_ROWS), parents=[],
        ),
    ):  # fmt: skip
        pass

    with open_batch(settings, kind="sums", rows=rows(NUM_ROWS), parents=[]) as batch:
        # A committed row must not be asked for again: it would end the run.
        run(batch, stages(task_trouble=Trouble("raise", f"r{committed[0] * PIECE_ROWS:03d}")))
        assert batch.figures is not None
        assert batch.figures.num_resumed == len(committed) * PIECE_ROWS
        artifact = batch.publish()
    assert [e.sha256 for e in parts(artifact)] == [e.sha256 for e in parts(undisturbed)]
    assert read(artifact) == UNDISTURBED
    assert whole(config(bucket_uri, on_existing="resume")).digest == artifact.digest


def test_too_many_bad_rows_stop_the_job_and_a_higher_limit_goes_on(
    ray_local: None, bucket_uri: str
) -> None:
    bad = tuple(range(12))
    with pytest.raises(DataError, match=r"of 20 rows .*cannot be used .*max_bad_share"):
        whole(config(bucket_uri, max_bad_share=0.4), stages(bad=bad))
    artifact = whole(config(bucket_uri, max_bad_share=0.6), stages(bad=bad))
    assert artifact.manifest.rows == 8
    assert artifact.manifest.metadata["num_rejected"] == 12
    assert dead(artifact) == [(f"r{i:03d}", "double", "bad_number") for i in bad]
    assert [entry.name for entry in parts(artifact)] == [
        "data/part-00003.parquet",
        "data/part-00004.parquet",
    ]


def test_of_two_drivers_the_newer_goes_on_and_the_older_is_told(
    undisturbed: Artifact, here: None, bucket_uri: str
) -> None:
    settings = config(bucket_uri)
    with (
        open_batch(settings, kind="sums", rows=rows(NUM_ROWS), parents=[]) as older,
        open_batch(settings, kind="sums", rows=rows(NUM_ROWS), parents=[]) as newer,
    ):
        run(older)
        run(newer)
        assert newer.figures is not None
        assert newer.figures.num_resumed == NUM_ROWS
        with pytest.raises(FencedError, match="a newer driver has taken this run over"):
            older.publish()
        artifact = newer.publish()
        with pytest.raises((FencedError, PreconditionFailedError)):
            older.publish()
    assert [e.sha256 for e in parts(artifact)] == [e.sha256 for e in parts(undisturbed)]


def test_a_cluster_too_small_is_said_before_anything_waits(
    ray_local: None, bucket_uri: str
) -> None:
    with pytest.raises(ConfigError, match="the pipeline would wait for ever"):
        whole(config(bucket_uri), stages(num_actors=1000))
    with pytest.raises(FileNotFoundError):
        open_artifact(bucket_uri)


def test_further_files_of_a_piece_are_published_with_it(here: None, bucket_uri: str) -> None:
    def notes(table: pa.Table) -> list[PieceFile]:
        return [
            PieceFile(f"notes/{row_id}.txt", row_id.encode(), metadata={"of": row_id})
            for row_id in table["id"].to_pylist()
        ]

    with open_batch(config(bucket_uri), kind="sums", rows=rows(6), parents=[]) as batch:
        batch.run(stages(), schema=SCHEMA, description="sum", unit="rows", files=notes)
        artifact = batch.publish()
    assert len(artifact.entries("notes/")) == 6
    assert artifact.read_bytes("notes/r005.txt") == b"r005"
    assert artifact.entry("notes/r005.txt").metadata == {"of": "r005"}
