"""Arguments of darkroom-job reach the job byte for byte, through everything on their way.

Helm's YAML, the operator's own code that builds the submitter's command, the kubelet's expansion of
`$(NAME)`, the submitter's bash, Ray's CLI, and the shell on the head: each is run or, the
kubelet's 20 lines, repeated here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools import operator_verdicts, render

NASTY = [
    "",
    " ",
    "it's",
    '"double"',
    "new\nline",
    "trailing\n",
    "\ttab",
    "$(id)",
    "$(HOME)",
    "$HOME",
    "${HOME}",
    "$$",
    "$$(HOME)",
    "$é",
    "$(unclosed",
    "`id`",
    "a;b|c&d>e<f",
    "*",
    "~",
    "#x",
    "!!",
    "\\",
    "\\n",
    "--flag=-1",
    "{{ .Values.verb }}",
    "%s%n",
    "a\x85b\u2028c\ufeffd",
    "\x01\x1b[31m\x7f",
    "日本語 🎞",
    "-",
    "null",
    "0x1f",
]
# What cannot be an argument of any process, or no text at all.
NO_TEXT: tuple[Literal["Cs"]] = ("Cs",)  # surrogates
ARGUMENTS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=NO_TEXT), max_size=20),
    min_size=1,
    max_size=30,
)
shell_fragments = st.lists(
    st.text(st.sampled_from("$(){}'\"`\\ \n;&|<>*?!#~=%aé"), max_size=12), min_size=1, max_size=30
)


def kubelet_expand(text: str, environment: dict[str, str]) -> str:
    """A container's args as the kubelet hands them on: `$$` is `$`, `$(NAME)` a known variable."""
    data, out, at = text.encode(), bytearray(), 0
    while at < len(data):
        if data[at : at + 1] != b"$" or at + 1 == len(data):
            out += data[at : at + 1]
            at += 1
        elif data[at + 1 : at + 2] == b"$":
            out += b"$"
            at += 2
        elif data[at + 1 : at + 2] == b"(" and (end := data.find(b")", at)) > 0:
            name = data[at + 2 : end].decode()
            out += environment.get(name, f"$({name})").encode()
            at = end + 1
        else:
            # The kubelet widens the byte after a lone `$`; a test that meets this must fail.
            out += b"$" + chr(data[at + 1]).encode()
            at += 2
    return out.decode()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `ray` that knows no job and a `darkroom`; both write what they were called with."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "darkroom").write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "$ARGUMENTS"\n')
    (folder / "ray").write_text(
        '#!/bin/sh\n[ "$2" = status ] && exit 1\n'
        '[ "$2" = submit ] && printf "%s\\0" "$@" > "$ARGUMENTS"\ntrue\n'
    )
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


def run_shell(programs: Path, shell: list[str], line: str) -> list[str]:
    """The arguments that the stand-in program was called with."""
    record = programs / "arguments"
    record.unlink(missing_ok=True)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ARGUMENTS": str(record),
        "HOME": "/nowhere",
        "LC_ALL": "C.UTF-8",
    }
    subprocess.run([*shell, line], env=environment, check=True, capture_output=True, timeout=120)
    return record.read_bytes().decode().split("\0")[:-1]


def job_with(arguments: list[str], mode: str) -> dict[str, object]:
    values: dict[str, object] = {"verb": "train", "output": "s3://b/run", "args": arguments}
    values |= {"clusterSelector": "darkroom", "submission": {"mode": mode}}
    (job,) = (item for item in render("darkroom-job", values) if item["kind"] == "RayJob")
    return job


def arrive(programs: Path, arguments: list[str], mode: str) -> list[str]:
    job = job_with(arguments, mode)
    line = job["spec"]["entrypoint"]  # type: ignore[index]
    if mode == "K8sJobMode":
        (verdict,) = operator_verdicts([job], "-submit-command")
        line = kubelet_expand(verdict["command"], {"HOME": "/nowhere", "RAY_ADDRESS": "x"})
        submitted = run_shell(programs, ["/bin/bash", "-ce", "--"], line)
        line = shlex.join(submitted[submitted.index("--") + 1 :])  # as `ray job submit` does
    return run_shell(programs, ["/bin/sh", "-c"], line)[4:]


@pytest.mark.parametrize("mode", ["K8sJobMode", "HTTPMode"])
def test_nasty_arguments_arrive(programs: Path, mode: str) -> None:
    assert arrive(programs, NASTY, mode) == NASTY


@pytest.mark.parametrize("mode", ["K8sJobMode", "HTTPMode"])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arguments=st.one_of(ARGUMENTS, shell_fragments))
def test_any_arguments_arrive(programs: Path, mode: str, arguments: list[str]) -> None:
    assert arrive(programs, arguments, mode) == arguments


def test_the_line_stays_readable_when_it_can() -> None:
    job = job_with(["--set", "learning_rate=0.001"], "K8sJobMode")
    line = job["spec"]["entrypoint"]  # type: ignore[index]
    assert line == "darkroom train --output s3://b/run --resume --set learning_rate=0.001"
