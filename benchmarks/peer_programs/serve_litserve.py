"""A service as LitServe's documentation has it: an API whose `predict` gets batches."""

from __future__ import annotations

from typing import Any

import litserve as ls
from benchmarks.peer_programs.drawing import PATH, Pipeline, Settings, answer_of

WAIT_SECONDS = 0.01


class Draw(ls.LitAPI):  # type: ignore[misc]
    """LitServe makes a batch of requests by itself: lists in, lists out."""

    model: str
    num_threads: int

    def setup(self, device: str) -> None:  # noqa: ARG002 - the CPU
        self._pipeline = Pipeline(self.model, self.num_threads)

    def predict(self, requests: list[dict[str, Any]]) -> list[Any]:
        return self._pipeline.draw(requests)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        return answer_of(output)


def main() -> None:
    settings = Settings.of_command_line()
    draw = Draw(max_batch_size=settings.batch_size, batch_timeout=WAIT_SECONDS, api_path=PATH)
    draw.model, draw.num_threads = settings.model, settings.num_threads
    server = ls.LitServer(draw, accelerator="cpu", timeout=600)
    server.run(host="127.0.0.1", port=settings.port, generate_client_file=False)


if __name__ == "__main__":
    main()
