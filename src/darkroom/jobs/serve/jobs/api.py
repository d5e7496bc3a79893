"""The routes of jobs. Whose job it is, is asked everywhere; another's is not there (404).

POST   /v1/jobs                        ask for pictures; 202
GET    /v1/jobs                        this key's, newest first
GET    /v1/jobs/ID                     state, progress, addresses
GET    /v1/jobs/ID/pictures/NUMBER     a picture's bytes
DELETE /v1/jobs/ID                     cancel it; of one that has ended, remove it
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.errors import DarkroomError, IntegrityError, ObjectNotFoundError
from darkroom.jobs.drawing.picture_bytes import Sign
from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError, invalid
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Drawers
from darkroom.jobs.serve.edge import read_body
from darkroom.jobs.serve.images_api import CLOSE
from darkroom.jobs.serve.images_request import parse_json
from darkroom.jobs.serve.jobs.intake import IDEMPOTENCY_HEADER, admit, new_job
from darkroom.jobs.serve.jobs.pictures import JobPictures, KeptPicture
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.publishing import cancel
from darkroom.jobs.serve.jobs.records import JOB_ID, AskedJob
from darkroom.jobs.serve.jobs.view import OBJECT, PATH, Body, JobState, ended, state_of
from darkroom.jobs.serve.jobs.worker import JobsWorker
from darkroom.jobs.serve.request import ServedModel
from darkroom.storage.store import for_each

MAX_LISTED = 100
_LISTED = 20
_HEADERS = {"cache-control": "no-store", **CLOSE}

_log = logging.getLogger("darkroom.serve.jobs")

T = TypeVar("T")


class JobsApi:
    """The handlers, and the worker of this replica."""

    def __init__(
        self,
        config: ServeConfig,
        drawers: Drawers,
        admission: Admission,
        *,
        owner: Callable[[Request], str],
        models: Callable[[], Awaitable[tuple[ServedModel, ...]]],
        stopping: Callable[[], bool],
        sign: Sign | None = None,
    ) -> None:
        """owner: who asks, or ApiError 401. Errors: InputError for a place that cannot be used."""
        self._config, self._admission = config, admission
        self._owner, self._models, self._stopping = owner, models, stopping
        jobs = config.jobs
        self._place = None if jobs.place is None else JobsPlace(jobs.place, days=jobs.days)
        self._worker = None
        if self._place is not None:
            self._worker = JobsWorker(
                self._place, config, drawers, admission, stopping=stopping, sign=sign
            )

    @property
    def routes(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Any]]]]:
        """Method, path, handler."""
        one = f"{PATH}/{{job}}"
        return [
            ("POST", PATH, self._create),
            ("GET", PATH, self._list),
            ("GET", one, self._show),
            ("DELETE", one, self._delete),
            ("GET", f"{one}/pictures/{{number}}", self._picture),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Draw jobs for as long as the context lasts."""
        if self._worker is None:
            yield
            return
        async with self._worker.running():
            yield

    async def _create(self, request: Request) -> Response:
        owner, place = self._owner(request), self._place_of_jobs()
        if self._stopping():
            raise ApiError(503, "the service is stopping", code="stopping", retry_after=5)
        body = await read_body(request, self._config.limits.max_body_bytes)
        with self._admission.admitted(owner, 0.0):
            job = new_job(
                parse_json(body), await self._models(), self._config,
                owner=owner, idempotency=request.headers.get(IDEMPOTENCY_HEADER),
            )  # fmt: skip
            state, is_new = await self._stored(self._admit, place, job)
        if self._worker is not None:
            self._worker.look()
        path = f"{PATH}/{state.asked.id}"
        return _json(state.body(pictures=True), 202 if is_new else 200, location=path)

    def _admit(self, place: JobsPlace, job: AskedJob) -> tuple[JobState, bool]:
        place.check()
        asked, is_new = admit(place, job, most_open=self._config.jobs.open_per_key)
        return state_of(place, asked), is_new

    async def _list(self, request: Request) -> Response:
        owner, place = self._owner(request), self._place_of_jobs()
        limit, after = _limit(request.query_params.get("limit")), request.query_params.get("after")
        if after is not None and JOB_ID.fullmatch(after) is None:
            raise invalid("after", "is the id of a job")
        states = await self._stored(_page, place, owner, limit + 1, after)
        data = [state.body(pictures=False) for state in states[:limit]]
        return _json(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": len(states) > limit,
            }
        )

    async def _show(self, request: Request) -> Response:
        place, asked = await self._asked(request)
        return _json((await self._stored(state_of, place, asked)).body(pictures=True))

    async def _picture(self, request: Request) -> Response:
        place, asked = await self._asked(request)
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else -1
        if not 0 <= number < asked.num_pictures:
            raise ApiError(
                404, f"the job has pictures 0 to {asked.num_pictures - 1}",
                code="picture_not_found",
            )  # fmt: skip
        kept, data = await self._stored(_read, place, asked, number)
        headers = {**_HEADERS, "etag": f'"{kept.file.sha256}"'} if kept.file else _HEADERS
        return Response(data, media_type=f"image/{asked.output_format}", headers=headers)

    async def _delete(self, request: Request) -> Response:
        place, asked = await self._asked(request)
        end = await self._stored(place.end_of, asked)
        if end is not None:
            await self._stored(place.remove, asked, end)
            return _json({"id": asked.id, "object": OBJECT, "deleted": True})
        state = await self._stored(_cancel, place, asked)
        if self._worker is not None:
            self._worker.drop(asked.id)
        return _json(state.body(pictures=True))

    async def _asked(self, request: Request) -> tuple[JobsPlace, AskedJob]:
        """The job that the path names, if it is the asker's. Errors: ApiError 401, 404."""
        owner, place = self._owner(request), self._place_of_jobs()
        job_id = request.path_params["job"]
        asked = None
        if JOB_ID.fullmatch(job_id) is not None:
            asked = await self._stored(place.asked, owner, job_id)
        if asked is None:
            raise ApiError(404, f"there is no job {job_id[:60]!r}", code="job_not_found")
        return place, asked

    def _place_of_jobs(self) -> JobsPlace:
        if self._place is None:
            raise ApiError(
                404, "this service takes no jobs: no place for them is set (jobs.place)",
                code="jobs_not_set_up",
            )  # fmt: skip
        return self._place

    async def _stored(self, work: Callable[..., T], *args: Any) -> T:
        """What `work` returns, off the event loop. Errors: ApiError, 503 where the store fails."""
        try:
            return await asyncio.to_thread(work, *args)
        except DarkroomError as error:
            # It names places and servers, which are the operator's business.
            _log.warning("jobs: %s", error)
            raise ApiError(
                503, "the place where jobs are kept cannot be used now; try again later",
                code="jobs_unavailable", retry_after=5,
            ) from error  # fmt: skip


def _page(place: JobsPlace, owner: str, num: int, after: str | None) -> list[JobState]:
    """The owner's newest jobs, or those that are older than `after`. Blocks.

    One that cannot be read, for it is damaged or a newer release's, is left out, or it would hide
    all others.
    """
    ids = [each for each in place.ids(owner) if after is None or each < after]
    found: list[JobState] = []
    for at in range(0, len(ids), num):
        states = for_each(lambda each: _state(place, owner, each), ids[at : at + num])
        found += [state for state in states if state is not None]  # a crash leaves others
        if len(found) >= num:
            break
    return found[:num]


def _state(place: JobsPlace, owner: str, job_id: str) -> JobState | None:
    try:
        asked = place.asked(owner, job_id)
        return None if asked is None else state_of(place, asked)
    except IntegrityError as error:
        _log.error("jobs: %s is not listed: %s", job_id, error)
        return None


def _read(place: JobsPlace, asked: AskedJob, number: int) -> tuple[KeptPicture, bytes]:
    """Errors: ApiError 404 for a picture that is not there."""
    pictures = JobPictures(place, asked)
    kept = pictures.record(number)
    end = place.end_of(asked)
    if kept is not None and kept.fault is not None:
        raise ApiError(404, f"the picture could not be drawn: {kept.fault.message}",
                       code=kept.fault.code, param=kept.fault.param)  # fmt: skip
    if kept is None or kept.file is None or (end is not None and number not in end.done):
        problem = "is not drawn yet" if end is None else "was not drawn"
        raise ApiError(404, f"picture {number} {problem}", code="picture_not_found")
    try:
        return kept, pictures.read(kept.file)
    except ObjectNotFoundError:
        raise ApiError(404, f"picture {number} is gone", code="picture_not_found") from None
    except IntegrityError as error:
        _log.error("jobs: %s", error)
        raise ApiError(500, f"picture {number} is damaged", code="picture_damaged",
                       should_retry=False) from None  # fmt: skip


def _cancel(place: JobsPlace, asked: AskedJob) -> JobState:
    kept = list(JobPictures(place, asked).records().values())
    return ended(asked, cancel(place, asked, kept))


def _limit(text: str | None) -> int:
    if text is None:
        return _LISTED
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= number <= MAX_LISTED:
        raise invalid("limit", f"must be from 1 to {MAX_LISTED}")
    return number


def _json(body: Body, status: int = 200, **headers: str) -> Response:
    return JSONResponse(body, status, headers={**_HEADERS, **headers})
