"""Keys with certificates of a root of the test's own, and what c2pa-python reads of a picture."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM


class SigningKey(Protocol):
    """An EC, Ed25519 or RSA key."""

    def public_key(self) -> Any: ...

    def private_bytes(self, *args: Any, **kwargs: Any) -> bytes: ...


@dataclass(frozen=True)
class Root:
    """A root, and the certificates that it gives."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @cached_property
    def certificate(self) -> bytes:
        return self._certificate("root", self.key, is_root=True, days=30)

    def chain(self, key: SigningKey, *, days: int = 30, usage: bool = True) -> bytes:
        """The key's certificate and the root's. days: until its end; usage: of keys, extended."""
        return (
            self._certificate("signer", key, is_root=False, days=days, usage=usage)
            + self.certificate
        )

    def _certificate(
        self, name: str, key: SigningKey, *, is_root: bool, days: int, usage: bool = False
    ) -> bytes:
        now = datetime.now(UTC)
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(_usage(is_root=is_root), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if usage:
            extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(extended, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


def _name(text: str) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, "Darkroom's tests"), (NameOID.COMMON_NAME, text)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_root,
        crl_sign=is_root,
        encipher_only=False,
        decipher_only=False,
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: SigningKey, form: serialization.PrivateFormat | None = None) -> bytes:
    """The key as PKCS #8, or in another form."""
    return key.private_bytes(
        PEM, form or serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_files(folder: Path, key: bytes | None = None, chain: bytes | None = None) -> Any:
    """Settings of `signing` with what is given, or a key and a chain that fit each other."""
    folder.mkdir(parents=True, exist_ok=True)
    if key is None:
        made = new_key()
        key, chain = pem(made), Root().chain(made)
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.crt").write_bytes(chain or b"")
    return {"key": str(folder / "tls.key"), "certificate": str(folder / "tls.crt")}


def manifest_of(data: bytes, media_type: str) -> dict[str, Any]:
    """What c2pa-python reads: `state`, `faults` and the active manifest's own entries."""
    reader = c2pa.Reader(media_type, io.BytesIO(data))
    found = json.loads(reader.json())
    return {
        "state": reader.get_validation_state(),
        "faults": [each["code"] for each in found.get("validation_status", [])],
        **found["manifests"][found["active_manifest"]],
    }
