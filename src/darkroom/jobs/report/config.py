"""What `darkroom report` puts on its page: the settings of one report.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated

from darkroom.config import JobConfig, Place, PositiveInt, operational


class ReportConfig(JobConfig):
    """One self-contained HTML page about a trained model, or about evaluations alone."""

    input: Annotated[Place, operational()]
    """URI of a trained model (what `darkroom train` or `finetune` published), or of an
    evaluation."""
    beside: Annotated[tuple[Place, ...], operational()] = ()
    """URIs of further evaluations, to stand beside the one that is `input`."""
    data: Annotated[Place | None, operational()] = None
    """URI of the prepared data; null takes the one that the model names as its parent."""
    samples: Annotated[Place | None, operational()] = None
    """URI of samples to show; null leaves them out."""
    evaluation: Annotated[Place | None, operational()] = None
    """URI of an evaluation to show; null leaves it out."""
    title: str | None = None
    """Heading of the page; null makes one from the output's name."""
    pictures_per_class: PositiveInt = 8
    """Real and generated pictures shown for each class."""
    limit: PositiveInt | None = None
    """Show at most this many pictures per class: a quick look."""

    @property
    def num_pictures(self) -> int:
        """Pictures per class after `limit`."""
        return (
            self.pictures_per_class
            if self.limit is None
            else min(self.pictures_per_class, self.limit)
        )
