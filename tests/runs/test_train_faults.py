"""What the user can mend ends a run at once, and no run ends for what the chain renews by itself.

The keys come from a real `credential_process` (`tests/helpers/short_lived_keys.py`). All runs share
one Ray.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.helpers.fault_proxy import FaultKind
from tests.helpers.short_lived_keys import BUCKET, FIRST, SECOND, ShortLivedKeys, short_lived_keys
from tests.helpers.tiny_artifacts import parquet, publish_digits
from tests.helpers.training import pointer_of, train_config, weights_digest

from darkroom.config import JobConfig
from darkroom.errors import DataError, InputError, StorageAccessError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.session import ray_session
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import run
from darkroom.storage import Artifact, open_artifact, open_output

STEPS = 120
"""More than a fast machine does in the second that a row takes to the driver."""
FAULT_AT = 20
FAULTS: dict[FaultKind, str] = {
    "expired_token": "they have expired",
    "skewed_clock": "set the clock",
}
DATA = f"s3://{BUCKET}/data"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShortLivedKeys]:
    with short_lived_keys(tmp_path_factory.mktemp("faults")) as keys:
        publish_digits(DATA)
        with ray_session():
            yield keys


@pytest.fixture
def fresh(place: ShortLivedKeys) -> Iterator[ShortLivedKeys]:
    """Everything mended, and the first key in force."""
    place.hand_out(FIRST)
    yield place
    place.mend()


@pytest.fixture(scope="module")
def undisturbed(place: ShortLivedKeys) -> Artifact:
    place.hand_out(FIRST)
    config = settings_of(DATA, "undisturbed", num_workers=0)
    run(config)
    return open_artifact(config.output)


def settings_of(data: str, name: str, *, num_workers: int = 1) -> TrainConfig:
    return train_config(
        data, f"s3://{BUCKET}/{name}", max_steps=STEPS, workers={"num_workers": num_workers},
        checkpoint={"asynchronous": True},
    )  # fmt: skip


def acting(acts: Mapping[int, Callable[[], None]]) -> Callable[[Mapping[str, Any]], None]:
    """Does each act when a row of its step or later is seen."""
    left = dict(sorted(acts.items()))

    def on_row(row: Mapping[str, Any]) -> None:
        for step in [step for step in left if row["step"] >= step][:1]:
            left.pop(step)()

    return on_row


def once_saved(
    output: str, step: int, act: Callable[[], None]
) -> Callable[[Mapping[str, Any]], None]:
    """Acts at the first row that comes when a checkpoint beyond that step is published."""
    acted = False

    def on_row(_row: Mapping[str, Any]) -> None:
        nonlocal acted
        if acted:
            return
        state = pointer_of(output)
        if state is not None and state.step > max(step, 0):
            acted = True
            act()

    return on_row


def refusing(keys: ShortLivedKeys, kind: FaultKind, began: list[float]) -> None:
    """Has the server refuse, and notes when."""
    began.append(time.monotonic())
    keys.refuse(kind)


def noting(
    seen: list[int], act: Callable[[Mapping[str, Any]], None], row: Mapping[str, Any]
) -> None:
    """Notes the step of each row before something is done about it."""
    seen.append(row["step"])
    act(row)


def endings(model: Artifact) -> list[str | None]:
    account = ModelInfo.of(model).account
    assert account is not None
    return [attempt.ending for attempt in account.attempts]


@pytest.mark.timeout(1800)
def test_keys_that_are_renewed_end_nothing(fresh: ShortLivedKeys, undisturbed: Artifact) -> None:
    """First keys that do not say when they end, and are refused; then keys that say it."""

    def renew() -> None:
        fresh.hand_out(SECOND, with_expiry=True)
        fresh.refuse("expired_token", FIRST)

    def renew_again() -> None:
        fresh.mend()
        fresh.hand_out(FIRST, with_expiry=True)
        fresh.refuse("expired_token", SECOND)

    config = settings_of(DATA, "renewed")
    run(config, on_row=acting({FAULT_AT: renew, 2 * FAULT_AT: renew_again}))
    model = open_artifact(config.output)
    assert endings(model) == ["completed"]
    assert weights_digest(model) == weights_digest(undisturbed)


@pytest.mark.timeout(1800)
def test_what_the_user_can_mend_ends_the_run_without_a_restart(
    fresh: ShortLivedKeys, undisturbed: Artifact
) -> None:
    config = settings_of(DATA, "mended")
    stopped_at = [-1]  # a run that is not stopped shows what it is before its first step
    for kind, says in FAULTS.items():
        seen: list[int] = []
        began: list[float] = []
        refuse = once_saved(config.output, max(stopped_at), partial(refusing, fresh, kind, began))
        with pytest.raises(StorageAccessError, match=says) as caught:
            run(config, on_row=partial(noting, seen, refuse))
        sys.stdout.write(f"{kind}: over after {time.monotonic() - began[0]:.1f} s\n")
        assert min(seen) > stopped_at[-1]
        assert_one_line(caught.value)
        fresh.mend()
        stopped = pointer_of(config.output)
        assert stopped is not None
        assert stopped.step < STEPS
        stopped_at.append(stopped.step)
    run(settings_of(DATA, "mended", num_workers=0))
    model = open_artifact(config.output)
    account = ModelInfo.of(model).account
    assert account is not None
    assert len(account.attempts) == len(stopped_at)
    assert account.attempts[-1].first_step == stopped_at[-1]
    assert len({attempt.driver for attempt in account.attempts}) == len(account.attempts)
    # The store that refuses takes no last word.
    assert {attempt.ending for attempt in account.attempts[:-1]} <= {"failed", "killed"}
    assert weights_digest(model) == weights_digest(undisturbed)


@pytest.mark.timeout(1800)
def test_a_row_that_cannot_be_read_ends_the_run(fresh: ShortLivedKeys) -> None:
    """On the one rank whose row it is; the other waits for it in a collective operation."""
    good = open_artifact(DATA)
    (entry,) = good.entries("data/train/")
    rows = pq.read_table(io.BytesIO(good.read_bytes(entry.name))).to_pylist()
    rows[700]["image"] = rows[700]["image"][:40]
    damaged = f"s3://{BUCKET}/damaged"
    with open_output(damaged, kind="dataset", config=JobConfig(output=damaged)) as output:
        file = output.writer.write_bytes(
            entry.name, parquet(rows, row_group_rows=512), rows=len(rows),
            metadata=dict(entry.metadata),
        )  # fmt: skip
        output.publish([file], rows=len(rows), metadata=good.manifest.metadata)
    with pytest.raises(DataError, match=r"row train-0700.*cannot be read") as caught:
        run(settings_of(damaged, "from-damaged", num_workers=2))
    assert_one_line(caught.value)


def assert_one_line(error: InputError) -> None:
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert "restart" not in str(error)
