"""FSDP2 on two ranks of gloo: the replicated run's losses, equal bits after a resume, no memory.

The batch of five rows has unequal shares, and the last step one row, so a rank makes passes that
count nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers.sharded_ranks import BATCH_SIZE, Scenario, run
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tiny_families import save_tiny
from tests.helpers.training import train_config

from darkroom.errors import ConfigError
from darkroom.jobs.train.job import run as train

FULL: dict[str, Any] = {"method": "full", "gradient_checkpointing": True}
LORA: dict[str, Any] = {
    "lora": {"rank": 1, "targets": "all"}, "text_encoder": {"learning_rate": 1e-3}
}  # fmt: skip
"""Of rank 1: some shares are empty."""


CASES = {"full": (FULL, BATCH_SIZE), "lora": (LORA, 1)}
FULL_MEMORY = Scenario(FULL, full_rank=0, micro_batch_size=4)


def scenarios(changes: dict[str, Any], micro_batch_size: int, saved: str) -> list[Scenario]:
    """Undisturbed; resumed; resumed and trained by one rank that has all; by such a rank alone."""
    common: dict[str, Any] = {
        "changes": changes, "micro_batch_size": micro_batch_size, "short_step": 2
    }  # fmt: skip
    return [
        Scenario(**common, steps=(0, 3), save_at=1, save_to=saved),
        Scenario(**common, begin_from=saved, steps=(1, 3)),
        Scenario(**common, begin_from=saved, steps=(1, 3), sharded=False, num_ranks=1),
        Scenario(**common, steps=(0, 3), sharded=False, num_ranks=1),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    save_tiny("sd", folder / "base")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    """Of all scenarios, by case: from one process, which loads torch once."""
    asked = {name: scenarios(*case, name) for name, case in CASES.items()}
    asked["full memory"] = [FULL_MEMORY]
    found = iter(run(folder, [each for some in asked.values() for each in some]))
    return {name: [next(found) for _ in some] for name, some in asked.items()}


@pytest.mark.parametrize("case", CASES)
def test_shares_train_as_whole_networks_do_and_resume_to_equal_bits(
    case: str, folder: Path, results: dict[str, Any]
) -> None:
    undisturbed, resumed, elsewhere, whole = results[case]
    for what in ("losses", "norms"):
        assert resumed[what] == undisturbed[what][1:]
        assert elsewhere[what] == pytest.approx(undisturbed[what][1:], rel=1e-4)
        assert whole[what] == pytest.approx(undisturbed[what], rel=1e-4)
    assert whole["losses"] == pytest.approx(undisturbed["losses"], rel=1e-5)
    assert resumed["validated"] == undisturbed["validated"]
    assert elsewhere["validated"] == pytest.approx(undisturbed["validated"], rel=1e-5)
    first, second = (
        sum(file.stat().st_size for file in (folder / case / "shards").glob(f"shard-0000{n}-*"))
        for n in (1, 2)
    )
    assert min(first, second) > 0.1 * (first + second)


def test_a_rank_whose_memory_is_full_ends_the_attempt_with_what_happened(
    results: dict[str, Any],
) -> None:
    (result,) = results["full memory"]
    assert result["ended"] == {
        "step": 0, "rank": 0, "micro_batch_size": 4, "new_micro_batch_size": 2
    }  # fmt: skip


def test_a_verb_whose_networks_fit_refuses(tmp_path: Path) -> None:
    publish_digits(tmp_path / "data")
    sharded = {"num_workers": 2, "sharding": "fsdp2"}
    config = train_config(str(tmp_path / "data"), str(tmp_path / "out"), workers=sharded)
    with pytest.raises(ConfigError, match=r"workers\.sharding"):
        train(config)
