"""`darkroom storage` on a real S3 server, from the shell's side of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli import main
from darkroom.config import JobConfig
from darkroom.storage import open_output, open_store

DARKROOM = (sys.executable, "-m", "darkroom")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run_main(*arguments: str) -> tuple[int, str, str]:
        code = main(["storage", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_main


@pytest.fixture
def published(bucket_uri: str) -> str:
    """A model with one file, made from nothing."""
    uri = f"{bucket_uri}/model"
    with open_output(uri, kind="model", config=JobConfig(output=uri)) as output:
        output.publish([output.writer.write_bytes("model/weights.bin", b"weights")])
    return uri


def test_check_says_that_all_is_well(run: Any, bucket_uri: str) -> None:
    code, out, err = run("check", bucket_uri)
    assert (code, err) == (0, "")
    assert "compare-and-swap" in out
    assert json.loads(run("check", bucket_uri, "--json")[1])["ok"] is True


def test_check_names_a_missing_bucket(run: Any, s3: Any) -> None:
    code, out, _ = run("check", "s3://no-such-bucket/x", "--json")
    assert code == 2
    assert "bucket" in {p["name"] for p in json.loads(out)["probes"] if p["outcome"] == "failed"}


def test_ls_shows_kinds_and_files(run: Any, bucket_uri: str, published: str) -> None:
    assert re.search(r"model .* model/?$", run("ls", bucket_uri)[1], re.MULTILINE)
    entries = json.loads(run("ls", published, "--json")[1])["entries"]
    assert [entry["name"] for entry in entries] == ["model/weights.bin"]
    code, out, err = run("ls", f"{bucket_uri}/nothing")
    assert (code, out) == (1, "")
    assert err.startswith("darkroom: nothing is at")


def test_get_makes_a_plain_folder(run: Any, published: str, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run("get", published, str(whole))[0] == 0
    assert (whole / "model/weights.bin").read_bytes() == b"weights"
    code, out, _ = run("get", published, str(part), "--only", "model/", "--json")
    assert json.loads(out) == {"directory": str(part)}
    assert (part / "weights.bin").read_bytes() == b"weights"
    (part / "mine.txt").touch()
    code, _, err = run("get", published, str(part), "--overwrite")
    assert code == 2
    assert "mine.txt" in err


def test_lineage_verifies_and_names_what_was_changed(run: Any, published: str) -> None:
    code, out, _ = run("lineage", published)
    assert code == 0
    assert "every digest verified" in out
    store = open_store(published)
    (entry,) = [info for info in store.list("attempts/") if info.key.endswith("weights.bin")]
    store.put(entry.key, b"weighty")
    code, out, _ = run("lineage", published, "--json")
    assert code == 1
    assert "weights.bin" in json.loads(out)["problems"][0]


def test_gc_lists_and_removes_nothing_unless_told(run: Any, bucket_uri: str) -> None:
    output = open_output(f"{bucket_uri}/data", kind="dataset", config=JobConfig(output="x"))
    with output as attempt:
        attempt.writer.write_bytes("data/part.parquet", b"left behind")
    code, out, _ = run("gc", bucket_uri, "--older-than", "0m")
    assert code == 0
    assert "dry run" in out
    assert json.loads(run("gc", bucket_uri, "--json")[1])["garbage"] == [], "younger than a day"
    assert json.loads(run("gc", bucket_uri, "--older-than", "0m", "--delete", "--json")[1])[
        "deleted"
    ]
    assert json.loads(run("gc", bucket_uri, "--older-than", "0m", "--json")[1])["garbage"] == []


@pytest.mark.parametrize("age", ["24", "1w", "-1h", "", "1.5h"])
def test_gc_refuses_an_age_that_is_none(run: Any, age: str) -> None:
    code, _, err = run("gc", "s3://bucket/x", "--older-than", age)
    assert code == 2
    assert "write 30m, 24h or 7d" in err


def test_serve_runs_a_command_beside_the_server(tmp_path: Path) -> None:
    """Its environment points at the server, whatever the caller's says, and data stays."""
    command = 'test -z "${AWS_PROFILE:-}" && darkroom storage check s3://mine/x --json && exit 7'
    environment = {
        **os.environ,
        "AWS_PROFILE": "elsewhere",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    serve = (*DARKROOM, "storage", "serve", "--data", str(tmp_path), "--bucket", "mine")
    done = subprocess.run(
        [*serve, "--", "bash", "-c", command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_serve_without_a_command_says_how_to_reach_it_until_it_is_stopped(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [*DARKROOM, "storage", "serve", "--data", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    variables: dict[str, str] = {}
    for line in server.stdout:
        if line.startswith("#"):
            break
        name, value = line.removeprefix("export ").rstrip().split("=", 1)
        variables[name] = value
    client = subprocess.run(
        [*DARKROOM, "storage", "check", "s3://darkroom/x"],
        env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=120)
    assert client.returncode == 0, client.stdout + client.stderr
    assert server.returncode == 143
    assert err.startswith("darkroom: stopped by SIGTERM")
    assert err.count("\n") == 1
