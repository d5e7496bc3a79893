"""`darkroom cache` from S3 to S3 on a real Ray, and again after one picture changed.

What is encoded the second time is the same stages' choice wherever they run: in this process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.batch_here import stages_here
from tests.helpers.cache_runs import PICTURES, cache_config, cached_here, publish_pictures
from tests.helpers.tiny_families import save_tiny

from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.cache.job import run
from darkroom.storage import Artifact, lineage, open_artifact, open_store

FLIP = {"horizontal_flip": 0.5, "crop": {"min_area": 0.6}}


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_local: None) -> None:
    """One Ray for the module; the job uses it as it finds it."""


def upload(folder: Path, uri: str) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    open_store(uri).upload_many([(path, path.relative_to(folder).as_posix()) for path in files])
    return uri


def published(output: str) -> Artifact:
    return open_artifact(output, kind="latents")


def test_each_picture_is_encoded_once_and_a_changed_one_alone(
    s3_module_uri: str, tmp_path: Path
) -> None:
    model = upload(save_tiny("sdxl", tmp_path / "sdxl"), f"{s3_module_uri}/model")
    data = publish_pictures(f"{s3_module_uri}/captioned-pictures")
    output = f"{s3_module_uri}/latents"
    result = run(cache_config(str(data.uri), output, model, variants=2, augment=FLIP))
    assert (result["num_rows"], result["num_encoded"], result["num_reused"]) == (5, 10, 0)
    first = published(output)
    parents = {parent.role: parent.digest for parent in first.manifest.parents}
    assert parents["data"] == data.digest
    assert set(parents) == {"data", "base"}
    assert lineage(output).ok

    # The same, made by the same stages without Ray: who ran them changes no byte.
    here = cache_config(str(data.uri), str(tmp_path / "here"), model, variants=2, augment=FLIP)
    assert cached_here(here).artifact.content_digest == first.content_digest

    resumed = run(
        cache_config(str(data.uri), output, model, variants=2, augment=FLIP, on_existing="resume")
    )
    assert resumed["digest"] == result["digest"]

    pictures = {**PICTURES, "d": replace(PICTURES["d"], name="astronaut")}
    changed = publish_pictures(f"{s3_module_uri}/changed", pictures)
    again = cache_config(
        str(changed.uri), output, model, variants=2, augment=FLIP, on_existing="overwrite"
    )
    with stages_here():
        result = run(again)
    assert (result["num_encoded"], result["num_reused"]) == (2, 8)
    assert result["num_texts_encoded"] == 0
    before, after = (
        {row.id: row.mean.tobytes() for row in Latents.of(artifact).rows()}
        for artifact in (first, published(output))
    )
    assert [row_id for row_id in PICTURES if before[row_id] != after[row_id]] == ["d"]
