"""The report says when training had to make do with less memory."""

from __future__ import annotations

from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.report.sections import memory_words


def event(step: int, size: int) -> OutOfMemory:
    return OutOfMemory(step=step, rank=1, micro_batch_size=size, new_micro_batch_size=size // 2)


def test_memory_that_sufficed_is_no_word_worth() -> None:
    assert memory_words(()) == ""


def test_every_step_and_both_sizes_are_named() -> None:
    assert memory_words([event(0, 32)]) == (
        " Memory did not suffice at step 0: the micro-batch went from 32 to 16 images, the batch "
        "stayed what it is."
    )
    said = memory_words([event(3, 32), event(3, 16), event(90, 8)])
    assert "at steps 3, 90: the micro-batch went from 32 to 4 images" in said
