"""What the functions of `darkroom.api` return: published artifacts that can be looked at.

One class per kind, over the typed values of `jobs/artifacts`. Each names itself by its URI, and may
be given wherever a path or a URI may; has its rows, pictures and figures; and shows itself in a
notebook (`_repr_html_` is what Jupyter asks for). Everything is read through the manifest,
verified, when it is asked for.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.artifacts.model import (
    METRICS_FILE,
    FinetunedInfo,
    ModelInfo,
    TrainedModel,
)
from darkroom.jobs.artifacts.pictures import PicturesInfo
from darkroom.jobs.artifacts.predictions import PredictionsInfo
from darkroom.jobs.artifacts.row_groups import RowGroupReader
from darkroom.jobs.artifacts.samples import DATA_PREFIX, GRID_FILE, Samples
from darkroom.jobs.artifacts.study import BEST_FILE, TRIALS_FILE, StudyInfo
from darkroom.jobs.pictures.config import Split
from darkroom.pages.rows import TableRows
from darkroom.pages.sheet import Pixels, SheetRow, contact_sheet, png_bytes
from darkroom.storage import Artifact, get

if TYPE_CHECKING:
    from diffusers import UNet2DModel

    from darkroom.diffusion.schedule import NoiseSchedule

FEW_ROWS = 8
"""What an artifact shows of itself."""
SHEET_COLUMNS = 16


class Published:
    """A published artifact of any kind."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    @property
    def uri(self) -> str:
        """Where it is published."""
        return str(self.artifact.uri)

    @property
    def digest(self) -> str:
        """sha256 of the manifest: names this very publication."""
        return self.artifact.digest

    @property
    def config(self) -> Mapping[str, Any]:
        """The complete settings that it was made with."""
        return self.artifact.manifest.config

    @property
    def facts(self) -> Mapping[str, object]:
        """What is worth knowing at a glance."""
        return {"files": len(self.artifact.manifest.files)}

    def dead_letters(self) -> TableRows:
        """The inputs that could not be used, each with its reason."""
        return self._rows("dead_letters/")

    def download(self, folder: str | Path) -> Path:
        """The files as a plain folder, their digests verified; returns it."""
        get(self.uri, folder)
        return Path(folder)

    def __fspath__(self) -> str:
        return self.uri

    __str__ = __fspath__

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        return f"{self.artifact.manifest.kind} at {self.uri}: {facts}"

    def _repr_html_(self) -> str:
        facts = " · ".join(
            f"{escape(name)} <b>{escape(str(value))}</b>" for name, value in self.facts.items()
        )
        return (
            f"<p><b>{escape(self.artifact.manifest.kind)}</b> at <code>{escape(self.uri)}</code>, "
            f"digest <code>{self.digest[:12]}</code><br>{facts}</p>{self._body()}"
        )

    def _body(self) -> str:
        """The HTML below the facts."""
        return ""

    def _rows(self, folder: str, limit: int | None = None) -> TableRows:
        """The Parquet files of a folder, no more row groups than `limit` rows need."""
        reader = RowGroupReader(self.artifact)
        files = [entry.name for entry in self.artifact.entries(folder)]
        return TableRows(_first(limit, (table for file in files for table in reader.tables(file))))


class PreparedData(Published):
    """Pictures with labels and captions, in splits."""

    @cached_property
    def dataset(self) -> Dataset:
        """The typed dataset: row by row, or one row group at a time."""
        return Dataset.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.dataset.info
        size = "of different sizes" if info.image_size is None else str(self.dataset.shape())
        return {**info.split_rows, "pictures": size, "classes": len(info.classes)}

    def rows(self, split: Split | None = None, *, limit: int | None = None) -> TableRows:
        """Rows in memory, of one split or all: id, image (encoded), label, caption, class_name."""
        table = _first(limit, self.dataset.tables(split))
        classes = dict(enumerate(self.dataset.info.classes))
        names = [classes.get(label) for label in table["label"].to_pylist()]
        return TableRows(table.append_column("class_name", pa.array(names, pa.string())))

    def _body(self) -> str:
        return self.rows(limit=FEW_ROWS)._repr_html_()


class EncodedPictures(Published):
    """Latents of pictures and embeddings of their captions."""

    @cached_property
    def latents(self) -> Latents:
        """The typed latents, row by row as arrays."""
        return Latents.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.latents.info
        return {**info.split_rows, "encodings of each": info.variants, "family": info.family}


class DiffusionModel(Published):
    """A trained model: its metrics log, its network, and what it draws."""

    @cached_property
    def info(self) -> ModelInfo:
        """What the manifest says of the model."""
        return ModelInfo.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.info
        return {"steps": info.step, "pictures": str(info.shape), "classes": len(info.classes)}

    @cached_property
    def metrics(self) -> TableRows:
        """The log of training: a row per logged step."""
        return TableRows(TrainedModel(self.artifact, self.info).metrics())

    def schedule(self) -> NoiseSchedule:
        """The noise schedule that it was trained on."""
        from darkroom.diffusion.schedule import build_schedule

        return build_schedule(self.info.schedule)

    def network(self, device: str = "cpu") -> UNet2DModel:
        """The U-Net with the EMA weights, in evaluation mode; loaded once per call."""
        from darkroom.models.unet import load_unet

        return load_unet(self.artifact, device)

    def draw(self, **settings: object) -> DrawnNow:
        """Draw a few pictures in this process, all at once; nothing is published.

        settings: fields of `jobs.sample.config.SampleConfig` (classes, num_images, sampler,
        num_steps, guidance_scale, eta, seed). The pictures are those of `darkroom.sample`.
        """
        from darkroom.config import build_config
        from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
        from darkroom.jobs.drawing.drawer import Drawn
        from darkroom.jobs.sample.config import SampleConfig
        from darkroom.jobs.sample.job import requests_of
        from darkroom.jobs.sample.model import plan_of
        from darkroom.models.find import find_model

        values = {"num_images": 10, "num_cpus": os.cpu_count(), **settings}
        config = build_config(SampleConfig, {**values, "input": self.uri, "output": "nowhere"})
        plan = plan_of(config, self.info)
        drawer = ClassConditionalDrawer(config, find_model(self.uri, field="input"))
        drawn = drawer.draw(requests_of(config, plan))
        return DrawnNow(
            [
                (name or "", picture.pixels)
                for name, picture in zip(plan["class_name"].to_pylist(), drawn, strict=True)
                if isinstance(picture, Drawn)  # what is left out is not finite
            ]
        )


class FinetunedModel(Published):
    """A fine-tuned text-to-image model, or a LoRA; `generate` draws with it."""

    @cached_property
    def info(self) -> FinetunedInfo:
        """What the manifest says of it."""
        return FinetunedInfo.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.info
        return {"steps": info.step, "family": info.family, "method": info.method}

    @cached_property
    def metrics(self) -> TableRows:
        """The log of training: a row per logged step."""
        return TableRows(self.artifact.read_table(METRICS_FILE))


@dataclass(frozen=True)
class DrawnNow:
    """Pictures that a model has just drawn, which show themselves on one sheet."""

    pictures: Sequence[tuple[str, Pixels]] = field(repr=False)
    """Class (empty without classes) and picture: uint8, H x W or H x W x 3."""

    @property
    def sheet(self) -> Image.Image:
        """All of them, rows for each class."""
        by_class: dict[str, list[Pixels]] = {}
        for name, picture in self.pictures:
            by_class.setdefault(name, []).append(picture)
        return contact_sheet(
            [
                SheetRow(name, pictures[start : start + SHEET_COLUMNS])
                for name, pictures in by_class.items()
                for start in range(0, len(pictures), SHEET_COLUMNS)
            ]
        )

    def _repr_png_(self) -> bytes:
        return png_bytes(self.sheet)


class DrawnPictures(Published):
    """Pictures that a model has drawn."""

    @cached_property
    def samples(self) -> Samples:
        """The typed samples."""
        return Samples.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.samples.info
        return {"pictures": info.num_rows, info.sampler: f"{info.num_steps} steps"}

    @property
    def grid(self) -> Image.Image:
        """A few pictures of each class."""
        return Image.open(io.BytesIO(self.artifact.read_bytes(GRID_FILE)))

    def rows(self, *, limit: int | None = None) -> TableRows:
        """One row per picture: class, seed, settings, image (PNG)."""
        return self._rows(DATA_PREFIX, limit)

    def _body(self) -> str:
        data = base64.b64encode(self.artifact.read_bytes(GRID_FILE)).decode()
        return f'<img src="data:image/png;base64,{data}" alt="a few pictures of each class">'


class MeasuredPictures(Published):
    """An evaluation."""

    @cached_property
    def evaluation(self) -> Evaluation:
        """Everything that was measured, typed."""
        return Evaluation.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        evaluation = self.evaluation
        return {"pictures": evaluation.num_images, "against": evaluation.reference.num_test}

    @property
    def metrics(self) -> TableRows:
        """A row per metric: its value, interval and N, and what real pictures score."""
        rows = [
            {
                "metric": name,
                "value": metric.value,
                "lower": metric.lower,
                "upper": metric.upper,
                "n": metric.n,
                "real": metric.floor.value if metric.floor else None,
                "ratio": metric.ratio,
            }
            for name, metric in self.evaluation.metrics.items()
        ]
        return TableRows(pa.Table.from_pylist(rows))

    def _body(self) -> str:
        return self.metrics._repr_html_()


class ClassifiedPictures(Published):
    """Labels for pictures."""

    @cached_property
    def info(self) -> PredictionsInfo:
        """What the manifest says of the predictions."""
        return PredictionsInfo.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.info
        return {"labelled": info.num_rows, "rejected": info.num_rejected, "by": info.model.name}

    def rows(self, *, limit: int | None = None) -> TableRows:
        """One row per picture: path, label, confidence and the next labels."""
        return self._rows("data/", limit)

    def _body(self) -> str:
        return self.rows(limit=FEW_ROWS)._repr_html_()


class PromptedPictures(Published):
    """Prompts made of tables, and pictures of them."""

    @cached_property
    def info(self) -> PicturesInfo:
        """What the manifest says of the pictures."""
        return PicturesInfo.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.info
        return {"rows": info.num_rows, "rejected": info.num_rejected}

    def rows(self, *, limit: int | None = None) -> TableRows:
        """One row per prompt: the input's columns, prompt, seed, settings, image (PNG)."""
        return self._rows("data/", limit)

    def _body(self) -> str:
        return self.rows(limit=FEW_ROWS)._repr_html_()


class ReportPage(Published):
    """The report on a run: one self-contained HTML page."""

    @property
    def html(self) -> str:
        """The page."""
        return self.artifact.read_bytes("report.html").decode()

    def _body(self) -> str:
        page = escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:640px;border:0"></iframe>'


class TunedStudy(Published):
    """A study: its trials, and the best config."""

    @cached_property
    def info(self) -> StudyInfo:
        """The best trial, its objective, costs, and what further seeds say."""
        return StudyInfo.of(self.artifact)

    @property
    def facts(self) -> Mapping[str, object]:
        info = self.info
        counts: dict[str, object] = {str(state): n for state, n in info.num_trials.items()}
        return {**counts, f"best {info.objective}": f"{info.best_value:.4g}"}

    def trials(self) -> TableRows:
        """One row per trial: its state, objective, values and cost."""
        return TableRows(self.artifact.read_table(TRIALS_FILE))

    @property
    def best_yaml(self) -> str:
        """The best config, as `config` of the verb takes it in a file."""
        return self.artifact.read_bytes(BEST_FILE).decode()

    def _body(self) -> str:
        return self.trials()._repr_html_()


_BY_KIND: Mapping[str, type[Published]] = {
    Kind.DATASET: PreparedData,
    Kind.LATENTS: EncodedPictures,
    Kind.MODEL: DiffusionModel,
    Kind.SAMPLES: DrawnPictures,
    Kind.EVALUATION: MeasuredPictures,
    Kind.PREDICTIONS: ClassifiedPictures,
    Kind.PICTURES: PromptedPictures,
    Kind.REPORT: ReportPage,
    Kind.STUDY: TunedStudy,
}


def published(artifact: Artifact) -> Published:
    """The artifact as what its verb's function returns."""
    if FinetunedInfo.found_in(artifact) is not None:
        return FinetunedModel(artifact)
    return _BY_KIND.get(artifact.manifest.kind, Published)(artifact)


def _first(limit: int | None, tables: Iterable[pa.Table]) -> pa.Table:
    """The first rows, and no more of the tables read than they lie in."""
    taken: list[pa.Table] = []
    left = limit
    for table in tables:
        taken.append(table.slice(0, left))
        left = None if left is None else left - taken[-1].num_rows
        if left == 0:
            break
    return pa.concat_tables(taken) if taken else pa.table({})
