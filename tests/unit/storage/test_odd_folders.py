"""Local folders whose names S3 would refuse: read, followed and fetched into as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.config import JobConfig
from darkroom.errors import UriError
from darkroom.storage import get, lineage, ls, open_artifact, open_output

ODD = ("a #1", "a?b", " a ", "e\u0301", "a%20b", "run:1", "n" * 200)


@pytest.mark.parametrize("name", ODD)
def test_an_output_in_an_odd_folder_is_an_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*[name] * 6)  # the long one is longer than a key may be
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with open_output("first", kind="dataset", config=JobConfig(output="first")) as output:
        file = output.writer.write_bytes("data/x.txt", b"x")
        first = output.publish([file], rows=1, metadata={})
    parents = [first.as_parent("data")]
    with open_output(
        "second", kind="dataset", config=JobConfig(output="second"), parents=parents
    ) as output:
        output.publish([output.writer.write_bytes("data/y.txt", b"y")], rows=1, metadata={})
    assert open_artifact(f"file://{deep}/first").read_bytes("data/x.txt") == b"x"
    assert lineage("second").ok
    assert lineage(f"{deep}/second#data/y.txt").ok
    assert {line.name.rstrip("/") for line in ls(".").entries} == {"first", "second"}
    assert (get("first", f"got {name}") / "data/x.txt").read_bytes() == b"x"
    assert (deep / f"got {name}" / "data/x.txt").is_file()


def test_get_goes_home_and_never_into_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    uri = f"{tmp_path}/out"
    with open_output(uri, kind="dataset", config=JobConfig(output=uri)) as output:
        output.publish([output.writer.write_bytes("data/x.txt", b"x")], rows=1, metadata={})
    assert get(uri, "~/copy") == tmp_path / "copy"
    with pytest.raises(UriError, match="is not on this machine; give a local folder"):
        get(uri, "s3://bucket/copy")
