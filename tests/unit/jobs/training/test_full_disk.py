"""However a full disk shows, the line names the folder and what to do; other errors stay."""

from __future__ import annotations

import errno

import pytest

from darkroom.errors import StorageError
from darkroom.jobs.training.full_disk import naming_a_full_disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"),
    ],
)
def test_a_full_disk_is_named(error: Exception) -> None:
    with pytest.raises(StorageError, match=r"no space is left .* TMPDIR"), naming_a_full_disk():
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), RuntimeError("shapes differ")])
def test_another_error_is_not(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, naming_a_full_disk():
        raise error
    assert caught.value is error
