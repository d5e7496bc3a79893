"""Faults between a job and the real S3 server: it completes, or stops with one clear line.

Either way nothing bad is published, no wrong byte is loaded, and the same command run again
completes. Here each kind of fault strikes at every eighth call, in `proofs/test_call_sweep.py` at
each.
"""

from __future__ import annotations

import threading
import uuid

import pytest
from tests.helpers.fault_proxy import ONE_SHOT, Fault, FaultKind, FaultProxy
from tests.helpers.small_run import check_published, read_run, run

from darkroom.errors import StorageAccessError

STRIDE = 8


@pytest.fixture
def num_calls(bucket_uri: str, fault_proxy: FaultProxy) -> int:
    """Calls of one undisturbed run; it also proves the connection."""
    run(f"{bucket_uri}/undisturbed")
    return fault_proxy.num_calls


@pytest.mark.parametrize("kind", ONE_SHOT)
def test_one_fault_at_any_call_is_survived(
    kind: FaultKind, bucket_uri: str, fault_proxy: FaultProxy, num_calls: int
) -> None:
    for call in range(1 + ONE_SHOT.index(kind), num_calls + 1, STRIDE):
        fault = Fault(kind, first=call)
        uri = f"{bucket_uri}/{call}"
        with fault_proxy.inject(fault):
            run(uri)
        assert fault.num_struck == 1
        check_published(uri)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("expired_token", "expired"),
        ("skewed_clock", "clock"),
    ],
)
def test_what_lasts_stops_the_job_clearly_and_loses_nothing(
    kind: FaultKind, says: str, bucket_uri: str, fault_proxy: FaultProxy, num_calls: int
) -> None:
    for call in range(1, num_calls, 2 * STRIDE):
        uri = f"{bucket_uri}/{call}"
        with (
            fault_proxy.inject(Fault(kind, first=call, count=None)),
            pytest.raises(StorageAccessError) as caught,
        ):
            run(uri)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        check_published(uri)
        run(uri)


def test_an_outage_is_sat_out(bucket_uri: str, fault_proxy: FaultProxy, num_calls: int) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run(bucket_uri)
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)

    with fault_proxy.outage():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=4)
        assert thread.is_alive()
        assert fault_proxy.num_calls > num_calls
    thread.join()
    assert not failures


def test_a_trickle_is_waited_for(bucket_uri: str, fault_proxy: FaultProxy, num_calls: int) -> None:
    uri = f"{bucket_uri}/undisturbed"
    assert num_calls
    slow = Fault("trickle", method="GET", suffix="/data/b")
    with fault_proxy.inject(slow):
        read_run(uri)
    assert slow.num_struck == 1


@pytest.mark.parametrize("suffix", ["/manifest.json", "/latest.json", "/data/c", "/state"])
def test_bytes_that_stay_wrong_are_never_loaded(
    suffix: str, bucket_uri: str, fault_proxy: FaultProxy
) -> None:
    from darkroom.errors import IntegrityError

    uri = f"{bucket_uri}/{uuid.uuid4().hex}"
    run(uri)
    wrong = Fault("flipped", method="GET", suffix=suffix, count=None)
    with fault_proxy.inject(wrong), pytest.raises(IntegrityError) as caught:
        run(uri)
    assert wrong.num_struck >= 2
    assert "\n" not in str(caught.value)
    run(uri)
