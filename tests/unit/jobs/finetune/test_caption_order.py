"""Captions that are lists of tags: shuffled in every epoch, the same however a batch is cut."""

from __future__ import annotations

import pytest
import torch

from darkroom.jobs.finetune.caption_order import in_another_order
from darkroom.jobs.finetune.config import CaptionShuffleConfig
from darkroom.jobs.training.draws import RowDraws

TAGS = "zwk, cat, black, on a roof, at night"
COMMAS = CaptionShuffleConfig()


def draws_of(rows: list[int], epoch: int = 0) -> RowDraws:
    return RowDraws(7, torch.tensor(rows), torch.full((len(rows),), epoch))


def parts(caption: str | None) -> list[str]:
    assert caption is not None
    return caption.split(", ")


def test_each_part_stays_and_the_order_is_the_epochs_and_the_rows() -> None:
    found = [in_another_order([TAGS] * 3, draws_of([1, 2, 3], epoch), COMMAS) for epoch in range(6)]
    captions = [caption for some in found for caption in some]
    assert all(sorted(parts(caption)) == sorted(parts(TAGS)) for caption in captions)
    assert len(set(captions)) > 12, "of 120 orders"
    again = in_another_order([TAGS] * 3, draws_of([1, 2, 3], 5), COMMAS)
    assert again == found[5]


def test_company_changes_no_row() -> None:
    alone = in_another_order([TAGS], draws_of([2]), COMMAS)
    longer = TAGS + ", in the rain, with stars"
    beside = in_another_order([longer, TAGS], draws_of([1, 2]), COMMAS)
    assert beside[1] == alone[0]


def test_the_first_stay_in_front() -> None:
    config = CaptionShuffleConfig(keep_first=2)
    found = [in_another_order([TAGS], draws_of([row]), config)[0] for row in range(8)]
    assert {tuple(parts(caption)[:2]) for caption in found} == {("zwk", "cat")}
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("given", "shuffled"), [(None, None), ("", ""), ("a cat", "a cat"), (" ,, a ,", "a")]
)
def test_what_is_no_list_stays(given: str | None, shuffled: str | None) -> None:
    assert in_another_order([given], draws_of([1]), COMMAS) == [shuffled]


def test_words_can_be_the_parts() -> None:
    config = CaptionShuffleConfig(separator=" ")
    (found,) = in_another_order(["one two  three"], draws_of([4]), config)
    assert sorted((found or "").split(" ")) == ["one", "three", "two"]
