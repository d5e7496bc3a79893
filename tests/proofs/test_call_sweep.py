"""Proof: one fault at each single call of a run in miniature, for every kind of fault.

The run always completes, every byte that it reads is right, and what it published is whole.
`build/proofs/call_sweep.json` has a row for each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.helpers.fault_proxy import ONE_SHOT, Fault, FaultKind, FaultProxy
from tests.helpers.proof import keep
from tests.helpers.small_run import check_published, run


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    """Kept at the end."""
    kept: list[dict[str, Any]] = []
    yield kept
    keep("call_sweep", kept)


@pytest.mark.parametrize("kind", ONE_SHOT)
def test_a_fault_at_each_call(
    kind: FaultKind, bucket_uri: str, fault_proxy: FaultProxy, rows: list[dict[str, Any]]
) -> None:
    run(f"{bucket_uri}/undisturbed")
    num_calls = fault_proxy.num_calls
    row = {"fault": kind, "calls": num_calls, "completed": 0}
    rows.append(row)
    for call in range(1, num_calls + 1):
        fault = Fault(kind, first=call)
        uri = f"{bucket_uri}/{call}"
        with fault_proxy.inject(fault):
            run(uri)
        assert fault.num_struck == 1, call
        check_published(uri)
        row["completed"] = call
