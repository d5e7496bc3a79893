"""C2PA manifests in drawn pictures: an extra, off without a key of the operator's.

A manifest says that a model made the picture, by which program, and is bound to the file's bytes,
its XMP with them, by a signature. Signatures differ each time, so signed pictures are equal in
pixels and never in bytes. Nothing is asked over the network: no timestamp authority, no OCSP.

https://spec.c2pa.org/specifications/
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom import __version__
from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.drawing.config import SigningConfig
from darkroom.jobs.drawing.picture_bytes import SOURCE_TYPE, Origin, Sign, picture_bytes
from darkroom.messages import first_line, one_line
from darkroom.watched_files import WatchedFiles

if TYPE_CHECKING:
    import c2pa

_KEY, _CERTIFICATE = "signing.key", "signing.certificate"
_PROGRAM = {"name": "Darkroom", "version": __version__}
_CREATED = {
    "action": "c2pa.created",
    "digitalSourceType": SOURCE_TYPE,
    "softwareAgent": _PROGRAM,
}
_MANIFEST = {
    "claim_generator_info": [_PROGRAM],
    "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [_CREATED]}}],
}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MAX_BYTES = 2**20

_log = logging.getLogger("darkroom.signing")


def signing_of(config: SigningConfig | None) -> Sign | None:
    """What signs, tried once; None without a key. Errors: ConfigError for what cannot sign."""
    return None if config is None else PictureSigner(config).sign


class PictureSigner:
    """Signs with a key and its certificate, which are read again when they change."""

    def __init__(self, config: SigningConfig) -> None:
        """Errors: ConfigError for a key or a certificate that cannot sign."""
        self._config = config
        self._lock = Lock()
        self._watched = WatchedFiles(lambda: map(Path, (config.key, config.certificate)))
        self._context = _tried(config)

    def sign(self, data: bytes, media_type: str) -> bytes:
        """The same picture with a manifest. Errors: DarkroomError."""
        library = _library()
        try:
            return _signed(self._current(), data, media_type)
        except library.C2paError as error:
            # Clients of a service read the error; the library's words are its operator's.
            _log.error("a picture could not be signed: %s", one_line(error))
            raise DarkroomError("a picture could not be signed; the log says why") from error

    def _current(self) -> c2pa.Context:
        """A certificate is renewed while a service runs."""
        with self._lock:
            if self._watched.have_changed():
                try:
                    self._context = _tried(self._config)
                except ConfigError as error:
                    # Two files are not exchanged at once; the old pair may be good for long.
                    _log.warning("the former key goes on signing: %s", error)
            return self._context


def _tried(config: SigningConfig) -> c2pa.Context:
    """What signs, after a first picture. Errors: ConfigError."""
    library = _library()
    algorithm, key = _private_key(config.key)
    certificate = _file(_CERTIFICATE, config.certificate)
    blank = picture_bytes(np.zeros((8, 8, 3), np.uint8), Origin("", 0, ""))
    try:
        info = library.C2paSignerInfo(algorithm, certificate, key, None)
        context = library.Context.from_dict(_SETTINGS, signer=library.Signer.from_info(info))
        _signed(context, blank, "image/png")
    except library.C2paError as error:
        # The library checks its own signature against the certificate, and that one's extensions.
        raise ConfigError(
            _CERTIFICATE, config.certificate,
            f"and the key cannot sign ({first_line(error)})",
            "give PEM files: the key's own certificate first, valid now, for digital signatures, "
            "issued by another, with an extended key usage such as emailProtection",
        ) from error  # fmt: skip
    return context


def _signed(context: c2pa.Context, data: bytes, media_type: str) -> bytes:
    out = io.BytesIO()
    with _library().Builder(_MANIFEST, context=context) as builder:
        builder.sign(media_type, io.BytesIO(data), out)
    return out.getvalue()


def _private_key(place: str) -> tuple[bytes, bytes]:
    """Its C2PA algorithm, and the key as PKCS #8. Errors: ConfigError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    remedy = "give an EC (P-256, P-384, P-521), Ed25519 or RSA key as PEM"
    text = _file(_KEY, place)
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError:
        raise ConfigError(
            _KEY, place, "has a passphrase", "give it without one, readable to nobody else"
        ) from None
    except (ValueError, UnsupportedAlgorithm):  # what they say may quote the file
        raise ConfigError(_KEY, place, "holds no private key", remedy) from None
    match key:
        case ec.EllipticCurvePrivateKey():
            algorithm = _CURVES.get(key.curve.name)
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case _:
            algorithm = None
    if algorithm is None:
        raise ConfigError(_KEY, place, "is of a kind that C2PA does not sign with", remedy)
    plain = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return algorithm.encode(), plain


def _file(field: str, place: str) -> bytes:
    try:
        with Path(place).open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigError(
            field, place, f"cannot be read ({error.strerror})",
            "give a file that is there wherever pictures are written, workers included",
        ) from None  # fmt: skip


def _library() -> Any:
    """c2pa-python, which the image does not bring."""
    try:
        import c2pa
    except ImportError as error:
        raise ConfigError(
            "signing", None, f"needs c2pa-python, which is not usable here ({first_line(error)})",
            "install requirements/signing.txt wherever pictures are written, workers included",
        ) from None  # fmt: skip
    return c2pa
