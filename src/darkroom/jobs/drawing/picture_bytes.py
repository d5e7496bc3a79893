"""A drawn picture as a file that says what it is: `sample`, `generate` and `serve` encode here.

PNG, JPEG and WebP carry an XMP packet with IPTC's `DigitalSourceType` trainedAlgorithmicMedia, the
model's digest, the seed and the digest of the prompt. Never the prompt itself: it may be private,
and whoever has it can compare. Pixels and origin alone decide the bytes, no clock, no host, no
version; but signed ones (`signing.py`) differ each time.

https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

from PIL import Image, PngImagePlugin

from darkroom.jobs.drawing.drawer import Pixels

FileFormat = Literal["png", "webp", "jpeg"]
Sign = Callable[[bytes, str], bytes]
"""A file and its media type -> the same picture, signed."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACE = "urn:darkroom:xmp:1/"
_XMP_KEYWORD = "XML:com.adobe.xmp"
"""Under which PNG keeps the packet: XMP specification, part 3."""
_QUALITY = {"jpeg": 95, "webp": 95}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a picture was made by and from."""

    model_digest: str
    seed: int
    """The picture's own, or the run's where `index` is given."""
    prompt_digest: str
    """`prompt_digest` of the prompt or the class's name."""
    lora_digest: str | None = None
    index: int | None = None
    """Which picture of that seed."""

    def xmp(self) -> bytes:
        """The XMP packet, the same for the same origin."""
        values = {
            "xmp:CreatorTool": "Darkroom",
            "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
            "darkroom:ModelDigest": self.model_digest,
            "darkroom:LoraDigest": self.lora_digest,
            "darkroom:Seed": str(self.seed),
            "darkroom:Index": None if self.index is None else str(self.index),
            "darkroom:PromptDigest": self.prompt_digest,
        }
        attributes = "\n   ".join(
            f"{name}={quoteattr(text)}" for name, text in values.items() if text
        )
        return _PACKET.format(attributes=attributes).encode()


_PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
   xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   xmlns:darkroom="{NAMESPACE}"
   {{attributes}}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def prompt_digest(text: str | None) -> str:
    """sha256 (hex) of a prompt or the name of a class; of nothing where there is none."""
    return hashlib.sha256((text or "").encode()).hexdigest()


def picture_bytes(
    pixels: Pixels,
    origin: Origin,
    *,
    format: FileFormat = "png",  # noqa: A002 - as PIL has it
    quality: int | None = None,
    sign: Sign | None = None,
) -> bytes:
    """H x W or H x W x 3 pixels as a file.

    quality: 0 to 100, of JPEG and WebP, where 100 is WebP without loss. PNG never loses anything.
    Errors: what `sign` raises.
    """
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    match format:
        case "png":
            info = PngImagePlugin.PngInfo()
            info.add_itxt(_XMP_KEYWORD, origin.xmp().decode())
            image.save(out, "PNG", pnginfo=info)
        case "jpeg":
            chosen = _QUALITY["jpeg"] if quality is None else quality
            image.save(out, "JPEG", quality=chosen, xmp=origin.xmp())
        case "webp":
            chosen = _QUALITY["webp"] if quality is None else quality
            image.convert("RGB").save(
                out, "WEBP", quality=chosen, lossless=chosen == 100, exact=True, xmp=origin.xmp()
            )
    data = out.getvalue()
    return data if sign is None else sign(data, f"image/{format}")
