"""obstore, many objects at once by its asynchronous calls, large ones in parts of 16 MiB."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import obstore
from benchmarks.peer_programs.answering import answer
from obstore.store import S3Store

AT_ONCE = 16
PART_BYTES = 16 << 20


def store_of(bucket: str, prefix: str) -> S3Store:
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
        region=os.environ["AWS_REGION"],
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def up(*, source: str, bucket: str, prefix: str) -> None:
    store = store_of(bucket, prefix)

    async def copy(path: Path) -> None:
        await obstore.put_async(
            store, path.name, path, chunk_size=PART_BYTES, max_concurrency=AT_ONCE
        )

    asyncio.run(_all(copy, sorted(Path(source).iterdir())))


def down(*, target: str, bucket: str, prefix: str, names: list[str]) -> None:
    store = store_of(bucket, prefix)

    async def copy(path: Path) -> None:
        reply = await obstore.get_async(store, path.name)
        with path.open("wb") as file:
            async for chunk in reply.stream(min_chunk_size=PART_BYTES):
                file.write(chunk)

    asyncio.run(_all(copy, [Path(target, name) for name in names]))


async def _all(copy: Callable[[Path], Awaitable[None]], paths: list[Path]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(path: Path) -> None:
        async with places:
            await copy(path)

    await asyncio.gather(*(one(path) for path in paths))


if __name__ == "__main__":
    answer({"up": up, "down": down})
