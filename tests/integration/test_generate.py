"""`generate` on real stores: every stage, every stage left out, every bad row.

From S3 to S3 it runs on a real Ray. Everything else is the same stages, checks and commits in this
process: Ray would change nothing there but how long it takes.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.language_models import (
    REAL_GGUF,
    real_language_model,
    save_tiny_language_model,
)
from tests.helpers.tiny_artifacts import publish_model
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

from darkroom.config import build_config
from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.generate.job import run
from darkroom.recipes import get_recipe
from darkroom.storage import Artifact, lineage, open_artifact, open_store, parse_uri

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/generate"


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_stable_diffusion(tmp_path_factory.mktemp("sd") / "model"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_language_model(tmp_path_factory.mktemp("llm") / "chat"))


def generate(output: str | Path, **values: Any) -> Artifact:
    config = build_config(GenerateConfig, {"output": str(output), "gallery": 5, **values})
    result = run(config)
    artifact = open_artifact(result["output"])
    assert artifact.digest == result["digest"]
    return artifact


def example(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((EXAMPLES / name).read_text().splitlines()))


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    parts = [entry.name for entry in artifact.entries("data/")]
    assert parts == sorted(parts)
    return [row for name in parts for row in artifact.read_table(name).to_pylist()]


def dead(artifact: Artifact) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = artifact.read_table("dead_letters/part-00000.parquet").to_pylist()
    return table


def drawing(model: str, **values: Any) -> dict[str, Any]:
    return {"model": model, "num_steps": 2, "guidance_scale": 1.5, **values}


def copied(names: Sequence[str], uri: str) -> None:
    for name in names:
        open_store(uri).put(name, (EXAMPLES / name).read_bytes())


def test_tables_on_s3_become_pictures_on_s3(
    ray_local: None, bucket_uri: str, painter: str, writer: str
) -> None:
    copied(["animals.csv", "outfits.csv"], f"{bucket_uri}/tables")
    open_store(bucket_uri).upload_many(
        [(path, f"painter/{path.relative_to(painter)}")
         for path in Path(painter).rglob("*") if path.is_file()]
    )  # fmt: skip
    artifact = generate(
        f"{bucket_uri}/pictures",
        input=f"{bucket_uri}/tables/animals.csv",
        rename={"name": "animal"},
        join={"input": f"{bucket_uri}/tables/outfits.csv", "rename": {"animal_id": "id"}},
        choices={"season": ["spring", "winter"]},
        prompt="{animal} wearing {outfit}, in {season}",
        enhance={"model": writer, "max_new_tokens": 8, "batch_size": 3, "system_prompt": "."},
        draw=drawing(f"{bucket_uri}/painter", batch_size=5),
        limit=21,
        piece_rows=7,
    )
    made = rows(artifact)
    animals = {row["id"]: row["name"] for row in example("animals.csv")}
    assert [row["id"] for row in made] == sorted({row["id"] for row in made})
    assert len(made) == 21
    outfits = {row["animal_id"]: row["outfit"] for row in example("outfits.csv")}
    for row in made:
        wears = f"{animals[row['id']]} wearing {outfits[row['id']]}, in "
        assert row["prompt"].startswith(wears)
    assert {row["season"] for row in made} == {"spring", "winter"}
    assert all(row["enhanced_prompt"] != row["prompt"] for row in made)
    assert len({row["image"] for row in made}) == 21
    for row in made:
        assert artifact.read_bytes(row["file_name"]) == row["image"]
        assert Image.open(io.BytesIO(row["image"])).size == (row["width"], row["height"])
    assert len(artifact.entries("images/")) == 21
    page = artifact.read_bytes("gallery.html").decode()
    assert page.count("<article>") == 5
    assert made[0]["enhanced_prompt"].split()[0] in page
    assert not artifact.entries("dead_letters/")
    assert {(p.role, p.kind) for p in artifact.manifest.parents} == {
        ("source", "table"), ("language_model", "folder"), ("model", "folder"),
    }  # fmt: skip
    assert lineage(artifact.uri).ok


def test_the_real_language_model_writes_about_the_animal(here: None, tmp_path: Path) -> None:
    recipe = get_recipe("animals_cpu").settings(GenerateConfig)
    artifact = generate(
        tmp_path / "out",
        **{
            **recipe,
            "input": str(EXAMPLES / "animals.csv"),
            "join": {**recipe["join"], "input": str(EXAMPLES / "outfits.csv")},
            "enhance": {
                **recipe["enhance"],
                "model": str(real_language_model()),
                "gguf_file": REAL_GGUF,
                "max_new_tokens": 24,
            },
            "draw": None,
            "limit": 4,
        },
    )
    made = rows(artifact)
    # A small model strays at times; most of its sentences are about what they were asked for.
    about = [row["animal"].split()[-1] in row["enhanced_prompt"].lower() for row in made]
    assert sum(about) >= 3, [row["enhanced_prompt"] for row in made]
    assert all("\n" not in row["enhanced_prompt"] for row in made)


@pytest.mark.parametrize("left_out", ["all but the prompt", "enhance", "draw"])
def test_every_stage_can_be_left_out(
    left_out: str, here: None, tmp_path: Path, painter: str, writer: str
) -> None:
    (tmp_path / "t.csv").write_text("key,caption\n1,a fox\n2,an owl\n3,a cat\n")
    (tmp_path / "d.csv").write_text("key,hat\n3,beret\n2,cap\n1,crown\n")
    settings: dict[str, Any] = {
        "input": str(tmp_path / "t.csv"),
        "id": "{key}",
        "join": {"input": str(tmp_path / "d.csv"), "on": ["key"]},
        "choices": {"light": ["dawn", "dusk"]},
        "prompt": "{caption} with a {hat} at {light}",
        "enhance": {"model": writer, "max_new_tokens": 4, "system_prompt": "."},
        "draw": drawing(painter),
        "image_files": False,
    }
    changes: dict[str, dict[str, Any]] = {
        # another prompt column, as it stands
        "all but the prompt": {
            "join": None, "choices": {}, "prompt": "{caption}", "enhance": None, "draw": None
        },
        "enhance": {"enhance": None},
        "draw": {"draw": None},
    }  # fmt: skip
    settings |= changes[left_out]
    artifact = generate(tmp_path / "out", **settings)
    made = rows(artifact)
    assert [row["id"] for row in made] == ["1", "2", "3"]
    columns = set(made[0])
    assert columns >= {"id", "key", "caption", "prompt"}
    assert ("hat" in columns) == ("light" in columns) == (settings["join"] is not None)
    assert ("enhanced_prompt" in columns) == (settings["enhance"] is not None)
    assert ("image" in columns) == ("seed" in columns) == (settings["draw"] is not None)
    expected = "an owl" if settings["join"] is None else "an owl with a cap at "
    assert made[1]["prompt"].startswith(expected)
    assert not artifact.entries("images/")


def test_a_model_of_our_own_draws_its_classes(here: None, tmp_path: Path) -> None:
    model = publish_model(tmp_path / "model")
    (tmp_path / "t.csv").write_text("id,digit\na,7\nb,3\nc,seven\nd,7\ne,0\nf,1\ng,2\nh,4\ni,5\n")
    artifact = generate(
        tmp_path / "out",
        input=str(tmp_path / "t.csv"),
        prompt="the digit {digit}",
        draw={
            "kind": "class_conditional", "model": str(tmp_path / "model"), "num_steps": 5,
            "class_template": "{digit}", "batch_size": 4,
        },
        max_bad_share=0.2,
    )  # fmt: skip
    made = rows(artifact)
    assert [row["id"] for row in made] == list("abdefghi")
    assert [(row["id"], row["stage"], row["reason"]) for row in dead(artifact)] == [
        ("c", "draw", "unknown_class")
    ]
    assert np.asarray(Image.open(io.BytesIO(made[0]["image"]))).shape == (8, 8)
    assert made[0]["image"] != made[2]["image"], "same class, another seed"
    assert model.as_parent("model") in artifact.manifest.parents
    found = lineage(artifact.uri)
    assert found.ok
    assert any(ancestor.kind == "model" and ancestor.verified for ancestor in found.root.walk())


POISON = {
    "no field": (b"p1", "read", "fields"),
    "a field too many": (b"p2,x,1,more", "read", "fields"),
    "Latin-1": (b"p3,caf\xe9,1", "read", "encoding"),
    "a lone surrogate": (b"p4,a\xed\xa0\x80b,1", "read", "encoding"),
    "NUL": (b"p5,a\x00b,1", "read", "control"),
    "no value": (b"p6,,1", "prompt", "missing"),
    "no id": (b",x,1", "prompt", "missing"),
    "100,000 characters": (b"p8," + b"x" * 100_000 + b",1", "prompt", "too_long"),
    "an id of two lines": (b'"p\n9",x,1', "prompt", "id"),
    "no partner": (b"p10,x,99", "join", "unmatched"),
    "past the model's context": (b"p11," + b"y" * 500 + b",1", "enhance", "too_long"),
}


def test_every_bad_row_is_a_dead_letter_and_the_rest_goes_on(
    here: None, tmp_path: Path, painter: str, writer: str
) -> None:
    good = [f"g{number},a fox,{number % 2 + 1}".encode() for number in range(9)]
    bad = [line for line, _, _ in POISON.values()]
    lines = [line for pair in zip(good, bad, strict=False) for line in pair]
    lines += bad[len(good) :]
    (tmp_path / "t.csv").write_bytes(b"id,text,kind\n" + b"\n".join(lines) + b"\n")
    (tmp_path / "d.csv").write_text("kind,hat\n1,cap\n2,crown\n3,never used\n")
    artifact = generate(
        tmp_path / "out",
        input=str(tmp_path / "t.csv"),
        join={"input": str(tmp_path / "d.csv"), "on": ["kind"]},
        prompt="{text} {hat}",
        enhance={"model": writer, "max_new_tokens": 4, "system_prompt": "."},
        draw=drawing(painter),
        piece_rows=4,
        max_bad_share=0.7,
    )
    assert [row["id"] for row in rows(artifact)] == [f"g{number}" for number in range(9)]
    found = Counter((row["stage"], row["reason"]) for row in dead(artifact))
    expected = Counter((stage, reason) for _, stage, reason in POISON.values())
    expected["join", "unmatched"] += 1  # the details that no row asks for
    assert found == expected
    assert artifact.manifest.metadata["num_rejected"] == len(POISON) + 1
    by_reason = {row["reason"]: row for row in dead(artifact)}
    assert by_reason["encoding"]["id"].startswith("t.csv line ")
    assert by_reason["unmatched"]["detail"]


def test_too_many_bad_rows_stop_the_job_and_publish_nothing(
    here: None, tmp_path: Path, painter: str
) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,text\n1,a\n2,b\n3,\n")
    with pytest.raises(DarkroomError, match=r"1 of 3 rows \(33.3%\).*1 missing.*t.csv line 4"):
        generate(
            tmp_path / "out", input=str(tmp_path / "t.csv"), prompt="{text}",
            draw=drawing(painter), max_bad_share=0.3,
        )  # fmt: skip
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize(
    ("data", "values", "message"),
    [
        ("id,text\n1,a\n2,b\n1,c\n", {}, "'1'.*more than one row"),
        ("id,text\n1,a\n", {"prompt": "{txt}"}, "did you mean 'text'"),
        ("name,text\n1,a\n", {}, "names 'id', which is no column"),
        ("id,text\n", {}, "has no rows"),
        ("id,text\n1,a\n", {"join": {"input": "{tmp}/t.csv", "on": ["key"]}}, "is no column of"),
    ],
)
def test_tables_that_cannot_work_are_refused_before_anything_is_written(
    data: str, values: dict[str, Any], message: str, tmp_path: Path, painter: str
) -> None:
    (tmp_path / "t.csv").write_text(data)
    if "join" in values:
        values = {"join": {**values["join"], "input": str(tmp_path / "t.csv")}}
    settings = {"input": str(tmp_path / "t.csv"), "prompt": "{text}", "draw": drawing(painter)}
    with pytest.raises(DataError, match=message):
        generate(tmp_path / "out", **{**settings, **values})
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_kept_by_resume(here: None, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,a\n")
    settings = {
        "input": str(tmp_path / "t.csv"),
        "prompt": "{text}",
        "draw": None,
    }
    first = generate(tmp_path / "out", **settings)
    assert generate(tmp_path / "out", on_existing="resume", **settings).digest == first.digest
    (tmp_path / "t.csv").write_text("id,text\n1,b\n")
    with pytest.raises(DarkroomError, match=r"resume|source"):
        generate(tmp_path / "out", on_existing="resume", **settings)
    assert parse_uri(tmp_path / "out") == first.uri
