"""Prior preservation: each row of a step has its row of the class, however the step is shared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.encoded_runs import cached
from tests.helpers.finetuning import batch_of, finetune_config
from tests.helpers.tiny_families import save_tiny

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.job import run
from darkroom.jobs.finetune.loss_aids import find_aids
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.finetune.prior import PriorRows
from darkroom.jobs.training.training_stream import Batch, part
from darkroom.models.families.base import load_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd", tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "class"
    publish_captioned(folder, num_each=2)
    return folder


def config_with(base: Path, pictures: Path, weight: float = 1.0) -> FinetuneConfig:
    losses = {"prior_preservation": {"input": str(pictures), "weight": weight}}
    return finetune_config(base, losses=losses, objective={"caption_dropout": 0.0})


def rows_of(config: FinetuneConfig) -> PriorRows:
    rows = find_aids(config.losses).prior_rows(config)
    assert rows is not None
    return rows


def step_batch(step: int) -> Batch:
    batch = batch_of(4)
    batch["step"] = step
    return batch


def test_rows_are_the_steps_own_however_it_is_shared_out(base: Path, pictures: Path) -> None:
    config = config_with(base, pictures)
    seen = set()
    for step in range(4):
        whole = rows_of(config).with_prior(step_batch(step))
        parts = [
            rows_of(config).with_prior(part(step_batch(step), first, last))
            for first, last in ((0, 1), (1, 4))
        ]
        for name in ("row", "image"):
            assert torch.equal(whole[name][4:], torch.cat([parts[0][name][1:], parts[1][name][3:]]))
        assert whole["caption"][4:] == [*parts[0]["caption"][1:], *parts[1]["caption"][3:]]
        assert torch.equal(whole["image"][:4], step_batch(step)["image"])
        seen |= set(whole["row"][4:].tolist())
    assert len(seen) == 8  # all of the class, twice in four steps
    assert not seen & set(step_batch(0)["row"].tolist())


def test_loss_is_the_subjects_and_the_classs_times_its_weight(base: Path, pictures: Path) -> None:
    losses = {}
    for weight in (0.5, 2.0):
        config = config_with(base, pictures, weight)
        torch.manual_seed(0)
        module = FinetuneModule(
            config, load_base(base, field="base", name="base"), prior=rows_of(config)
        )
        module.prepare()
        with torch.no_grad():
            total = module.training_losses(step_batch(0))
        assert total.shape == (4,)
        terms = {name: value.item() for name, value in module.term_sums.items()}
        assert total.sum().item() == pytest.approx(
            terms["mse"] + weight * terms["prior_preservation"], rel=1e-5
        )
        losses[weight] = terms
    assert losses[0.5] == losses[2.0]
    # The subject's rows do not depend on the class's.
    with torch.no_grad():
        plain = FinetuneModule(
            finetune_config(base, objective={"caption_dropout": 0.0}),
            load_base(base, field="base", name="base"),
        )
        plain.prepare()
        subject = plain.training_losses(step_batch(0)).sum().item()
    assert subject == pytest.approx(losses[0.5]["mse"], rel=1e-4)


def test_pictures_of_another_size_are_refused(base: Path, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    publish_captioned(other, side=16, num_each=2)
    config = config_with(base, other).model_copy(
        update={"input": str(pictures), "output": str(tmp_path / "output")}
    )
    with pytest.raises(
        DataError, match=r"has pictures of 3 x 16 x 16, and the input's are 3 x 32 x 32"
    ):
        run(config)
    assert not (tmp_path / "output").exists()


def test_a_cache_beside_it_is_refused(base: Path, pictures: Path, tmp_path: Path) -> None:
    cached(base, str(pictures), tmp_path / "cache")
    config = config_with(base, pictures).model_copy(
        update={
            "input": str(pictures), "output": str(tmp_path / "output"),
            "cache": str(tmp_path / "cache"),
        }
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"losses.prior_preservation: its pictures are encoded"):
        run(config)
