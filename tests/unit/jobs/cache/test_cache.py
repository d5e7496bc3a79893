"""`darkroom cache` in this process: values are diffusers' own, and only what changed is encoded."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.helpers.cache_runs import PICTURES, cache_config, cached_here, publish_pictures
from tests.helpers.pictures import decoded
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts.latents import Latents, LatentsInfo
from darkroom.jobs.batch.stage import StageFunction
from darkroom.jobs.rejects import DEAD_LETTERS_NAME, Rejects
from darkroom.storage import lineage

NUM_ROWS = len(PICTURES)
FLIPS = {"variants": 3, "augment": {"horizontal_flip": 0.5, "crop": {"min_area": 0.5}}}
TOLERANCE = 1e-5  # batch mates


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(root: Path) -> Path:
    return save_tiny("sd", root / "sd")


@pytest.fixture(scope="module")
def data(root: Path) -> str:
    return str(publish_pictures(str(root / "data")).uri)


@pytest.fixture(scope="module")
def first(root: Path, model: Path, data: str) -> Latents:
    return cached_here(cache_config(data, str(root / "first"), model))


def counts(latents: Latents) -> tuple[int, int, int]:
    info = latents.info
    return info.num_encoded, info.num_reused, info.num_texts_encoded


def with_other_vae(model: Path, folder: Path) -> Path:
    """The same model with another VAE."""
    shutil.copytree(model, folder)
    vae = diffusers.AutoencoderKL.from_pretrained(model, subfolder="vae")
    with torch.no_grad():
        vae.quant_conv.weight.add_(0.01)
    vae.save_pretrained(folder / "vae")
    return folder


@torch.no_grad()
def test_values_are_what_diffusers_encodes(first: Latents, model: Path) -> None:
    plain = diffusers.DiffusionPipeline.from_pretrained(model, local_files_only=True)
    rows = list(first.rows())
    assert [row.id for row in rows] == list(PICTURES)
    assert counts(first) == (NUM_ROWS, 0, NUM_ROWS)
    for row in rows:
        picture = PICTURES[row.id]
        assert (row.width, row.height) == picture.size
        assert row.caption == picture.caption
        x = torch.from_numpy(decoded(picture.data).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        found = plain.vae.encode(x).latent_dist
        noise = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(1))
        drawn = row.mean + np.exp(0.5 * row.log_variance) * noise.numpy()
        wanted = found.sample(torch.Generator().manual_seed(1)).numpy()
        np.testing.assert_allclose(drawn, wanted, atol=TOLERANCE)
        text, _ = plain.encode_prompt(row.caption, "cpu", 1, do_classifier_free_guidance=False)
        np.testing.assert_allclose(row.text.sequence, text[0].numpy(), atol=TOLERANCE)
        assert row.text.pooled is None
    nothing, _ = plain.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)
    np.testing.assert_allclose(first.no_text().sequence, nothing[0].numpy(), atol=TOLERANCE)


def test_rows_keep_their_split_and_size(first: Latents) -> None:
    assert [row.id for row in first.rows("validation")] == ["e"]
    sizes = [PICTURES[row_id].size[::-1] for row_id in PICTURES]
    assert list(map(tuple, first.sizes().tolist())) == sizes
    assert first.info.split_rows == {"train": 4, "validation": 1, "test": 0}


def test_lineage_leads_to_the_data_and_the_model(first: Latents, data: str, model: Path) -> None:
    assert lineage(str(first.artifact.uri)).ok
    assert {parent.role for parent in first.artifact.manifest.parents} == {"data", "base"}
    assert {str(parent.uri) for parent in first.artifact.manifest.parents} >= {data}


def test_a_second_run_encodes_nothing_and_is_equal(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    again = cached_here(
        cache_config(data, str(root / "again"), model, reuse=str(first.artifact.uri))
    )
    assert counts(again) == (0, NUM_ROWS, 0)
    assert again.artifact.content_digest == first.artifact.content_digest
    replaced = cached_here(
        cache_config(data, str(root / "again"), model, on_existing="overwrite", seed=1)
    )
    assert counts(replaced) == (0, NUM_ROWS, 0)  # what is replaced is not made anew
    assert replaced.artifact.content_digest == first.artifact.content_digest


def test_one_changed_picture_or_caption_is_encoded_anew(
    root: Path, model: Path, first: Latents
) -> None:
    changed = {
        **PICTURES,
        "b": replace(PICTURES["b"], name="astronaut"),
        "c": replace(PICTURES["c"], caption="an espresso"),
    }
    data = publish_pictures(str(root / "changed-data"), changed)
    config = cache_config(
        str(data.uri), str(root / "changed"), model, reuse=str(first.artifact.uri)
    )
    second = cached_here(config)
    assert counts(second) == (1, NUM_ROWS - 1, 1)
    before, after = ({row.id: row for row in latents.rows()} for latents in (first, second))
    for row_id in PICTURES:
        assert np.array_equal(before[row_id].mean, after[row_id].mean) == (row_id != "b")
        same = np.array_equal(before[row_id].text.sequence, after[row_id].text.sequence)
        assert same == (row_id != "c")


def test_another_vae_encodes_all_pictures_and_no_caption(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    other = with_other_vae(model, root / "other")
    config = cache_config(data, str(root / "vae"), other, reuse=str(first.artifact.uri))
    second = cached_here(config)
    assert counts(second) == (NUM_ROWS, 0, 0)
    assert second.info.text_digest == first.info.text_digest
    assert second.no_text().sequence.tolist() == first.no_text().sequence.tolist()


def test_other_settings_of_what_is_stored_take_nothing(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    config = cache_config(
        data, str(root / "half"), model, reuse=str(first.artifact.uri), stored_dtype="float16"
    )
    half = cached_here(config)
    assert counts(half) == (NUM_ROWS, 0, NUM_ROWS)
    for row, exact in zip(half.rows(), first.rows(), strict=True):
        np.testing.assert_allclose(row.mean, exact.mean, atol=2e-3)


def test_variants_are_so_many_encodings_and_the_first_is_the_picture(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    config = cache_config(
        data, str(root / "variants"), model, reuse=str(first.artifact.uri), **FLIPS
    )
    varied = cached_here(config)
    assert counts(varied) == (2 * NUM_ROWS, NUM_ROWS, 0)
    for row, single in zip(varied.rows(), first.rows(), strict=True):
        assert row.mean.shape == (3, *single.mean.shape[1:])
        assert np.array_equal(row.mean[0], single.mean[0])
        assert len({encoding.tobytes() for encoding in row.mean}) == 3
    fewer = cached_here(
        cache_config(
            data, str(root / "fewer"), model, reuse=str(varied.artifact.uri),
            **{**FLIPS, "variants": 2},
        )
    )  # fmt: skip
    assert counts(fewer) == (0, 2 * NUM_ROWS, 0)


def test_a_flip_is_the_encoding_of_the_mirrored_picture(root: Path, model: Path, data: str) -> None:
    flipped = cached_here(
        cache_config(
            data, str(root / "flipped"), model, variants=2, augment={"horizontal_flip": 1.0}
        )
    )
    vae = diffusers.AutoencoderKL.from_pretrained(model, subfolder="vae")
    for row in flipped.rows():
        x = torch.from_numpy(decoded(PICTURES[row.id].data)[:, ::-1].copy()).permute(2, 0, 1)
        with torch.no_grad():
            mean = vae.encode(x[None] / 127.5 - 1).latent_dist.mean
        np.testing.assert_allclose(row.mean[1], mean[0].numpy(), atol=TOLERANCE)


def test_sdxl_has_a_pooled_embedding_and_zeros_for_no_caption(root: Path, data: str) -> None:
    found = cached_here(cache_config(data, str(root / "xl"), save_tiny("sdxl", root / "sdxl")))
    assert found.info.family == "sdxl"
    row = next(found.rows())
    assert row.text.pooled is not None
    assert row.text.pooled.any()
    nothing = found.no_text()
    assert nothing.pooled is not None
    assert nothing.sequence.shape == row.text.sequence.shape
    assert not nothing.sequence.any()
    assert not nothing.pooled.any()


class _Poisoned:
    """The encoding stage, whose encoder gives NaN for some pictures."""

    def __init__(self, function: Any, level: float) -> None:
        self._function, self._level = function, level
        self._encoder = function._encoder
        function._encoder = self

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        return self._function(table, rejects)

    def posterior(self, x_BCHW: torch.Tensor) -> Any:
        found = self._encoder.posterior(x_BCHW)
        mean = found.mean.clone()
        mean[x_BCHW.mean((1, 2, 3)) < self._level] = torch.nan
        return replace(found, mean=mean)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def test_what_is_not_finite_is_a_dead_letter_and_its_batch_mates_stay(
    root: Path, model: Path, data: str
) -> None:
    levels = {one: decoded(picture.data).mean() for one, picture in PICTURES.items()}
    darkest = min(levels, key=levels.__getitem__)
    between = sum(sorted(levels.values())[:2]) / 2 / 127.5 - 1

    def poisoned(name: str, function: StageFunction) -> StageFunction:
        return _Poisoned(function, between) if name == "encode" else function

    found = cached_here(cache_config(data, str(root / "nan"), model), poisoned)
    (letter,) = found.artifact.read_table(DEAD_LETTERS_NAME).to_pylist()
    assert (letter["id"], letter["reason"]) == (darkest, "nan_latents")
    assert [row.id for row in found.rows()] == [one for one in PICTURES if one != darkest]


def test_long_captions_are_counted_and_those_without_are_dead_letters(
    root: Path, model: Path
) -> None:
    pictures = {
        **PICTURES,
        "a": replace(PICTURES["a"], caption="a very " + "long " * 80 + "caption"),
        "b": replace(PICTURES["b"], caption=None),
    }
    data = publish_pictures(str(root / "long-data"), pictures)
    found = cached_here(cache_config(str(data.uri), str(root / "long"), model))
    assert found.info.num_truncated == 1
    assert [row.id for row in found.rows() if row.is_truncated] == ["a"]
    plain = diffusers.DiffusionPipeline.from_pretrained(model, local_files_only=True)
    with torch.no_grad():
        text, _ = plain.encode_prompt(
            pictures["a"].caption, "cpu", 1, do_classifier_free_guidance=False
        )
    row = next(row for row in found.rows() if row.id == "a")
    np.testing.assert_allclose(row.text.sequence, text[0].numpy(), atol=TOLERANCE)
    assert found.info.rejected == {"no_caption": 1}
    kept = cached_here(
        cache_config(str(data.uri), str(root / "long-again"), model, reuse=str(found.artifact.uri))
    )
    assert kept.info.num_truncated == 1


def test_a_run_that_broke_off_goes_on_without_doing_anything_twice(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    config = cache_config(data, str(root / "broken"), model, piece_rows=1)
    met: list[str] = []

    def failing(fails: bool) -> Any:
        def wrap(name: str, function: StageFunction) -> StageFunction:
            def counted(table: pa.Table, rejects: Rejects) -> pa.Table:
                if name == "encode":
                    if fails and len(met) == 2:
                        raise KeyboardInterrupt
                    met.extend(table["id"].to_pylist())
                return function(table, rejects)

            return counted

        return wrap

    with pytest.raises(KeyboardInterrupt):
        cached_here(config, failing(True))
    found = cached_here(config, failing(False))
    assert met == list(PICTURES)
    assert found.info.num_encoded == NUM_ROWS
    assert [row.id for row in found.rows()] == [row.id for row in first.rows()]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"variants": 2}, "2 variants without a transformation repeat the same encoding"),
        ({"augment": {"horizontal_flip": 0.5}}, "a single encoding holds no transformation"),
        ({"variants": 0}, "variants"),
        ({"encoders": {"precision": "int8"}}, "encoders.precision"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        cache_config("data", "out", "model", **values)
    assert "\n" not in str(caught.value)


def test_input_that_does_not_fit_is_one_line_and_nothing_is_written(
    root: Path, model: Path, data: str, first: Latents
) -> None:
    mixed = publish_pictures(str(root / "mixed"), in_buckets=False)
    odd = publish_pictures(
        str(root / "odd"), {**PICTURES, "a": replace(PICTURES["a"], size=(47, 31))}
    )
    empty = root / "empty"
    empty.mkdir()
    (empty / "a.txt").write_text("a")
    for values, error, line in [
        ({"input": str(mixed.uri)}, DataError, "differ in size, and are in no buckets; prepare it"),
        ({"input": str(odd.uri)}, DataError, "has pictures of 31x47 .* takes multiples of 2"),
        ({"input": str(first.artifact.uri)}, DataError, "holds a latents; give the URI of a data"),
        ({"reuse": data}, DataError, "holds a dataset; give the URI of a latents"),
        ({"base": str(empty)}, ConfigError, "is no diffusers folder"),
        ({"base": str(root / "none")}, ConfigError, "no model lies there"),
    ]:
        config = cache_config(data, str(root / "nothing"), model).model_copy(update=values)
        with pytest.raises(error, match=line) as caught:
            cached_here(config)
        assert "\n" not in str(caught.value)
        assert not (root / "nothing").exists()


def test_the_kind_is_of_the_info(first: Latents) -> None:
    assert LatentsInfo.of(first.artifact) == first.info
