"""The end of a job whose pictures are all settled: they become an artifact, where they lie.

The manifest names the files that the records name; its parents are the weights that drew them, so
`darkroom storage lineage` leads from a picture to the model, and on to its data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from darkroom.config import JobConfig
from darkroom.errors import PreconditionFailedError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.drawings import DrawingsInfo
from darkroom.jobs.serve.images_request import MAX_SEED
from darkroom.jobs.serve.jobs.pictures import KeptPicture, done_of, faults_of
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.records import AskedJob, EndState, JobEnd, PictureFault
from darkroom.storage import open_artifact, open_output


class JobSettings(JobConfig):
    """What the manifest says was asked for."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    drawing: dict[str, Any]
    """The first picture, as the drawing engine is asked for it."""
    num_pictures: int
    output_format: str
    output_compression: int | None


def finish(place: JobsPlace, asked: AskedJob, pictures: Mapping[int, KeptPicture]) -> JobEnd:
    """Publish, and end the job; how it ended, which may be another's doing. Blocks."""
    kept = [pictures[number] for number in range(asked.num_pictures)]
    drawn = [each for each in kept if each.file is not None]
    digest = _publish(place, asked, drawn) if drawn else None
    state: EndState = "completed" if len(drawn) == len(kept) else "failed"
    return place.end(
        asked,
        lambda now, expires: JobEnd(
            state=state,
            ended_at=now, expires_at=expires, digest=digest,
            done=done_of(kept), faults=faults_of(kept),
        ),
    )  # fmt: skip


def give_up(place: JobsPlace, asked: AskedJob, kept: Sequence[KeptPicture]) -> JobEnd:
    """End a job that takes whoever draws it down. Blocks."""
    fault = PictureFault(
        status=500, code="given_up",
        message="the job was given up: it was begun again and again, and whoever drew it was lost",
    )  # fmt: skip
    return _unpublished(place, asked, kept, "failed", fault)


def cancel(place: JobsPlace, asked: AskedJob, kept: Sequence[KeptPicture]) -> JobEnd:
    """End a job on request; how it ended, if it did before. Blocks."""
    return _unpublished(place, asked, kept, "cancelled", None)


def _unpublished(
    place: JobsPlace,
    asked: AskedJob,
    kept: Sequence[KeptPicture],
    state: EndState,
    fault: PictureFault | None,
) -> JobEnd:
    return place.end(
        asked,
        lambda now, expires: JobEnd(
            state=state, ended_at=now, expires_at=expires, fault=fault, faults=faults_of(kept),
            done=done_of(kept),
        ),
    )  # fmt: skip


def _publish(place: JobsPlace, asked: AskedJob, drawn: Sequence[KeptPicture]) -> str:
    """The manifest's digest, of the one that counts."""
    uri = place.folder(asked)
    settings = JobSettings(
        output=str(uri),
        seed=asked.first.seed,
        drawing=asdict(asked.first),
        num_pictures=asked.num_pictures,
        output_format=asked.output_format,
        output_compression=asked.output_compression,
    )
    parents = tuple(dict.fromkeys(parent for each in drawn for parent in each.parents))
    with open_output(
        uri,
        kind=Kind.DRAWINGS,
        config=settings,
        parents=parents,
        on_existing="resume",  # another may have published, and gone before it could end the job
        attempt=lambda _: asked.attempt,
    ) as output:
        if output.completed is not None:
            return output.completed.digest
        facts = [each.facts for each in drawn if each.facts is not None]
        info = DrawingsInfo(
            job=asked.id,
            num_pictures=len(drawn),
            num_failed=asked.num_pictures - len(drawn),
            model=asked.first.model,
            model_digests=tuple(sorted({each.model_digest for each in facts})),
        )
        files = [each.file for each in drawn if each.file is not None]
        try:
            return output.publish(files, rows=len(files), metadata=info.to_metadata()).digest
        except PreconditionFailedError:  # of the same records, by another
            return open_artifact(uri, kind=Kind.DRAWINGS).digest
