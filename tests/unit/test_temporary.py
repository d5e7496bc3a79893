"""However a full disk shows, the line names the folder and what to do; other errors stay."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from darkroom.errors import ConfigError
from darkroom.temporary import temporary_folder

FULL = (errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        OSError(*FULL),
        OSError(*FULL, str(Path(tempfile.gettempdir(), "darkroom-x", "part"))),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"),
    ],
)
def test_a_full_disk_is_named(error: Exception) -> None:
    with (
        pytest.raises(ConfigError, match=r"no space is left .* TMPDIR") as caught,
        temporary_folder(),
    ):
        raise error
    assert caught.value.value == tempfile.gettempdir()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "denied"),
        OSError(*FULL, "/elsewhere/file"),
        RuntimeError("shapes differ"),
    ],
)
def test_another_error_is_not(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, temporary_folder():
        raise error
    assert caught.value is error


def test_the_folder_goes_with_what_is_in_it() -> None:
    with temporary_folder("darkroom-test-") as folder:
        (folder / "file").write_bytes(b"1")
        assert folder.name.startswith("darkroom-test-")
    assert not folder.exists()
