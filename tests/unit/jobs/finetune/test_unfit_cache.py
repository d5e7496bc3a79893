"""A cache that does not fit its run is refused in one line, before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.encoded_runs import cached
from tests.helpers.finetuning import finetune_config
from tests.helpers.tiny_families import save_tiny

from darkroom.config import JobConfig
from darkroom.errors import InputError
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.finetune.job import run
from darkroom.storage import open_artifact, open_output


@dataclass(frozen=True)
class Desk:
    """A base, data, and what was made of both."""

    root: Path
    base: Path
    data: Path
    cache: Path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    root = tmp_path_factory.mktemp("unfit")
    base = save_tiny("sd", root / "base")
    publish_captioned(root / "data", num_each=2)
    cached(base, str(root / "data"), root / "cache")
    return Desk(root, base, root / "data", root / "cache")


def refused(desk: Desk, tmp_path: Path, **changes: Any) -> str:
    """The one line; nothing is written."""
    output = tmp_path / "output"
    given = {"input": str(desk.data), "cache": str(desk.cache), "output": str(output), **changes}
    base = given.pop("base", desk.base)
    with pytest.raises(InputError) as caught:
        run(finetune_config(base, **given))
    assert not output.exists() or not list(output.rglob("*"))
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


def test_what_is_no_cache(desk: Desk, tmp_path: Path) -> None:
    assert re.match(
        r"cache: got '.*data', holds a dataset; give the URI of a latents",
        refused(desk, tmp_path, cache=str(desk.data)),
    )
    assert "nothing is published there; make it with" in refused(
        desk, tmp_path, cache=str(tmp_path / "none")
    )


def test_of_other_pictures(desk: Desk, tmp_path: Path) -> None:
    publish_captioned(tmp_path / "more", num_each=3)
    assert re.match(
        r"cache: got '.*cache', was made of other data than .*more; encode these",
        refused(desk, tmp_path, input=str(tmp_path / "more")),
    )


@pytest.mark.parametrize(
    ("component", "named"), [("vae", "VAE"), ("text_encoder", "text encoders")]
)
def test_by_another_model(desk: Desk, tmp_path: Path, component: str, named: str) -> None:
    import shutil

    other = save_tiny("sd", tmp_path / "other", seed=1)
    mixed = shutil.copytree(desk.base, tmp_path / "mixed")
    shutil.rmtree(mixed / component)
    shutil.copytree(other / component, mixed / component)
    assert f"was made with other {named} than those of base" in refused(desk, tmp_path, base=mixed)


def test_another_network_alone_is_no_other_encoder(desk: Desk, tmp_path: Path) -> None:
    import shutil

    from tests.helpers.encoded_runs import EncodedRun

    other = save_tiny("sd", tmp_path / "other", seed=1)
    mixed = shutil.copytree(desk.base, tmp_path / "mixed")
    shutil.rmtree(mixed / "unet")
    shutil.copytree(other / "unet", mixed / "unet")
    EncodedRun.of(mixed, str(desk.data), cache=str(desk.cache))


def test_of_another_size(desk: Desk, tmp_path: Path) -> None:
    """A cache that says that it is of these data, and has its pictures in another size."""
    publish_captioned(tmp_path / "larger", num_each=2, side=40)
    larger = cached(desk.base, str(tmp_path / "larger"), tmp_path / "larger-cache")
    output = str(tmp_path / "claims")
    parents = [open_artifact(desk.data).as_parent("data")]
    with open_output(
        output, kind="latents", config=JobConfig(output=output), parents=parents
    ) as claims:
        files = [
            claims.writer.write_bytes(
                entry.name, larger.artifact.read_bytes(entry.name), rows=entry.rows,
                metadata=entry.metadata,
            )
            for entry in larger.artifact.entries()
        ]  # fmt: skip
        claims.publish(files, metadata=larger.info.to_metadata())
    assert Latents.of(open_artifact(output)).info == larger.info
    assert re.match(
        r"cache: got '.*claims', has train-astronaut-0 in 40x40 \(height x width\), and the data "
        r"in 32x32",
        refused(desk, tmp_path, cache=output),
    )


def test_text_of_an_encoder_that_trains(desk: Desk, tmp_path: Path) -> None:
    line = refused(desk, tmp_path, text_encoder={"learning_rate": 1e-4})
    assert re.match(
        r"text_encoder: .*trains, and the cache .* holds what it made of captions before; leave "
        r"text_encoder out, or make the cache with text=false",
        line,
    )


def test_text_of_captions_that_are_shuffled(desk: Desk, tmp_path: Path) -> None:
    line = refused(desk, tmp_path, caption_shuffle={})
    assert re.match(
        r"caption_shuffle: .*changes captions, and the cache .* holds what was made of them; leave "
        r"it out, or make the cache with text=false",
        line,
    )


@pytest.mark.parametrize(("name", "done"), [("crop", "cropped"), ("color_jitter", "recoloured")])
def test_changes_that_no_variant_holds(name: str, done: str, desk: Desk, tmp_path: Path) -> None:
    line = refused(desk, tmp_path, data={name: {}})
    assert re.match(rf"data.{name}: .*holds no {done} pictures; make it with variants of 2", line)


def test_flips_that_no_variant_holds(desk: Desk, tmp_path: Path) -> None:
    line = refused(desk, tmp_path, data={"horizontal_flip": True})
    assert re.match(r"data.horizontal_flip: .*holds no mirrored pictures; make it with", line)
    crops = {"variants": 2, "augment": {"crop": {"min_area": 0.5}}}
    cached(desk.base, str(desk.data), tmp_path / "crops", **crops)
    flips = {"cache": str(tmp_path / "crops"), "data": {"horizontal_flip": True}}
    assert refused(desk, tmp_path, **flips) == line.replace(
        str(desk.cache), str(tmp_path / "crops")
    )


def test_too_few_of_the_rows(desk: Desk, tmp_path: Path) -> None:
    cached(desk.base, str(desk.data), tmp_path / "few", limit=1)
    assert "the training rows for 2 workers" in refused(
        desk, tmp_path, cache=str(tmp_path / "few"), workers={"num_workers": 2}
    )
