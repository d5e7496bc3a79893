"""`check`: can this identity list, read, write and compare-and-swap here, and if not, why.

Each probe has an outcome and, when it failed, a remedy. The probes run in the order in which
access is lost: endpoint, credentials, clock, region, bucket, list, write, read,
compare-and-swap, delete. The first request usually answers for several of them; whatever can
no longer be known after a failure is skipped. All that is written is one small object under
`attempts/`, removed at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from darkroom.errors import DarkroomError, InputError, ObjectNotFoundError
from darkroom.storage.aws_variables import (
    CREDENTIAL_VARIABLES,
    ENDPOINT_VARIABLES,
    FILE_VARIABLES,
    REGION_VARIABLES,
    VARIABLES,
)
from darkroom.storage.probe import probe_conditional_writes
from darkroom.storage.store import ObjectStore
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri
from darkroom.storage.writer import attempt_prefix

ProbeName = Literal[
    "endpoint",
    "credentials",
    "clock",
    "region",
    "bucket",
    "list",
    "write",
    "read",
    "compare-and-swap",
    "delete",
]
Outcome = Literal["ok", "failed", "skipped"]

_ALL: tuple[ProbeName, ...] = get_args(ProbeName)
# A server that can say that the bucket is missing has accepted the credentials.
_ACCESS = _ALL[: _ALL.index("list")]
_ROUTE = ("HTTP_PROXY", "HTTPS_PROXY", "endpoint_url")
_BY_FIELD: dict[str, ProbeName] = {
    **dict.fromkeys((*CREDENTIAL_VARIABLES, *FILE_VARIABLES, "AWS settings"), "credentials"),
    **dict.fromkeys(REGION_VARIABLES, "region"),
    **dict.fromkeys((*ENDPOINT_VARIABLES, *_ROUTE, "AWS_CA_BUNDLE"), "endpoint"),
    **dict.fromkeys(("endpoint", "proxy"), "endpoint"),
    "credentials": "credentials",
    "clock": "clock",
    "region": "region",
    "bucket": "bucket",
    "server": "compare-and-swap",
}
_VARIABLES = {*VARIABLES, *_ROUTE, "AWS settings"}
"""An error about one of them comes before any request."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question, its answer, and what to do about it."""

    name: ProbeName
    outcome: Outcome
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The probes in order."""

    uri: str
    probes: tuple[Probe, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed: a job can work here (an anonymous one: read)."""
        return not self.failed

    @property
    def failed(self) -> tuple[Probe, ...]:
        """What is wrong."""
        return tuple(probe for probe in self.probes if probe.outcome == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"uri": self.uri, "ok": self.ok, "probes": [asdict(probe) for probe in self.probes]}

    def text(self) -> str:
        """One line for each probe, and a line with the remedy below one that failed."""
        lines = []
        for probe in self.probes:
            lines.append(f"{probe.outcome:8} {probe.name:17} {probe.detail}".rstrip())
            if probe.remedy:
                lines.append(f"{'':8} {'':17} -> {probe.remedy}")
        return "\n".join(lines)


def check(uri: Uri | str) -> CheckReport:
    """Try everything that a job will do at `uri`. Errors: UriError; the rest is reported."""
    root = parse_uri(uri)
    probes = _Probes(_fail_fast_store(root))
    probes.run()
    return CheckReport(str(root), tuple(probes.results.values()))


class _Probes:
    """Runs the probes; `results` keeps them in order."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._key = attempt_prefix(f"probe-{uuid.uuid4().hex}") + "probe"
        self._unasked = False
        """Whether the server has not been asked, for what the environment says."""
        self.results: dict[ProbeName, Probe] = {}

    def run(self) -> None:
        listing = self._try("list", self._list)
        if not self._access_granted(listing):
            return
        self.results["list"] = listing
        if self._store.root.anonymous:
            self._skip("write", "an anonymous user only reads")
        else:
            self.results["write"] = self._try("write", self._write)
        self.results["read"] = self._try("read", self._read)
        if self.results["write"].outcome != "ok":
            self._skip("compare-and-swap", "needs write")
            self._skip("delete", "needs write")
            return
        self.results["compare-and-swap"] = self._try("compare-and-swap", self._swap)
        self.results["delete"] = self._try("delete", self._delete)

    def _access_granted(self, listing: Probe) -> bool:
        """Fill in what the first answer says of everything that comes before permission."""
        if listing.name not in _ACCESS:
            for name in _ACCESS:
                self.results[name] = Probe(name, "ok")
            return True
        for name in _ACCESS[: _ACCESS.index(listing.name)]:
            if self._unasked:
                self._skip(name, f"needs {listing.name}")
            else:
                self.results[name] = Probe(name, "ok")
        self.results[listing.name] = listing
        for name in _ALL[_ALL.index(listing.name) + 1 :]:
            self._skip(name, f"needs {listing.name}")
        return False

    def _try(self, name: ProbeName, probe: Callable[[], str]) -> Probe:
        try:
            return Probe(name, "ok", probe())
        except InputError as error:
            # The error may be about something that comes before what was tried.
            failed = _BY_FIELD.get(error.field, name)
            self._unasked = error.field in _VARIABLES
            detail = f"{error.field}: {error.problem}" if self._unasked else error.problem
            return Probe(failed, "failed", detail, error.remedy)
        except DarkroomError as error:
            return Probe(name, "failed", str(error), "run it again; then ask the server's operator")

    def _skip(self, name: ProbeName, why: str) -> None:
        self.results[name] = Probe(name, "skipped", why)

    def _list(self) -> str:
        first = next(iter(self._store.children()), None)
        return "" if first is not None else "empty"

    def _write(self) -> str:
        self._store.put(self._key, b"probe")
        return ""

    def _read(self) -> str:
        if self.results["write"].outcome == "ok":
            self._store.get(self._key)
            return ""
        # Nothing of ours is there: being told so is being allowed to read.
        try:
            self._store.get(self._key)
        except ObjectNotFoundError:
            return "judged by an object that does not exist"
        return ""

    def _swap(self) -> str:
        probe_conditional_writes(self._store)
        return ""

    def _delete(self) -> str:
        self._store.delete([self._key])
        return ""


def _fail_fast_store(root: Uri) -> ObjectStore:
    """A store that gives up soon: the question is whether it works now."""
    if root.scheme == "file":
        return open_store(root)
    from darkroom.storage.s3 import S3Store

    return S3Store(root, fail_fast=True)
