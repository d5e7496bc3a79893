"""No secret leaves by any door: what prints, logs or publishes meets an error full of them.

The secrets are planted as users have them (environment, a token's file, the AWS chain) and come
back as foreign libraries show them: bare, quoted for a URL or a header, escaped, on two lines.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from botocore import exceptions as boto

import darkroom
import darkroom.storage
from darkroom import errors
from darkroom.errors import DarkroomError, InputError

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYIDENTI",
    "AWS_SECRET_ACCESS_KEY": "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",
    "AWS_SESSION_TOKEN": "planted//session+token==FwoGZXIvYXdzEXAMPLE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "planted-container-authorization",
    "RAY_AUTH_TOKEN": "plantedrayauthtoken0123456789abcdef",
    "HF_TOKEN": "hf_plantedtokenplantedtoken",
    "WANDB_API_KEY": "plantedapikeyplantedapikey",
    "MINIO_ROOT_PASSWORD": "planted-pass",
}
PROXY_WORD = "planted-proxy-word"
IDENTITY = "planted.web.identity\nplanted-second-line-of-it"
# Known to nobody: only their look tells.
LOOKS = (
    "https://b.s3.test/k?X-Amz-Credential=PLANTEDCRED%2F2026&X-Amz-Signature=plantedsignature&x=1",
    "{'Authorization': 'AWS4-HMAC-SHA256 Credential=PLANTEDCRED/x, Signature=plantedsignature'}",
    "Authorization: Bearer plantedbearer",
    "ray://planteduser:plantedword@head:10001",
    '{"SecretAccessKey": "plantedprocess", "SessionToken": "plantedprocess"}',
    "<AWSAccessKeyId>PLANTEDCRED</AWSAccessKeyId>",
    "x-amz-security-token: plantedheader",
    "ASIAPLANTEDPLANTED00",
)


def leaked(text: str | bytes) -> list[str]:
    """What of the planted can be read in it."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return [word for word in text.split() if "planted" in word.lower()]


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    token = tmp_path / "token"
    token.write_text(IDENTITY)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PROXY_WORD}@proxy.test:3128")


def foreign_text() -> str:
    known = [*SECRETS.values(), PROXY_WORD, *IDENTITY.split()]
    spelled = [
        quote(SECRETS["AWS_SESSION_TOKEN"], safe=""),
        repr((SECRETS["HF_TOKEN"] + "\n").encode()),
        json.dumps(SECRETS),
        SECRETS["AWS_SECRET_ACCESS_KEY"][:30],
    ]
    return "\n".join([*known, *spelled, *LOOKS])


def foreign() -> Exception:
    """An error as a library raises it, with its traceback."""
    try:
        raise ValueError(foreign_text())  # noqa: TRY301
    except ValueError as error:
        return error


def error_classes(base: type[DarkroomError] = DarkroomError) -> Iterator[type[DarkroomError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from error_classes(child)


@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.__name__)
def test_an_error_of_ours_is_clean_when_it_is_made(kind: type[DarkroomError]) -> None:
    text = foreign_text()
    arguments = (
        (text, text, text, text) if issubclass(kind, InputError) else (f"it failed: {text}",)
    )
    error = kind(*arguments)
    again = copy.copy(error)
    assert str(again) == str(error)
    assert not leaked(str(error) + repr(error.args) + str(again))
    if isinstance(error, InputError):
        assert not leaked(error.problem + error.remedy + error.field)


NOISY = """
import logging, sys, threading, warnings
import darkroom.storage
from darkroom.cli import main

def noisy(_uri):
    error = ValueError(text)
    logging.getLogger("darkroom.any").warning("seen: %s", error)
    logging.getLogger("darkroom.any").error("seen", exc_info=error)
    logging.getLogger("urllib3.any").warning("retrying %s", error)
    warnings.warn(text, UserWarning)
    sys.stderr.writelines([text])
    thread = threading.Thread(target=lambda: int(text))
    thread.start()
    thread.join()
    raise error

text = sys.argv[1]
darkroom.storage.ls = noisy
sys.exit(main(["storage", "ls", "s3://bucket/x", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("flag", ["--json", "--debug"])
def test_what_a_command_prints(flag: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOISY, foreign_text(), flag],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    for seen in ("retrying", "UserWarning", "in thread", "unexpected ValueError"):
        assert seen in done.stderr
    assert not leaked(done.stderr + done.stdout)


def test_what_a_result_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from darkroom.cli.output import print_json, print_result

    print_result({"reason": foreign_text()}, as_json=False)
    assert not leaked(capsys.readouterr().out)
    print_json({"reason": foreign_text()})
    shown = capsys.readouterr().out
    assert not leaked(shown)
    assert json.loads(shown)


BOTO = [
    ValueError(f"Invalid header value {SECRETS['AWS_SESSION_TOKEN']!r}"),
    OSError(2, "No such file", f"/x/{SECRETS['AWS_SECRET_ACCESS_KEY']}"),
    boto.CredentialRetrievalError(provider="custom-process", error_msg=SECRETS["HF_TOKEN"]),
    boto.ProfileNotFound(profile=SECRETS["AWS_ACCESS_KEY_ID"]),
    boto.InvalidConfigError(error_msg=SECRETS["AWS_SESSION_TOKEN"]),
    boto.HTTPClientError(error=LOOKS[0]),
    boto.EndpointConnectionError(endpoint_url=LOOKS[3], error="x"),
    boto.ProxyConnectionError(proxy_url=f"http://me:{PROXY_WORD}@p", error="x"),
    boto.ClientError({"Error": {"Code": "Odd", "Message": LOOKS[1] + LOOKS[5]}}, "GetObject"),
]


@pytest.mark.parametrize("error", BOTO, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("reachable", [False, True])
def test_what_the_store_says(error: Exception, reachable: bool) -> None:
    from darkroom.storage.s3_errors import translated

    with (
        pytest.raises(DarkroomError) as caught,
        translated("s3://b/k", "read", reachable=reachable),
    ):
        raise error
    assert not leaked(str(caught.value))


def test_what_the_credential_chain_gave_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from darkroom.storage.s3_client import connect

    for name in (*SECRETS, "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id=IDPLANTED0INFILE\naws_secret_access_key=plantedinafile\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(DarkroomError):
        darkroom.storage.ls("s3://bucket/x")
    assert connect().answered is False
    assert not leaked(str(DarkroomError("it said IDPLANTED0INFILE and plantedinafile")))


def rejects() -> bytes:
    from darkroom.jobs.parquet import parquet_bytes
    from darkroom.jobs.rejects import Reject, Rejects, dead_letter_table

    found = Rejects("decode")
    found.add_error("1", "broken", foreign())
    found.add("2", "broken", foreign_text(), foreign())
    return parquet_bytes(
        dead_letter_table([*found.found, Reject("3", "read", "odd", foreign_text())])
    )


def dead_letters() -> bytes:
    from darkroom.jobs.rejects import Reject

    return Reject("a.png", "decode", "corrupt", foreign_text()).detail.encode()


def a_stage() -> bytes:
    from darkroom.jobs.batch.stage import failed

    return str(failed("decode", pa.table({"id": ["a"]}), foreign())).encode()


def a_task() -> bytes:
    from ray.exceptions import RayTaskError

    from darkroom.jobs.ray_data import darkroom_errors

    failed: Any = RayTaskError  # it has no types
    with pytest.raises(DarkroomError) as caught, darkroom_errors():
        raise failed("process", foreign_text(), foreign())
    return str(caught.value).encode()


def a_training_worker() -> bytes:
    from darkroom.jobs.training.driver import _translate

    failure: Any = RuntimeError("a group failed")
    failure.worker_failures = {0: foreign()}
    return (str(_translate(failure)) + str(_translate(foreign()))).encode()


def kept_logs() -> bytes:
    from darkroom.cluster.explain import Cause
    from darkroom.cluster.following import Record, Verdict
    from darkroom.cluster.postmortem import keep

    class Place:
        def __init__(self) -> None:
            self.held = io.BytesIO()

        def put(self, _key: str, data: bytes) -> None:
            self.held.write(data)

    class Remains:
        def events(self) -> list[dict[str, Any]]:
            return [{"involvedObject": {"name": "t"}, "message": foreign_text()}]

        def log(self, *_: object, **__: object) -> str:
            return foreign_text()

        def run(self, *_: object) -> str:
            return foreign_text()

    job = {"metadata": {"name": "t", "uid": "1"}, "status": {"reason": foreign_text()}}
    pods = {"p": {"spec": {"containers": [{"name": "ray-head"}]}}}
    record = Record(
        log=[foreign_text()],
        followed=job,
        pods=pods,
        causes=[Cause("pod/p", "Odd", foreign_text())],
    )
    place = Place()
    keep(Remains(), place, record, Verdict(1, foreign_text()))
    return place.held.getvalue()


@pytest.mark.parametrize(
    "place", [rejects, dead_letters, a_stage, a_task, a_training_worker, kept_logs]
)
def test_what_is_published_or_carried(place: Callable[[], bytes]) -> None:
    said = place()
    assert said
    assert not leaked(said)


def test_a_broken_kubeconfig_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.cluster.client import Cluster

    file = tmp_path / "config"
    file.write_text("users:\n- name: a\n  user: {token: plantedkube: b: [}\n")
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    with pytest.raises(InputError) as caught:
        Cluster()
    assert not leaked(str(caught.value))


PRINTERS = ("cli/", "jobs/progress.py", "cluster/submit.py")


def test_nobody_else_prints() -> None:
    root = Path(darkroom.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "typer.echo") or called.startswith(
                ("sys.stderr.w", "sys.stdout.w", "traceback.print", "warnings.warn", "os.write")
            ):
                found.add(name)
    assert not {name for name in found if not name.startswith(PRINTERS)}


@pytest.mark.parametrize("length", [100, 300_000])
def test_a_message_is_bounded_and_keeps_its_remedy(length: int) -> None:
    long = "x" * length
    for error in (
        InputError("field", long, long, "do this"),
        InputError(long, list(long[:1000]), long, "do this"),
        DarkroomError(f"it failed: {long}; do this"),
    ):
        assert len(str(error)) < 3_000
        assert str(copy.copy(error)) == str(error)
    assert str(InputError("field", long, long, "do this")).endswith("; do this")


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SESSION_TOKEN: contains a line break; set it again without it",
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the role",
        "s3://anonymous@bucket/key does not exist",
        "output: got 's3://tokens/password/x', is already published",
        "unknown token 'x' in the prompt; credential: none",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert str(DarkroomError(text)) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ACCESS_KEY_ID", "darkroom"),
    ],
)
def test_a_word_that_serves_as_a_key_does_not_blank_our_messages(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert str(DarkroomError(f"s3://{value}/x failed")) == f"s3://{value}/x failed"
