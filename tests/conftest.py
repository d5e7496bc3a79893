"""Fixtures that every suite shares: the real S3 server and fresh places to write to.

One embedded server serves the whole session, and its address and credentials stand in the
environment for as long. `bucket_uri` and `local_uri` give each test a place of its own;
`store_uri` runs a test on both.
"""

from __future__ import annotations

import logging
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from darkroom.storage import EmbeddedServer
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.file_clock import FileClock, num_processes

# Read when torch is imported, here and in what the tests start. Several processes share the cores:
# threads that spin while they wait for each other would take them from everyone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A time limit for each example would fail on a busy machine; pytest's limits each test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

TEST_BUCKET = "darkroom-tests"
READER = "reader"


# Workers import what tests hand them; the current folder is not on their path.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)

# A shell starts background commands with SIGINT ignored, and whatever a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Defines `--record-seconds`."""
    parser.addoption("--record-seconds", action="store_true", help="write tests/seconds.json anew")


def pytest_configure(config: pytest.Config) -> None:
    """Takes the time of every test file."""
    config.pluginmanager.register(FileClock())


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test has one name in all processes: packed bytes, which may hold a time, give none."""
    is_packed = isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable())
    return argname if is_packed else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means here."""
    return num_processes()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `-n`, files are handed out by how long they take."""
    from tests.helpers.longest_first import LongestFirst

    return LongestFirst(config, log)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running S3 server, found through the environment; `reader` may only read and list."""
    directory = tmp_path_factory.mktemp("s3")
    with (
        EmbeddedServer(directory, identities={READER: ["Read", "List"]}) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name in ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
            environment.delenv(name, raising=False)
        for name, value in server.environment.items():
            environment.setenv(name, value)
        server.create_bucket(TEST_BUCKET)
        yield server


@pytest.fixture
def enabled_loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Darkroom's loggers speak: some libraries disable every logger that they find."""
    manager = logging.getLogger("darkroom").manager
    disabled = manager.disable
    for name, logger in list(manager.loggerDict.items()):
        if name.startswith("darkroom") and isinstance(logger, logging.Logger):
            monkeypatch.setattr(logger, "disabled", False)
    logging.disable(logging.NOTSET)
    yield
    logging.disable(disabled)


@pytest.fixture
def darkroom_log(enabled_loggers: None) -> Iterator[list[str]]:
    """Lines of Darkroom's own log as they are said, whatever other tests did to logging.

    `caplog` is not enough: a command in this process takes the records for itself, and Ray closes
    the handlers of others.
    """
    lines: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    ours = logging.getLogger("darkroom")
    level = ours.level
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    yield lines
    ours.removeHandler(handler)
    ours.setLevel(level)


@pytest.fixture
def bucket_uri(s3: EmbeddedServer) -> str:
    """An empty S3 prefix of this test's own."""
    return f"s3://{TEST_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    """An empty folder of this test's own, as a URI."""
    return f"file://{tmp_path}/output"


@pytest.fixture(params=["local", "s3"])
def store_uri(request: pytest.FixtureRequest) -> str:
    """An empty place of this test's own, once on local files and once on S3."""
    name = "local_uri" if request.param == "local" else "bucket_uri"
    uri: str = request.getfixturevalue(name)
    return uri


@pytest.fixture
def fault_proxy(s3: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before the S3 server, which the environment names for as long as the test runs."""
    with FaultProxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy
