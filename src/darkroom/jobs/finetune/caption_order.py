"""The parts of a caption in another order in every epoch, for captions that are lists of tags.

A text encoder weighs what comes first most, and so the order that tags happen to have would be
learnt with them. The order is the row's own: a function of (seed, epoch, row id).
"""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.jobs.finetune.config import CaptionShuffleConfig
from darkroom.jobs.training.draws import RowDraws


def in_another_order(
    captions: Sequence[str | None], draws: RowDraws, config: CaptionShuffleConfig
) -> list[str | None]:
    """Captions of the rows of `draws`, each with its parts behind the first few shuffled."""
    parts = [caption and split(caption, config.separator) for caption in captions]
    most = max((len(some) for some in parts if some), default=0)
    ranks = draws.uniform("caption_shuffle", (most,)).tolist() if most else [()] * len(parts)
    return [
        joined(some, order, config) if some else caption
        for caption, some, order in zip(captions, parts, ranks, strict=True)
    ]


def split(caption: str, separator: str) -> list[str]:
    """The parts of a caption, without the spaces around them; empty ones are none."""
    return [part for each in caption.split(separator) if (part := each.strip())]


def joined(parts: list[str], ranks: Sequence[float], config: CaptionShuffleConfig) -> str:
    """The parts in the order of their ranks, behind those that stay first."""
    kept, moved = parts[: config.keep_first], parts[config.keep_first :]
    order = sorted(range(len(moved)), key=lambda i: ranks[i])
    glue = config.separator if config.separator.isspace() else f"{config.separator} "
    return glue.join([*kept, *(moved[i] for i in order)])
