"""Signed pictures: what they say, that pixels stay, and what cannot sign, in one line each.

The verifier here is c2pa-python's own; `tests/proofs/test_signing_proof.py` asks another one.
"""

from __future__ import annotations

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from PIL import Image
from tests.helpers.certificates import Root, SigningKey, manifest_of, new_key, pem, signing_files

from darkroom.config import build_config
from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.drawing.config import SigningConfig
from darkroom.jobs.drawing.picture_bytes import (
    SOURCE_TYPE,
    FileFormat,
    Origin,
    Sign,
    picture_bytes,
)
from darkroom.jobs.drawing.signing import signing_of

ORIGIN = Origin("m1", 7, "p1")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
UNTRUSTED = ["signingCredential.untrusted"]
"""All that a verifier who does not know the test's root has to say."""


def config_of(files: Any) -> SigningConfig:
    return build_config(SigningConfig, files)


def signs(files: Any) -> Sign:
    found = signing_of(config_of(files))
    assert found is not None
    return found


@pytest.fixture
def sign(tmp_path: Path) -> Sign:
    return signs(signing_files(tmp_path))


@pytest.mark.parametrize("kind", get_args(FileFormat))
def test_a_signed_picture_says_that_a_model_made_it(kind: FileFormat, sign: Sign) -> None:
    plain = picture_bytes(PIXELS, ORIGIN, format=kind)
    signed = picture_bytes(PIXELS, ORIGIN, format=kind, sign=sign)
    manifest = manifest_of(signed, f"image/{kind}")
    assert (manifest["state"], manifest["faults"]) == ("Valid", UNTRUSTED)
    (assertion,) = manifest["assertions"]
    (action,) = assertion["data"]["actions"]
    assert action["digitalSourceType"] == SOURCE_TYPE
    assert manifest["claim_generator_info"][0]["name"] == "Darkroom"
    before, after = (Image.open(io.BytesIO(data)) for data in (plain, signed))
    assert (np.asarray(before) == np.asarray(after)).all()
    assert before.info["xmp"].strip(b"\0") == after.info["xmp"].strip(b"\0")


def test_bytes_differ_each_time(sign: Sign) -> None:
    assert picture_bytes(PIXELS, ORIGIN, sign=sign) != picture_bytes(PIXELS, ORIGIN, sign=sign)


def test_a_changed_picture_is_found_out(sign: Sign) -> None:
    data = bytearray(picture_bytes(PIXELS, ORIGIN, sign=sign))
    data[data.rindex(b"IDAT") + 20] ^= 1
    found = manifest_of(bytes(data), "image/png")
    assert found["state"] == "Invalid"
    assert "assertion.dataHash.mismatch" in found["faults"]


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "Es256"),
        (ec.generate_private_key(ec.SECP384R1()), "Es384"),
        (ec.generate_private_key(ec.SECP521R1()), "Es512"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (rsa.generate_private_key(65537, 2048), "Ps256"),
    ],
    ids=["es256", "es384", "es512", "ed25519", "ps256"],
)
def test_the_key_decides_the_algorithm(key: SigningKey, algorithm: str, tmp_path: Path) -> None:
    sign = signs(signing_files(tmp_path, pem(key), Root().chain(key)))
    manifest = manifest_of(picture_bytes(PIXELS, ORIGIN, sign=sign), "image/png")
    assert manifest["state"] == "Valid"
    assert manifest["signature_info"]["alg"] == algorithm


def test_a_key_of_openssls_older_form_signs(tmp_path: Path) -> None:
    key = new_key()
    older = pem(key, serialization.PrivateFormat.TraditionalOpenSSL)
    assert b"EC PRIVATE KEY" in older
    sign = signs(signing_files(tmp_path, older, Root().chain(key)))
    assert manifest_of(picture_bytes(PIXELS, ORIGIN, sign=sign), "image/png")["state"] == "Valid"


def test_threads_sign_side_by_side(sign: Sign) -> None:
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(lambda _: picture_bytes(PIXELS, ORIGIN, sign=sign), range(64)))
    assert {manifest_of(each, "image/png")["state"] for each in pictures} == {"Valid"}


ROOT, KEY = Root(), new_key()
LOCKED = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"secret"),
)


@pytest.mark.parametrize(
    ("key", "chain", "field", "problem"),
    [
        (b"hunter2", ROOT.chain(KEY), "signing.key", "holds no private key"),
        (LOCKED, ROOT.chain(KEY), "signing.key", "has a passphrase"),
        (pem(x25519.X25519PrivateKey.generate()), b"", "signing.key", "is of a kind that C2PA"),
        (
            pem(ec.generate_private_key(ec.SECP256K1())),
            b"",
            "signing.key",
            "is of a kind that C2PA",
        ),
        (pem(KEY), b"no certificate", "signing.certificate", "cannot sign"),
        (pem(new_key()), ROOT.chain(KEY), "signing.certificate", "does not match"),
        (pem(KEY), ROOT.chain(KEY, days=-1), "signing.certificate", "not valid at time"),
        (pem(KEY), ROOT.chain(KEY, usage=False), "signing.certificate", "cannot sign"),
        (pem(ROOT.key), ROOT.certificate, "signing.certificate", "self-signed"),
    ],
    ids=["garbage", "locked", "x25519", "curve", "no-chain", "other", "expired", "usage", "root"],
)
def test_what_cannot_sign_is_told_in_one_line(
    key: bytes, chain: bytes, field: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        signs(signing_files(tmp_path, key, chain))
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["key", "certificate"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    files = signing_files(tmp_path)
    Path(files[name]).unlink()
    with pytest.raises(ConfigError, match=f"signing.{name}: .*cannot be read"):
        signs(files)


def test_without_the_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(ConfigError, match=r"install requirements/signing.txt"):
        signs(signing_files(tmp_path))


def test_without_a_key_nothing_is_signed() -> None:
    assert signing_of(None) is None


def test_a_renewed_key_counts_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.watched_files.LOOK_SECONDS", 0.0)
    sign = signs(signing_files(tmp_path))
    first = serial(sign)
    signing_files(tmp_path)
    second = serial(sign)
    assert second != first
    # A pair of which only one half is there yet does not sign: the former one goes on.
    (tmp_path / "tls.key").write_bytes(pem(new_key()))
    assert serial(sign) == second


def serial(sign: Sign) -> str:
    info = manifest_of(picture_bytes(PIXELS, ORIGIN, sign=sign), "image/png")["signature_info"]
    return str(info["cert_serial_number"])


def test_a_picture_that_cannot_be_signed_is_an_error(sign: Sign, darkroom_log: list[str]) -> None:
    with pytest.raises(DarkroomError, match="could not be signed; the log says why") as caught:
        sign(os.urandom(64), "image/png")
    assert str(caught.value.__cause__) in "\n".join(darkroom_log)


def test_whose_key_signs_is_no_part_of_the_digest(tmp_path: Path) -> None:
    one, other = (config_of(signing_files(tmp_path / name)) for name in ("a", "b"))
    assert one.digest == other.digest
