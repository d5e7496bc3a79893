"""The quick look: predictions beside thumbnails on one self-contained page.

Made for a run with a limit. The driver reads the few pictures again for their thumbnails; they
stand in the page alone and never in the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from PIL import Image

from darkroom.jobs.artifacts.predictions import Accuracy
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.score import OTHER
from darkroom.jobs.classify.source import open_reader
from darkroom.jobs.pictures.decode import Picture, decode
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.pages.page import (
    Bitmap,
    Block,
    KeyFigure,
    Page,
    PictureTable,
    Section,
    Table,
    render_page,
)

THUMBNAIL_PIXELS = 128
_SHOWN_LABELS = 3


def render_predictions(
    config: ClassifyConfig,
    *,
    origin: PictureOrigin,
    rows: pa.Table,
    predictions: pa.Table,
    rejected: Sequence[Reject],
    accuracy: Accuracy | None,
    confusion: pa.Table,
) -> str:
    """The page as HTML. `rows` are the listing's rows of the pictures to show."""
    sections = [_pictures(config, origin, rows, predictions)]
    if len(confusion):
        sections.append(_confusion(confusion))
    if rejected:
        sections.append(_rejected(rejected))
    return render_page(
        Page(
            title=f"{config.model.name} on {config.input}",
            subtitle=f"{len(predictions)} predictions of a sample of at most {config.limit}",
            key_figures=_key_figures(predictions, rejected, accuracy),
            sections=sections,
        )
    )


def thumbnails(
    config: ClassifyConfig, origin: PictureOrigin, rows: pa.Table
) -> dict[str, Image.Image]:
    """Small pictures by id; those that cannot be read are missing."""
    data = open_reader(config, origin).read(rows, Rejects("thumbnail"))
    found: dict[str, Image.Image] = {}
    for row_id, content in zip(rows[ID].to_pylist(), data, strict=True):
        picture = decode(
            content or b"", channels=3, background=config.background, limits=config.limits
        )
        if isinstance(picture, Picture):
            small = picture.image
            small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
            found[row_id] = small
    return found


def _key_figures(
    predictions: pa.Table, rejected: Sequence[Reject], accuracy: Accuracy | None
) -> list[KeyFigure]:
    confidence = predictions["confidence"].to_pylist()
    shown = [
        KeyFigure("pictures", str(len(predictions)), f"and {len(rejected)} that cannot be used"),
        KeyFigure(
            "mean confidence",
            f"{sum(confidence) / max(1, len(confidence)):.2f}",
            "of the first label",
        ),
    ]
    if accuracy is not None:
        note = f"of {accuracy.num_scored} whose class means a label"
        shown.insert(0, KeyFigure("accuracy", f"{accuracy.accuracy:.1%}", note))
    return shown


def _pictures(
    config: ClassifyConfig, origin: PictureOrigin, rows: pa.Table, predictions: pa.Table
) -> Section:
    small = thumbnails(config, origin, rows)
    blocks: list[Block] = []
    for row in predictions.to_pylist():
        if row[ID] not in small:
            continue
        labels = zip(row["top_labels"], row["top_probabilities"], strict=True)
        best = [f"{label} {share:.2f}" for label, share in list(labels)[:_SHOWN_LABELS]]
        class_name = f" (class {row['expected']})" if row["expected"] else ""
        picture = Bitmap(small[row[ID]], f"{row[ID]}: {best[0]}")
        blocks.append(
            PictureTable(
                columns=("",),
                rows=((", ".join(best), (picture,)),),
                caption=f"{row[ID]}{class_name}",
            )
        )
    return Section("predictions", "Predictions", blocks)


def _confusion(confusion: pa.Table) -> Section:
    counts = {(row["expected"], row["predicted"]): row["count"] for row in confusion.to_pylist()}
    expected = sorted({name for name, _ in counts})
    predicted = [*expected, *sorted({name for _, name in counts} - {*expected, OTHER}), OTHER]
    table = Table(
        columns=("class", *predicted),
        rows=[
            (name, *(str(counts.get((name, other), 0) or "") for other in predicted))
            for name in expected
        ],
        numbers=frozenset(predicted),
    )
    return Section("confusion", "Confusion", [table], lead="Rows: the folder's class.")


def _rejected(rejected: Sequence[Reject]) -> Section:
    table = Table(
        columns=("picture", "reason", "detail"),
        rows=[(reject.id, reject.reason, reject.detail) for reject in rejected],
        code=frozenset({"picture"}),
    )
    return Section("rejected", "Not usable", [table])
