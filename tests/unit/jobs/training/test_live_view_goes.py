"""The live page of a run goes when its model is published; the run does not fail for it."""

from __future__ import annotations

from tests.helpers.fault_proxy import Fault, FaultProxy

from darkroom.jobs.training.checkpoint import LIVE_PREFIX
from darkroom.jobs.training.job import _delete_live_view
from darkroom.storage import open_store

PAGE = f"{LIVE_PREFIX}/page.html"


def pages(uri: str) -> list[str]:
    return [info.key for info in open_store(uri).list()]


def test_the_live_page_goes(bucket_uri: str, darkroom_log: list[str]) -> None:
    open_store(bucket_uri).put(PAGE, b"x")
    _delete_live_view(bucket_uri)
    assert pages(bucket_uri) == []
    assert darkroom_log == []


def test_one_that_may_not_be_deleted_is_a_warning(
    bucket_uri: str, fault_proxy: FaultProxy, darkroom_log: list[str]
) -> None:
    open_store(bucket_uri).put(PAGE, b"x")
    with fault_proxy.inject(Fault("expired_token", method="POST", count=None)):
        _delete_live_view(bucket_uri)
    assert pages(bucket_uri) == [PAGE]
    (line,) = darkroom_log
    assert "the live page stays" in line
