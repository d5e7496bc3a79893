"""What is known of memory that did not suffice, and the error that ends an attempt over it.

Where ranks cannot agree any more (inside a collective operation, under FSDP2 everywhere), the rank
whose memory is full ends the attempt. The driver takes note and starts the workers again from the
newest checkpoint, with half the micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.errors import TrainingError
from darkroom.jobs.artifacts.model import OutOfMemory


class MicroBatchTooLargeError(TrainingError):
    """A rank ran out of memory where the others wait for it."""

    def __init__(self, event: OutOfMemory) -> None:
        super().__init__(event)
        self.event = event

    def __str__(self) -> str:
        return described_restart(self.event)


def described(event: OutOfMemory) -> str:
    """A line for the log, of a step that is done again."""
    return f"{_happened(event)}: the step is done again with {event.new_micro_batch_size}; {_SAME}"


def described_restart(event: OutOfMemory) -> str:
    """A line for the log, of an attempt that ended."""
    return (
        f"{_happened(event)}: the workers start again from the newest checkpoint with "
        f"{event.new_micro_batch_size}; {_SAME}"
    )


def joined(first: Sequence[OutOfMemory], then: Sequence[OutOfMemory]) -> list[OutOfMemory]:
    """Both, each once, in order."""
    return [*first, *(event for event in then if event not in first)]


_SAME = "the batch stays what it is"


def _happened(event: OutOfMemory) -> str:
    return (
        f"rank {event.rank} ran out of memory at step {event.step} with {event.micro_batch_size} "
        "rows at once"
    )
