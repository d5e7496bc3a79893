"""What a study may ask for, and the one line that says what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.config_source import load_config, read_file
from darkroom.errors import InputError
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.tune.axes import FloatAxis
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.halving import rungs_of
from darkroom.jobs.tune.space import grid_points, in_order
from darkroom.plain_yaml import dump_yaml
from darkroom.recipes import get_recipe

RATE = {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}
KIND = {"kind": "choice", "values": ["constant", "cosine"]}
END = {
    "kind": "float",
    "low": 0.0,
    "high": 0.5,
    "points": 2,
    "when": {"lr_schedule.kind": ["cosine"]},
}


def values(**changes: Any) -> dict[str, Any]:
    return {
        "input": "/data",
        "output": "/study",
        "space": {"optimizer.learning_rate": RATE},
    } | changes


def study(**changes: Any) -> TuneConfig:
    return build_config(TuneConfig, values(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"optimizer.learning_rat": RATE}},
         r"^space\.optimizer\.learning_rat: no such field in a run; did you mean 'optimizer\.l"),
        ({"space": {"learning_rate": RATE}}, r"did you mean 'optimizer\.learning_rate'"),
        ({"space": {"optimizer": RATE}}, "space.optimizer: is a section; name one of its fields"),
        ({"space": {"optimizer.learning_rate": {**RATE, "low": 1, "high": 0.1}}},
         "low 1.0 is not below high 0.1, so the range is empty"),
        ({"space": {"optimizer.learning_rate": {**RATE, "low": 0.0}}}, "has no logarithm"),
        ({"space": {"ema.decay": {"kind": "float", "low": 0.9, "high": 1.5}}},
         r"space\.ema\.decay: got 1\.5, a run does not take it: input should be less than 1"),
        ({"space": {"batch_size": {"kind": "float", "low": 8, "high": 9.5}}},
         r"space\.batch_size: got 8\.0, a run does not take it"),
        ({"space": {"lr_schedule.kind": {"kind": "choice", "values": ["constant", "sine"]}}},
         r"space\.lr_schedule\.kind: got 'sine', a run does not take it"),
        ({"space": {"lr_schedule.kind": {"kind": "choice", "values": []}}}, "at least 1 item"),
        ({"space": {"lr_schedule.kind": {"kind": "choice", "values": ["linear", "linear"]}}},
         "stands there twice"),
        ({"space": {}}, "space: "),
        ({"space": {"seed": {"kind": "int", "low": 0, "high": 3}}}, "another seed is no better"),
        ({"space": {"optimizer.learning_rate": {**RATE, "when": {"lr_schedule.kid": ["x"]}}}},
         r"when\.lr_schedule\.kid: no such field in a run; did you mean 'lr_schedule\.kind'"),
        ({"objective": {"name": "loss"}}, r"objective\.name: got 'loss', the training loss says"),
        ({"objective": {"name": "clas_accuracy"}}, "did you mean 'class_accuracy'"),
        ({"verb": "finetune", "run": {"base": "/b"}, "objective": {"name": "class_accuracy"}},
         "is no objective of finetune; it has: validation_loss"),
        ({"verb": "sample"}, "verb: got 'sample'"),
        ({"space": {"schedule.num_timesteps": {"kind": "int", "low": 10, "high": 20}}},
         "makes validation losses that cannot be compared"),
        ({"space": {"validation.num_images": {"kind": "int", "low": 10, "high": 20}}},
         "changes what the trials are judged by"),
        ({"run": {"max_stps": 3}}, r"^run\.max_stps: unknown key; did you mean 'max_steps'\?"),
        ({"run": {"output": "/x"}}, r"run\.output: got '/x', each trial has its own; leave it out"),
        ({"space": {"batch_size": {"kind": "int", "low": 0, "high": 10**30}}},
         r"space\.batch_size: got 0, a run does not take it"),
        ({"run": {"batch_size": 0}}, r"^run\.batch_size: got 0, "),
        ({"run": {"data": {"ingest": "ray_data"}}}, r"run\.data\.ingest: .*set it to exact"),
        ({"run": {"workers": {"num_workers": 0}}, "objective": {"name": "class_accuracy"}},
         r"num_workers: got 0, makes each trial hold CPUs .*; set it to 1, or trials_at_once"),
        ({"on_existing": "overwrite"}, "never replaces; give another output"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        study(**changes)
    assert "\n" not in str(caught.value)


def test_a_figure_has_the_names_that_evaluate_knows() -> None:
    space = {"schedule.kind": {"kind": "choice", "values": ["linear", "cosine"]}}
    for name in ("kid_classifier", "kernel_classifier", "fid_inception"):
        assert study(space=space, objective={"name": name}).objective.name == name
    with pytest.raises(InputError, match="is no objective of train"):
        study(space=space, objective={"name": "memorisation"})


def test_axes_that_wait_for_each_other_are_refused() -> None:
    space = {
        "ema.decay": {"kind": "float", "low": 0.9, "high": 0.99, "when": {"batch_size": [64]}},
        "batch_size": {"kind": "choice", "values": [64], "when": {"ema.decay": [0.9]}},
    }
    with pytest.raises(InputError, match="break the circle"):
        study(space=space)


def test_a_figure_of_pictures_may_judge_what_a_loss_cannot() -> None:
    space = {"schedule.kind": {"kind": "choice", "values": ["linear", "cosine"]}}
    assert study(space=space, objective={"name": "class_accuracy"}).objective.is_measured
    with pytest.raises(InputError, match="without halving"):
        study(space=space, objective={"name": "class_accuracy"}, halving={})


def test_a_grid_has_every_combination_once_and_no_inactive_ones() -> None:
    config = study(
        space={"lr_schedule.kind": KIND, "lr_schedule.final_scale": END, "batch_size": {
            "kind": "int", "low": 64, "high": 128, "step": 64}},
        search={"kind": "grid"},
    )  # fmt: skip
    points = grid_points(config.space, config.base.to_dict())
    assert len(points) == 2 * (1 + 2)
    assert len({repr(point) for point in points}) == 6
    assert all(
        ("lr_schedule.final_scale" in point) == (point["lr_schedule.kind"] == "cosine")
        for point in points
    )
    # A condition on a field that is not tried looks at the run.
    alone = study(space={"lr_schedule.final_scale": END}, run={"lr_schedule": {"kind": "cosine"}})
    assert len(grid_points(alone.space, alone.base.to_dict())) == 2
    with pytest.raises(InputError, match=r"space\.optimizer\.learning_rate\.points: is required"):
        grid_points(study().space, study().base.to_dict())


def test_a_grid_that_nobody_waits_for_is_refused() -> None:
    space = {"batch_size": {"kind": "int", "low": 1, "high": 10**30}, "lr_schedule.kind": KIND}
    config = study(space=space, search={"kind": "grid"})
    with pytest.raises(InputError, match=r"search\.kind: got 'grid', makes 2,0+.* give fewer"):
        grid_points(config.space, config.base.to_dict())


def test_points_of_a_range_keep_its_ends() -> None:
    assert FloatAxis(low=1e-4, high=1e-2, log=True, points=3).grid() == pytest.approx(
        [1e-4, 1e-3, 1e-2]
    )
    assert FloatAxis(low=0.1, high=0.7, points=3).grid() == pytest.approx([0.1, 0.4, 0.7])
    assert FloatAxis(low=0.1, high=0.7, points=1).grid() == [0.1]


def test_the_order_of_a_space_is_not_that_of_its_file() -> None:
    space = {"lr_schedule.final_scale": END, "lr_schedule.kind": KIND, "batch_size": {
        "kind": "choice", "values": [64]}}  # fmt: skip
    one, other = study(space=space), study(space=dict(reversed(space.items())))
    assert in_order(one.space) == in_order(other.space)
    assert in_order(one.space) == ["batch_size", "lr_schedule.kind", "lr_schedule.final_scale"]
    assert one.digest == other.digest


def test_sections_of_a_space_are_dotted_names() -> None:
    config = load_config(
        TuneConfig,
        values=values(space={"lr_schedule": {"kind": KIND, "final_scale": END}}),
        settings=["space.optimizer.learning_rate={kind: float, low: 1e-4, high: 1e-2, log: true}"],
    )
    assert set(config.space) == {
        *("lr_schedule.kind", "lr_schedule.final_scale", "optimizer.learning_rate"),
    }


def test_a_study_is_the_same_on_other_machines() -> None:
    one = study(run={"max_steps": 5000, "workers": {"num_workers": 2}}, trials_at_once=2)
    other = study(run={"max_steps": 5000, "workers": {"num_workers": 4}}, trials_at_once=8)
    assert one.digest == other.digest
    assert study(run={"max_steps": 6000}).digest != one.digest


def test_a_run_has_what_is_tried_and_its_yaml_is_a_config_of_the_verb(tmp_path: Any) -> None:
    config = study(run={"max_steps": 5000, "seed": 3}, seed=9)
    run = config.run_config({"optimizer.learning_rate": 5e-3}, "/study/trials/0")
    assert (run.optimizer.learning_rate, run.max_steps, run.seed) == (5e-3, 5000, 3)
    assert (run.output, run.input, run.on_existing) == ("/study/trials/0", "/data", "resume")
    assert study(seed=9).base.seed == 9
    file = tmp_path / "best.yaml"
    file.write_text(dump_yaml({"version": 1, **run.to_dict()}))
    assert build_config(TrainConfig, read_file(file, TrainConfig)) == run


def test_rungs_are_below_the_last_step_and_never_before_a_validation() -> None:
    def rungs(first: int | None, every: int = 100, max_steps: int = 2000) -> tuple[int, ...]:
        config = study(
            run={"max_steps": max_steps, "validation": {"every_steps": every}},
            halving={"first_rung": first, "reduction_factor": 3},
        )
        return rungs_of(config.halving, config.base)

    assert rungs(100) == (100, 300, 900)
    assert rungs(None) == (250, 750)
    assert rungs(None, every=500) == (500, 1500)
    assert rungs_of(None, study().base) == ()
    with pytest.raises(InputError, match="before the first validation, at step 100"):
        rungs(50)
    with pytest.raises(InputError, match="leaves nothing of max_steps 2000"):
        rungs(2000)


def test_the_recipes_have_studies() -> None:
    for name in ("digits", "digits_smoke"):
        settings = get_recipe(name).settings(TuneConfig)
        config = build_config(TuneConfig, {**settings, "input": "/data", "output": "/study"})
        assert config.base.workers.num_workers == 0
