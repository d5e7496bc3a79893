"""Replicas that take and draw jobs, in process, on a real store: started, stopped, lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from tests.helpers.serving import DIGITS, PAINTER, FakeDrawers, client_of, http_api

from darkroom.config import JobConfig
from darkroom.jobs.serve.drawers import Begun, Drawn
from darkroom.jobs.serve.http_api import HttpApi
from darkroom.jobs.serve.jobs.worker import JobsWorker
from darkroom.jobs.serve.request import DrawRequest
from darkroom.storage import Artifact, open_output, open_store

PATH = "/v1/jobs"
JSON = {"content-type": "application/json"}
AT_ONCE = 2
SEVEN = {"prompt": "7", "seed": 40, "steps": 2}


@dataclass
class SlowDrawers(FakeDrawers):
    """Draws until `most` pictures are done, then waits in the next ones."""

    most: int | None = None
    drawn: list[int] = field(default_factory=list)
    """Indexes, in the order in which they were done."""
    begun: int = 0
    waiting: int = 0

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        self.begun += 1
        async with aclosing(super().draw(request)) as items:
            async for item in items:
                if isinstance(item, Begun):
                    await self._wait()
                yield item
        self.drawn.append(request.index)

    async def _wait(self) -> None:
        self.waiting += 1
        while self.most is not None and len(self.drawn) >= self.most:  # noqa: ASYNC110 - as a fake
            await asyncio.sleep(0.01)
        self.waiting -= 1

    def drew(self, num: int, *others: SlowDrawers) -> bool:
        """Whether these have drawn each of `num` pictures, and none twice but those under way."""
        drawn = [index for each in (self, *others) for index in each.drawn]
        return set(drawn) == set(range(num)) and len(drawn) <= num + AT_ONCE


@dataclass
class Replica:
    """One replica of the HTTP side, with a client of its own."""

    api: HttpApi
    client: httpx2.AsyncClient
    lost: bool = False

    @property
    def worker(self) -> JobsWorker:
        worker = self.api.jobs._worker
        assert worker is not None
        return worker

    async def lose(self) -> None:
        """As a killed process: its drawings end, and nothing is told to anybody."""
        for job, task in list(self.worker._held.values()):
            job.lease.give_back = lambda: None  # type: ignore[method-assign]
            task.cancel()
        self.api.draining = self.lost = True
        await asyncio.sleep(0)

    async def post(self, body: Any, key: str | None = None) -> httpx2.Response:
        headers = JSON | ({} if key is None else {"idempotency-key": key})
        return await self.client.post(PATH, content=json.dumps(body), headers=headers)

    async def job(self, job_id: str) -> dict[str, Any]:
        response = await self.client.get(f"{PATH}/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def until(self, job_id: str, status: str, *, done: int = 0) -> dict[str, Any]:
        """The job, once it has that status and so many pictures."""
        while True:
            found = await self.job(job_id)
            if found["status"] == status and found["progress"]["done"] >= done:
                return found
            ended = found["ended_at"] is not None
            assert not ended or status == found["status"], found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def replica(
    place: str | None,
    drawers: FakeDrawers,
    *,
    headers: Mapping[str, str] | None = None,
    idle: bool = False,
    **settings: Any,
) -> AsyncIterator[Replica]:
    """A replica that draws jobs; with `idle` it answers and draws none."""
    jobs = {"place": place, **settings.pop("jobs", {})}
    api = http_api(drawers, jobs=jobs, **settings)
    async with client_of(api, headers) as client:
        if idle:
            yield Replica(api, client)
            return
        async with api.jobs.running():
            yield Replica(api, client)


def published_model(folder: Path) -> Artifact:
    """Something that a picture can come from."""
    config = JobConfig(output=str(folder))
    with open_output(str(folder), kind="model", config=config) as output:
        return output.publish([output.writer.write_bytes("model/weights", b"weights")])


def drawers_of(model: Artifact, **values: Any) -> SlowDrawers:
    """Fake drawers whose pictures name that model as their parent."""
    digits = replace(DIGITS, origin=model.as_parent("model"))
    return SlowDrawers(served=(digits, PAINTER), **values)


def keys_of(place: str, part: str = "") -> list[str]:
    """Keys below a place that hold `part`."""
    return sorted(info.key for info in open_store(place).list() if part in info.key)
