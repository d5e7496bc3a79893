"""One server for one folder: a second is told whose it is, and a killed one gives way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.errors import StorageAccessError, UriError
from darkroom.storage import EmbeddedServer

SERVE = [sys.executable, "-m", "darkroom", "storage", "serve", "--data"]


def test_a_second_server_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, bucket="kept") as first:
        identities = (tmp_path / "identities.json").read_bytes()
        done = subprocess.run(
            [*SERVE, str(tmp_path), "--", "true"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        for told in (str(tmp_path), f"process {os.getpid()}", first.endpoint, "another folder"):
            assert told in line
        assert (tmp_path / "identities.json").read_bytes() == identities
        first.create_bucket("still-there")


def test_a_killed_server_gives_way(tmp_path: Path) -> None:
    first = subprocess.Popen([*SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert "AWS_ENDPOINT_URL_S3" in first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    with EmbeddedServer(tmp_path, bucket="kept"):
        pass
    first.communicate()


@pytest.mark.parametrize("bucket", ["b", "Bucket", "my_bucket", "a/b", ""])
def test_a_bad_bucket_is_refused_in_one_line(s3: EmbeddedServer, bucket: str) -> None:
    with pytest.raises(UriError, match="bucket"):
        s3.create_bucket(bucket)


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageAccessError, match="cannot be written"):
        EmbeddedServer(tmp_path / "file/deeper").start()
