"""`darkroom generate`: rows become prompts, prompts become pictures, exactly once.

    driver: read -> rename -> join -> choices -> template        (tables.py .. prompt.py)
    Ray:    [enhance] -> [draw] -> encode -> commit              (one streaming pipeline)

Everything that the tables or settings get wrong is found before Ray starts. Commits, reruns and
the publication are the batch core's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.pictures import PicturesInfo
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.drawing.config import TextDrawingConfig, WorkerConfig
from darkroom.jobs.drawing.drawer import STAGE
from darkroom.jobs.drawing.encode import encode_stage, image_files
from darkroom.jobs.drawing.lora import find_lora
from darkroom.jobs.drawing.signing import signing_of
from darkroom.jobs.drawing.stage import model_stage
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.generate.draw import draw_stage
from darkroom.jobs.generate.enhance import Enhancer
from darkroom.jobs.generate.gallery import FILE_NAME, gallery_page
from darkroom.jobs.generate.output import constants_of, output_schema
from darkroom.jobs.generate.preflight import check_memory, check_model, resolve_backend
from darkroom.jobs.generate.prompt import Prompts, build_prompts
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Artifact, FileEntry, Parent, open_store
from darkroom.storage.parquet import VerifiedParquetFile
from darkroom.storage.ranged import RangedReader


def run(config: GenerateConfig) -> dict[str, Any]:
    """Generate and publish. Errors: DataError (tables), ConfigError (models), and the core's."""
    config = _resolved(config)
    signing_of(config.signing)
    prompts = build_prompts(config)
    llm, model = _models(config)
    lora = None
    if model is not None:
        check_model(config, model)
        lora = _lora(config, model)
    check_memory(_loaded(config, llm, model))
    schema = output_schema(config, prompts.table.column_names)
    with open_batch(
        config,
        kind=Kind.PICTURES,
        rows=prompts.table,
        parents=_parents(prompts, llm, model, lora),
        rejected=prompts.bad,
    ) as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        draws = config.draw is not None
        batch.run(
            _stages(config, llm, model, lora),
            schema=schema,
            files=image_files if draws and config.image_files else None,
            description="generate",
            unit="pictures" if draws else "prompts",
        )
        return _result(_publish(config, batch))


def _resolved(config: GenerateConfig) -> GenerateConfig:
    """With what `auto` stands for: it decides the output, so it belongs to the digest."""
    if config.enhance is None:
        return config
    enhance = config.enhance.model_copy(update={"backend": resolve_backend(config.enhance)})
    return config.model_copy(update={"enhance": enhance})


def _models(config: GenerateConfig) -> tuple[FoundModel | None, FoundModel | None]:
    """The language model and the model that draws."""
    llm = model = None
    if config.enhance is not None:
        file = config.enhance.gguf_file
        llm = find_model(config.enhance.model, field="enhance.model", gguf_file=file)
    if config.draw is not None:
        variant = getattr(config.draw, "variant", None)
        model = find_model(config.draw.model, field="draw.model", variant=variant)
    return llm, model


def _lora(config: GenerateConfig, model: FoundModel) -> FoundModel | None:
    """The adapter over the model that draws. Errors: ConfigError for another base's."""
    if not isinstance(config.draw, TextDrawingConfig):
        return None
    return find_lora(config.draw, model, prefix="draw.")


def _loaded(
    config: GenerateConfig, llm: FoundModel | None, model: FoundModel | None
) -> list[tuple[str, WorkerConfig, int]]:
    loaded: list[tuple[str, WorkerConfig, int]] = []
    if config.enhance is not None and llm is not None:
        loaded.append(("enhance", config.enhance, llm.weights_bytes))
    if config.draw is not None and model is not None:
        loaded.append(("draw", config.draw, model.weights_bytes))
    return loaded


def _stages(
    config: GenerateConfig,
    llm: FoundModel | None,
    model: FoundModel | None,
    lora: FoundModel | None,
) -> list[Stage]:
    stages = []
    if config.enhance is not None and llm is not None:
        make = partial(
            Enhancer, config.enhance.to_dict(), folder=llm, backend=config.enhance.backend,
            seed=config.seed,
        )  # fmt: skip
        stages.append(model_stage("enhance", config.enhance, make))
    if config.draw is not None and model is not None:
        draw = partial(draw_stage, config.to_dict(), model, lora)
        stages.append(model_stage(STAGE, config.draw, draw))
    encode = encode_stage(
        constants_of(config, llm, model),
        model_digest=None if model is None else model.digest,
        lora_digest=None if lora is None else lora.digest,
        signing=config.signing,
    )
    return [*stages, encode]


def _parents(
    prompts: Prompts, llm: FoundModel | None, model: FoundModel | None, lora: FoundModel | None
) -> list[Parent]:
    models = [("language_model", llm), ("model", model), ("lora", lora)]
    return [
        *prompts.parents,
        *(folder.as_parent(role) for role, folder in models if folder is not None),
    ]


def _publish(config: GenerateConfig, batch: BatchRun) -> Artifact:
    parts = [entry for entry in batch.parts if entry.name.startswith("data/")]
    num_rows = sum(entry.rows or 0 for entry in parts)
    num_cut = _count_cut(config, parts) if config.draw is not None else 0
    extra = []
    if config.gallery:
        page = gallery_page(config, batch.tables(), num_rows=num_rows, num_cut=num_cut)
        extra.append(batch.writer.write_bytes(FILE_NAME, page))
    return batch.publish(
        extra,
        info=partial(
            PicturesInfo,
            num_prompts_cut=num_cut,
            stages=tuple(name for name in ("join", "enhance", "draw") if getattr(config, name)),
        ),
    )


def _count_cut(config: GenerateConfig, parts: Sequence[FileEntry]) -> int:
    """Prompts that the text encoder cut: one small column of each part is read."""
    store = open_store(config.output)
    count = 0
    for entry in parts:
        reader = RangedReader(store, entry.key, entry.size)
        file = VerifiedParquetFile(reader, f"{store.root}/{entry.key}")
        for cut in file.read(columns=["num_tokens_cut"])["num_tokens_cut"].to_pylist():
            count += bool(cut)
    return count


def _result(artifact: Artifact) -> dict[str, Any]:
    info = plain_values(PicturesInfo.of(artifact))
    shown = ("num_rows", "num_rejected", "rejected", "num_prompts_cut", "figures")
    pages = [entry for entry in artifact.entries(FILE_NAME) if entry.name == FILE_NAME]
    return {
        **names_of(artifact),
        **{name: info[name] for name in shown},
        "gallery": str(artifact.uri / pages[0].key) if pages else None,
    }
