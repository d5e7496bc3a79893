"""A service as one writes it first: FastAPI, one pipeline, a lock around it."""

from __future__ import annotations

import threading
from typing import Any

import uvicorn
from benchmarks.peer_programs.drawing import PATH, Pipeline, Settings, answer_of
from fastapi import FastAPI


def main() -> None:
    settings = Settings.of_command_line()
    pipeline, lock = Pipeline(settings.model, settings.num_threads), threading.Lock()
    app = FastAPI()

    # No coroutine: FastAPI calls it on one of its threads, and goes on taking requests.
    def generate(request: dict[str, Any]) -> dict[str, Any]:
        with lock:
            (picture,) = pipeline.draw([request])
        return answer_of(picture)

    app.post(PATH)(generate)
    uvicorn.run(app, host="127.0.0.1", port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
