"""The kinds of artifacts stand in one list, and lineage verifies each of them.

Storage knows no kind. A parent says itself, in the child's manifest, whether it was published.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.config import JobConfig
from darkroom.diffusion.config import ScheduleConfig
from darkroom.errors import DataError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.drawings import DrawingsInfo
from darkroom.jobs.artifacts.evaluation import EvaluationInfo
from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.latents import LatentsInfo
from darkroom.jobs.artifacts.model import FinetunedInfo, ModelInfo
from darkroom.jobs.artifacts.pictures import PicturesInfo
from darkroom.jobs.artifacts.predictions import ClassifierName, PredictionsInfo
from darkroom.jobs.artifacts.report import ReportInfo
from darkroom.jobs.artifacts.samples import ModelName, SamplesInfo
from darkroom.jobs.artifacts.study import Confirmation, StudyInfo
from darkroom.models.find import find_model
from darkroom.storage import Artifact, Parent, lineage, open_artifact, open_output
from darkroom.storage.manifest import sealed_json

SOURCE = Path(__file__).parents[2] / "src/darkroom"
OPENERS = {"open_output", "open_artifact", "open_batch"}
_ROWS: dict[str, Any] = {
    "num_rows": 3, "num_rejected": 1, "rejected": {"corrupt": 1}, "piece_rows": 2, "figures": None,
}  # fmt: skip
INFOS: list[Info] = [
    DatasetInfo(
        **_ROWS, classes=("a", "b"), split_rows={"train": 3}, image_size=(8, 6), channels=1,
        num_skipped={}, source={"kind": "digits"},
    ),
    LatentsInfo(
        **_ROWS, split_rows={"train": 3}, variants=2, augment={"horizontal_flip": 0.5},
        stored_dtype="float16", precision="float32", family="sd", vae_digest="0" * 64,
        text_digest="0" * 64, num_encoded=4, num_reused=2, num_texts_encoded=3, num_truncated=1,
    ),
    CheckpointInfo(step=3, epoch=1, seconds=0.5, validation_loss=None, finished=True),
    ModelInfo(
        classes=("a",), image_size=(8, 6), channels=3, class_conditional=True, null_class=1,
        prediction_type="epsilon", schedule=ScheduleConfig(), step=3, seconds=0.5,
        final={"loss": 0.1, "validation_loss": None},
    ),
    SamplesInfo(
        **_ROWS, classes=("a",), num_per_class={"a": 2}, image_size=(8, 6), channels=3,
        sampler="ddim", num_steps=5, guidance_scale=2.0, eta=0.0, seed=1,
        model=ModelName(uri="s3://b/model", digest="0" * 64, step=3),
        strip_timesteps=(99, None),
    ),
    EvaluationInfo(
        **_ROWS, num_images=2, reference="0" * 64, classifier=None, skipped={},
        metrics={"frechet_pixels": {"value": 1.5, "interval": [1.0, 2.0], "biased": True}},
    ),
    ReportInfo(title="digits"),
    PicturesInfo(**_ROWS, stages=("draw",), num_prompts_cut=0),
    PredictionsInfo(
        **_ROWS, input="s3://b/in", classes=("a",), num_skipped={},
        model=ClassifierName(
            library="timm", name="vit", weights="random", digest="0" * 64, num_labels=10
        ),
    ),
    StudyInfo(
        tuned="train", objective="validation_loss", larger_is_better=False, axes=("batch_size",),
        num_trials={"complete": 2, "stopped": 1}, best_trial=1, best_value=0.25,
        best={"batch_size": 64}, rungs=(10, 30), worker_seconds=12.5, untuned=None,
        confirmed=Confirmation(seeds=(1,), values=(0.26,), mean=0.26, deviation=None),
    ),
    DrawingsInfo(
        job="job_0", num_pictures=2, num_failed=1, model="digits", model_digests=("0" * 64,),
    ),
]  # fmt: skip
"""One of each kind."""
FINETUNED = FinetunedInfo(
    family="sd", method="lora", base_digest="0" * 64, base_license="unknown", trigger_words=("x",),
    image_sizes=((8, 6), (6, 8)), step=3, seconds=0.5, final={"loss": 0.1, "validation_loss": None},
)  # fmt: skip
"""The other value of a model."""


def _described(root: Path, kind: str, metadata: dict[str, Any]) -> Artifact:
    config = JobConfig(output=f"file://{root}/out")
    with open_output(config.output, kind=kind, config=config, on_existing="overwrite") as output:
        return output.publish([], metadata=metadata)


def test_every_kind_has_its_value() -> None:
    assert [info.kind for info in INFOS] == list(Kind)


@pytest.mark.parametrize("info", [*INFOS, FINETUNED], ids=lambda info: type(info).__name__)
def test_what_a_kind_says_is_read_as_it_was_written(info: Info, tmp_path: Path) -> None:
    assert type(info).of(_described(tmp_path, info.kind, info.to_metadata())) == info


@pytest.mark.parametrize("info", [*INFOS, FINETUNED], ids=lambda info: type(info).__name__)
def test_what_does_not_fit_is_refused_in_one_line(info: Info, tmp_path: Path) -> None:
    good = info.to_metadata()
    name = next(name for name in good if name != "version")
    other: object = 3 if isinstance(good[name], str) else "text"
    misfits = {
        f"of version {info.version + 1}, and version": {**good, "version": info.version + 1},
        "of version None": {key: value for key, value in good.items() if key != "version"},
        f"whose {name} does not fit": {**good, name: other},
        f"whose {name} does not fit: .*required": {
            key: value for key, value in good.items() if key != name
        },
        "whose later does not fit": {**good, "later": 1},
    }
    for says, metadata in misfits.items():
        with pytest.raises(DataError, match=says) as caught:
            type(info).of(_described(tmp_path, info.kind, metadata), field="samples")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("samples: ")
    with pytest.raises(DataError, match=f"holds a child; give the URI of a {info.kind}"):
        type(info).of(_described(tmp_path, "child", info.to_metadata()))


def _publish(root: Path, kind: str, *parents: Parent) -> Artifact:
    uri = f"file://{root}/{kind}"
    config = JobConfig(output=uri)
    with open_output(uri, kind=kind, config=config, parents=parents) as output:
        return output.publish([output.writer.write_bytes("data/x", b"bytes")])


def _damage(artifact: Artifact) -> None:
    artifact.store.put(artifact.entry("data/x").key, b"bytez")


@pytest.mark.parametrize("kind", [*Kind, "a kind of later"])
def test_damage_is_found_in_a_parent_of_every_kind(kind: str, tmp_path: Path) -> None:
    parent = _publish(tmp_path, kind)
    child = _publish(tmp_path, "child", parent.as_parent("input"))
    intact = lineage(child.uri)
    assert intact.ok
    assert intact.text().splitlines()[-1] == "every digest verified"
    assert intact.not_verified == []
    _damage(parent)
    tree = lineage(child.uri)
    (problem,) = tree.problems
    assert str(parent.uri) in problem
    assert "DAMAGED" in tree.text()
    assert "every digest verified" not in tree.text()
    assert [ancestor.uri for ancestor in tree.not_verified] == [str(parent.uri)]
    assert not lineage(parent.uri).ok


def test_a_model_in_a_folder_says_whether_it_was_published(tmp_path: Path) -> None:
    published = find_model(str(_publish(tmp_path, "folder").uri), field="model")
    assert published.as_parent("model").published is True
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_bytes(b"{}")
    assert find_model(str(plain), field="model").as_parent("model").published is False


@pytest.mark.parametrize("said", [False, None])
def test_what_is_not_verified_is_said(said: bool | None, tmp_path: Path) -> None:
    """None: a manifest of before parents said it."""
    parent = _publish(tmp_path, Kind.PREDICTIONS)
    child = _publish(tmp_path, "child", parent.as_parent("input"))
    path = tmp_path / "child/manifest.json"
    values: dict[str, Any] = json.loads(path.read_bytes())
    del values["seal"], values["parents"][0]["published"]
    if said is not None:
        values["parents"][0]["published"] = said
    path.write_bytes(sealed_json(values))
    _damage(parent)
    tree = lineage(child.uri)
    assert [ancestor.uri for ancestor in tree.not_verified] == [str(parent.uri)]
    assert f"not verified: {parent.uri}" in tree.text()
    last = tree.text().splitlines()[-1]
    assert last != "every digest verified"
    if said is None:
        assert last.startswith("NOT everything could be verified")


def test_an_old_manifest_keeps_its_digest(tmp_path: Path) -> None:
    """Its children have recorded it."""
    of_old = _publish(tmp_path, "grandchild", _publish(tmp_path, "child").as_parent("input"))
    values = of_old.manifest.to_dict()
    del values["parents"][0]["published"]
    (tmp_path / "grandchild/manifest.json").write_bytes(sealed_json(values))
    old = open_artifact(of_old.uri)
    assert old.manifest.parents[0].published is None
    assert old.manifest.to_dict() == values


def test_verbs_take_their_kinds_from_the_one_list() -> None:
    used = set()
    for path in SOURCE.joinpath("jobs").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in OPENERS:
                continue
            for keyword in call.keywords:
                value = keyword.value
                if keyword.arg == "kind":
                    assert not isinstance(value, ast.Constant), f"{path}: {call.lineno}"
                    used |= {value.attr} if isinstance(value, ast.Attribute) else set()
    assert used == {kind.name for kind in Kind}


def test_metadata_is_read_in_the_kinds_own_modules_alone() -> None:
    """Others hold a typed value, not a dictionary of a manifest or of a file's entry."""
    found = []
    for folder in ("jobs", "models", "report"):
        for path in SOURCE.joinpath(folder).rglob("*.py"):
            if path.parent == SOURCE / "jobs/artifacts":
                continue
            found += [
                f"{path.relative_to(SOURCE)}:{node.lineno}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute | ast.Subscript)
                and isinstance(of := node.value, ast.Attribute)
                and of.attr == "metadata"
                and (isinstance(node, ast.Subscript) or node.attr == "get")
            ]
    assert not found
