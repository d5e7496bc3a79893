"""Faults between a job and the real S3 server: it completes, or stops with one clear line.

Either way nothing bad is published, no wrong byte is loaded, and the same command run again
completes. Here each kind of fault strikes at every twelfth call, in `proofs/test_call_sweep.py` at
each.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from tests.helpers.fault_proxy import ONE_SHOT, Fault, FaultKind, FaultProxy
from tests.helpers.small_run import check_published, read_run, run

from darkroom.errors import StorageAccessError, StorageError
from darkroom.storage import PartWriter, open_store, parse_uri, s3_client

STRIDE = 12


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
        before = fault_proxy.num_calls
        thread.start()
        while thread.is_alive() and fault_proxy.num_calls < before + 4:
            time.sleep(0.02)
        assert thread.is_alive()
    thread.join()
    assert not failures


READ = """
import pickle, sys
from darkroom.storage import open_store
sent = pickle.load(sys.stdin.buffer)
print(open_store(sent["uri"]).get("object").decode())
"""


@pytest.mark.parametrize("sent", ["writer", "store", "nothing"])
def test_a_process_that_begins_in_an_outage_sits_it_out(
    sent: str, bucket_uri: str, fault_proxy: FaultProxy
) -> None:
    """As a task of a job does, told by what it is sent; one that stands alone gives up soon."""
    store = open_store(bucket_uri)
    store.put("object", b"whole")
    writer = PartWriter(parse_uri(bucket_uri), "attempt")
    work = {"uri": bucket_uri, "sent": {"writer": writer, "store": store, "nothing": None}[sent]}
    with subprocess.Popen(
        [sys.executable, "-c", READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        with fault_proxy.outage():
            before = fault_proxy.num_calls
            assert child.stdin is not None
            child.stdin.write(pickle.dumps(work))
            child.stdin.close()
            child.stdin = None
            while child.poll() is None and fault_proxy.num_calls <= before + s3_client.FIRST_TRIES:
                time.sleep(0.02)
            if sent == "nothing":
                child.wait()
        out, said = child.communicate()
    assert (child.returncode == 0) == (sent != "nothing"), said
    assert out.decode().strip() == ("" if sent == "nothing" else "whole")


@pytest.mark.parametrize("outage_seconds", [60.0, 1.0])
def test_botocore_giving_up_ends_no_wait(
    outage_seconds: float, bucket_uri: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two attempts it gives up within a second, as it does when its quota is used up."""
    gives_up = outage_seconds < 60
    monkeypatch.setattr(s3_client, "PATIENT_TRIES", 2)
    monkeypatch.setattr(s3_client, "OUTAGE_PAUSE_SECONDS", (0.1, 0.2))
    monkeypatch.setattr(s3_client, "OUTAGE_SECONDS", outage_seconds)
    store = open_store(bucket_uri)
    store.put("object", b"whole")
    with ThreadPoolExecutor() as pool:
        with fault_proxy.outage():
            before = fault_proxy.num_calls
            answers = [pool.submit(store.get, "object") for _ in range(4)]
            if gives_up:
                wait(answers)
            while not gives_up and fault_proxy.num_calls < before + 4 * 5:
                time.sleep(0.02)
        for answer in answers:
            if gives_up:
                with pytest.raises(StorageError, match="run the same command again"):
                    answer.result()
            else:
                assert answer.result() == b"whole"


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
