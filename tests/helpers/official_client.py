"""OpenAI's own client on a service of fake drawers behind a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
from tests.helpers.serving import FakeDrawers, http_api, listening


def with_client(
    do: Callable[[openai.OpenAI], Any], drawers: FakeDrawers | None = None, **settings: Any
) -> Any:
    """What `do` returns, on a thread of its own."""

    async def scenario() -> Any:
        async with listening(http_api(drawers or FakeDrawers(), **settings)) as url:

            def run() -> Any:
                with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
                    return do(client)

            return await asyncio.to_thread(run)

    return asyncio.run(scenario())
