"""What fits a cluster and what would wait for ever, by a table of both."""

from __future__ import annotations

import math

import pytest

from darkroom.errors import ConfigError
from darkroom.jobs.batch.preflight import check_fits, cpus_needed
from darkroom.jobs.batch.stage import WRITING, Workers


def actors(count: int, *, cpus: float = 0.0, gpus: float = 0.0, name: str = "model") -> Workers:
    return Workers(name=name, num_workers=count, actor=True, num_cpus=cpus, num_gpus=gpus)


READ = Workers(name="read", num_workers=8)


def test_every_actor_and_one_task_of_each_other_stage_must_fit() -> None:
    assert cpus_needed([READ, actors(3, cpus=2), WRITING]) == 1 + 3 * 2 + WRITING.num_cpus


def test_too_few_cpus_are_said_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        check_fits([READ, actors(3, cpus=2), WRITING], num_cpus=7, gpus_of_nodes=[])
    message = str(caught.value)
    assert "7.5" in message
    assert "model 3 x 2" in message
    assert "the cluster has 7" in message
    assert "\n" not in message
    check_fits([READ, actors(3, cpus=2), WRITING], num_cpus=7.5, gpus_of_nodes=[])


@pytest.mark.parametrize(
    ("stages", "gpus_of_nodes", "fits"),
    [
        ([actors(1, gpus=1)], [], False),
        ([actors(1, gpus=1)], [1], True),
        ([actors(2, gpus=1)], [1, 1], True),
        ([actors(1, gpus=2)], [1, 1], False),
        ([actors(1, gpus=2)], [1, 2], True),
        ([actors(1, gpus=0.3), actors(1, gpus=0.7, name="draw")], [1], True),
        ([actors(1, gpus=0.6), actors(1, gpus=0.6, name="draw")], [1], False),
        ([actors(1, gpus=0.6), actors(1, gpus=0.6, name="draw")], [2], True),
        ([actors(10, gpus=0.1)], [1], True),
        ([actors(11, gpus=0.1)], [1], False),
        ([actors(3, gpus=0.4)], [1], False),
        ([actors(1, gpus=1), actors(1, gpus=0.5, name="draw")], [1], False),
        ([actors(1, cpus=1)], [], True),
    ],
)
def test_gpu_shares_must_fit_onto_single_gpus(
    stages: list[Workers], gpus_of_nodes: list[float], fits: bool
) -> None:
    if fits:
        check_fits(stages, num_cpus=100, gpus_of_nodes=gpus_of_nodes)
        return
    with pytest.raises(ConfigError, match="GPUs are needed at once"):
        check_fits(stages, num_cpus=100, gpus_of_nodes=gpus_of_nodes)


def test_one_and_a_half_gpus_are_refused() -> None:
    with pytest.raises(ConfigError, match="no whole number"):
        check_fits([actors(1, gpus=1.5)], num_cpus=100, gpus_of_nodes=[4])


def test_a_cluster_that_grows_to_an_unknown_size_is_not_refused() -> None:
    check_fits([READ, actors(3, cpus=2, gpus=8), WRITING], num_cpus=math.inf, gpus_of_nodes=None)
    with pytest.raises(ConfigError, match="no whole number"):
        check_fits([actors(1, gpus=1.5)], num_cpus=math.inf, gpus_of_nodes=None)
