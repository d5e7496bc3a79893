"""A job as clients see it: state, progress, addresses of its pictures, errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.jobs.serve.jobs.lease import JobLease
from darkroom.jobs.serve.jobs.pictures import JobPictures, done_of, faults_of
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.records import AskedJob, JobEnd, PictureFault

OBJECT = "image_generation.job"
PATH = "/v1/jobs"

Body = dict[str, Any]


@dataclass(frozen=True)
class JobState:
    """A job at one moment."""

    asked: AskedJob
    end: JobEnd | None
    lease: JobLease | None
    done: tuple[int, ...]
    faults: Mapping[str, PictureFault]

    @property
    def status(self) -> str:
        """queued, running, completed, failed or cancelled."""
        if self.end is not None:
            return self.end.state
        return "running" if self.lease is not None and self.lease.holder else "queued"

    def body(self, *, pictures: bool) -> Body:
        """JSON. pictures: with the address of each that is there."""
        asked, end = self.asked, self.end
        first = asked.first
        body: Body = {
            "id": asked.id,
            "object": OBJECT,
            "status": self.status,
            "created_at": asked.created_at,
            "ended_at": None if end is None else end.ended_at,
            "expires_at": None if end is None else end.expires_at,
            "progress": {
                "total": asked.num_pictures,
                "done": len(self.done),
                "failed": len(self.faults),
            },
            "error": self._error(),
            "model": first.model,
            "n": asked.num_pictures,
            "seed": first.seed,
            "size": f"{first.width}x{first.height}",
            "output_format": asked.output_format,
            "request": dict(asked.request),
            "artifact_digest": None if end is None else end.digest,
        }
        if pictures:
            body["data"] = sorted(
                [*map(self._picture, self.done), *map(self._missing, self.faults)],
                key=lambda each: int(each["picture"]),
            )
        return body

    def _picture(self, number: int) -> Body:
        drawing = self.asked.drawing(number)
        return {
            "picture": number,
            "url": f"{PATH}/{self.asked.id}/pictures/{number}",
            "seed": drawing.seed,
            "index": drawing.index,
            "steps": drawing.num_steps,
            "guidance_scale": drawing.guidance,
            "sampler": drawing.sampler,
            "prompt_digest": self.asked.prompt_digest,
        }

    def _missing(self, number: str) -> Body:
        return {"picture": int(number), **self.faults[number].as_error().body}

    def _error(self) -> Any:
        """Of a job that failed: its own, or of the first picture that is not there."""
        if self.status != "failed" or self.end is None:
            return None
        first = min(self.faults, key=int, default=None)
        fault = self.end.fault or (None if first is None else self.faults[first])
        return None if fault is None else fault.as_error().body["error"]


def state_of(place: JobsPlace, asked: AskedJob) -> JobState:
    """As the store has it now. Blocks."""
    end = place.end_of(asked)
    if end is not None:
        return ended(asked, end)
    lease = place.lease(asked)
    if lease is None:
        # It may just have ended; else somebody has removed what must be there.
        end = place.end_of(asked)
        if end is not None:
            return ended(asked, end)
        place.reopen(asked)
    kept = list(JobPictures(place, asked).records().values())
    return JobState(asked, None, lease, done_of(kept), faults_of(kept))


def ended(asked: AskedJob, end: JobEnd) -> JobState:
    """A job that has ended is what its end says."""
    return JobState(asked, end, None, end.done, end.faults)
