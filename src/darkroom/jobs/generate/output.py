"""What the published rows hold: the input's columns, the prompts, how each picture was made."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from darkroom.jobs.generate.config import GenerateConfig
from darkroom.models.find import FoundModel

_DRAWN = {
    "num_tokens": pa.int32(),
    "num_tokens_cut": pa.int32(),
    "seed": pa.int64(),
    "num_steps": pa.int32(),
    "guidance_scale": pa.float64(),
    "model": pa.string(),
    "model_digest": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "file_name": pa.string(),
    "sha256": pa.string(),
    "image": pa.binary(),
}


def output_schema(config: GenerateConfig, columns: Sequence[str]) -> pa.Schema:
    """What the published Parquet holds. `columns`: of the prompts that go in."""
    fields = [pa.field(name, pa.string()) for name in columns]
    if config.enhance is not None:
        fields += [pa.field(name, pa.string()) for name in ("enhanced_prompt", "llm", "llm_digest")]
    if config.draw is not None:
        fields += [pa.field(name, kind) for name, kind in _DRAWN.items()]
    return pa.schema(fields)


def constants_of(
    config: GenerateConfig, llm: FoundModel | None, model: FoundModel | None
) -> dict[str, object]:
    """What is equal in all rows."""
    values: dict[str, object] = {}
    if llm is not None:
        values |= {"llm": llm.name, "llm_digest": llm.digest}
    if model is not None and config.draw is not None:
        values |= {
            "model": model.name,
            "model_digest": model.digest,
            "num_steps": config.draw.num_steps,
            "guidance_scale": config.draw.guidance_scale,
        }
    return values
