"""AWS settings that cannot be right: exit 2, the variable's name, and never a secret's value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import darkroom.storage
from darkroom.cli import main
from darkroom.errors import StorageAccessError
from darkroom.storage import check
from darkroom.storage.aws_settings import check_environment, use_no_settings
from darkroom.storage.aws_variables import (
    CREDENTIAL_VARIABLES,
    ENDPOINT_VARIABLES,
    FILE_VARIABLES,
    REGION_VARIABLES,
    VARIABLES,
)

VALUE = "T0pSecretT0ken"
FLAWS = ("\n", "\r\n", "\t", "\x01", " ", "\u2003", "é")
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAABCDEFGHIJKLMNOP",
    "AWS_SECRET_ACCESS_KEY": "abcdefghijklmnopqrstuvwxyz0123456789ABCD",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but a server that is not there."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What the command says, in one line, as it exits with 2."""
    assert main(command) == 2
    printed = capsys.readouterr()
    assert "unexpected" not in printed.err
    assert printed.err.count("\n") <= 1
    return printed.err + printed.out


@pytest.mark.parametrize("name", [*CREDENTIAL_VARIABLES, *REGION_VARIABLES, *ENDPOINT_VARIABLES])
def test_a_variable_is_named_and_not_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    for flaw in FLAWS:
        for text in (f"{VALUE}{flaw}", f"{flaw}{VALUE}", f"{VALUE}{flaw}{VALUE}"):
            monkeypatch.setenv(name, text)
            with pytest.raises(StorageAccessError, match=f"^{name}: contains a") as caught:
                check_environment()
            assert VALUE not in str(caught.value)
    monkeypatch.setenv(name, f"{VALUE}\n")
    said = refused(capsys, "storage", "ls", "s3://bucket/x")
    assert said.startswith(f"darkroom: {name}: contains a line break")
    assert VALUE not in said


@pytest.mark.parametrize(
    "command",
    [
        ("storage", "check", "s3://bucket/x"),
        ("storage", "lineage", "s3://bucket/x"),
        ("storage", "gc", "s3://bucket/x"),
        ("storage", "get", "s3://bucket/x", "never-made"),
        ("prepare", "--recipe", "digits_smoke", "--output", "s3://bucket/x"),
        ("train", "--recipe", "digits_smoke", "--input", "s3://bucket/d",
         "--output", "s3://bucket/m"),
        ("sample", "--input", "s3://bucket/m", "--output", "s3://bucket/x"),
        ("evaluate", "--input", "s3://bucket/m", "--reference", "s3://bucket/d",
         "--output", "s3://bucket/x"),
        ("classify", "--input", "s3://bucket/m", "--output", "s3://bucket/x"),
        ("report", "--input", "s3://bucket/m", "--output", "s3://bucket/x"),
    ],
    ids=lambda command: " ".join(command[:2]),
)  # fmt: skip
def test_every_verb_says_so(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{VALUE}\n")
    said = refused(capsys, *command)
    assert "AWS_SESSION_TOKEN: contains a line break" in said
    assert VALUE not in said
    assert not Path("never-made").exists()


def test_check_claims_nothing_that_it_has_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "T\n")
    outcomes = {probe.name: probe.outcome for probe in check("s3://bucket/x").probes}
    assert outcomes.pop("credentials") == "failed"
    assert set(outcomes.values()) == {"skipped"}


PROCESS = "[default]\ncredential_process = {}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default\n", "cannot be read as a file of AWS settings"),
        ("\udcff\udcfe", "cannot be read as a file of AWS settings"),
        (PROCESS.format("/nowhere/program"), "credentials: the chain could not"),
        (PROCESS.format("/bin/false"), "credentials: the chain could not"),
        (PROCESS.format("/bin/echo no json"), "credentials: the chain could not"),
        (PROCESS.format("/bin/echo []"), "credentials: the chain could not"),
        (PROCESS.format("/bin/echo {}"), "credentials: the chain could not"),
        (PROCESS.format('"torn'), "credentials: the chain could not"),
        (PROCESS.format(f"/bin/sh -c 'echo {VALUE} >&2; exit 1'"), "credentials: the chain could"),
        (PROCESS.format("/bin/sh -c \"printf '\\377' >&2; exit 1\""), "the chain could not"),
        ("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = no\n", "credentials: "),
        ("[default]\nsso_session = no\nsso_account_id = 1\nsso_role_name = y\n", "credentials: "),
        ("[default]\nregion = us east\n", "none were found"),
        ("[other]\n", "none were found"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_of_settings(
    name: str, text: str, says: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = Path.home() / "settings"
    file.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv(name, str(file))
    said = refused(capsys, "storage", "ls", "s3://bucket/x")
    assert says in said
    if "AWS settings" in says:
        assert name in said


@pytest.mark.parametrize(
    "secret", ["abc def", "abc\\u0001def", "abc\\u00e9def", "abc\\ndef"], ids=range(4)
)
def test_what_a_program_gives_is_held_to_the_same(
    secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(f'{{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "{secret}"}}')
    file = tmp_path / "settings"
    file.write_text(PROCESS.format(f"/bin/cat {answer}"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    said = refused(capsys, "storage", "ls", "s3://bucket/x")
    assert "the secret_key that the profile or role gives contains a" in said
    assert "def" not in said


@pytest.mark.parametrize("name", FILE_VARIABLES)
def test_a_folder_or_an_unreadable_file_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    if name != "AWS_CA_BUNDLE":
        assert f"{name}: got" in refused(capsys, "storage", "ls", "s3://bucket/x")
    file = tmp_path / "closed"
    file.touch()
    file.chmod(0)
    monkeypatch.setenv(name, str(file))
    if not os.access(file, os.R_OK):  # root may read everything
        assert "may not be read" in refused(capsys, "storage", "ls", "s3://bucket/x")


def test_a_profile_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    said = refused(capsys, "storage", "ls", "s3://bucket/x")
    assert "AWS_PROFILE: got 'nope', there is no such profile" in said


def test_an_expiry_that_is_no_time_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "zzz")
    said = refused(capsys, "storage", "ls", "s3://bucket/x")
    assert "AWS_CREDENTIAL_EXPIRATION: got 'zzz', is no time; write it as" in said


def test_an_own_server_needs_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environment:
        for name in VARIABLES:
            environment.setenv(name, "broken\n")
        use_no_settings()
        for name, value in KEYS.items():
            environment.setenv(name, value)
        environment.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        with pytest.raises(StorageAccessError) as caught:
            darkroom.storage.ls("s3://bucket/x")
        assert caught.value.field == "endpoint"  # nobody is there
