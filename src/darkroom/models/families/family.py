"""What a family of latent diffusion models is: plain data, and two functions.

What all families share stands beside this: loading (`base.py`), latents (`latents.py`). Drivers
read this data too, and need no torch for it.
Legend: B rows, T tokens, D width of the text's embedding, P of its pooled one, C H W of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """Captions as the network takes them."""

    sequence: Tensor
    """(B, T, D)."""
    pooled: Tensor | None = None
    """(B, P); None where the network takes none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a picture was cut out of its original; all are (height, width) in pixels."""

    original: tuple[int, int]
    crop: tuple[int, int]
    """Top and left."""
    target: tuple[int, int]

    @classmethod
    def whole(cls, height: int, width: int) -> Frame:
        """A picture of which nothing was cut off."""
        return cls((height, width), (0, 0), (height, width))


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Everything beside noise and time that the network is told."""

    text: TextEmbedding
    frame: Frame
    guidance: float | Tensor = 1.0
    """For networks that were distilled to take it as an input; others do not see it. Of all rows,
    or each row's own, (B,)."""


EncodeText = Callable[[Any, Sequence[str]], TextEmbedding]
"""(pipeline, captions) -> their embedding, on the text encoders' device."""
Forward = Callable[[Any, "Tensor", "Tensor", Conditioning], "Tensor"]
"""(network, x_BCHW, t_B in 0 .. 1000, conditioning) -> the prediction, (B, C, H, W)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One family. Names of modules are those inside its network or text encoder."""

    name: str
    title: str
    """For people: on the model card."""
    pipelines: tuple[str, ...]
    """`_class_name`s of a model_index.json that mean this family."""
    pipeline: str
    """diffusers' class that encodes its text and draws with it."""
    network: Literal["unet", "transformer"]
    """What is trained: its component, its subfolder and the prefix of its LoRA's names."""
    trainable_text_encoders: tuple[str, ...]
    """Those small enough to train along; T5 is not."""
    unread_text_layers: Mapping[str, int] = field(default_factory=dict)
    """Text encoder -> how many of its last layers nothing reads, and with them its last norm."""
    objective: Literal["diffusion", "flow"]
    """diffusion: noise by a schedule of betas, epsilon or v as the scheduler's config says.
    flow: straight paths from the picture to noise (Liu et al. 2022)."""
    patch: int
    """Latents on a side of one token: the height and width of latents are multiples of it."""
    lora_attention: str
    """Regular expression of the network's modules: projections of attention."""
    lora_all: str
    """Those, the feed-forward layers, and convolutions of residual blocks."""
    repeated_blocks: tuple[str, ...]
    """Classes of blocks worth compiling one by one, and of what FSDP shards."""
    encode_text: EncodeText
    forward: Forward

    def pixel_multiple(self, vae_config: Mapping[str, Any]) -> int:
        """Of heights and widths of pictures: the VAE halves them at each level after the first."""
        factor: int = 2 ** (len(vae_config.get("block_out_channels", [0])) - 1)
        return factor * self.patch


VAE_FOLDERS = ("vae",)
"""Folders of a model that decide how it encodes a picture."""
TEXT_FOLDERS = tuple(
    f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")
)
"""Those that decide how it encodes a text."""
TEXT_LORA_ATTENTION = r".*\.(q_proj|k_proj|v_proj|out_proj)"
"""As `lora_attention`, of CLIP's text encoders, which all families share."""
TEXT_LORA_ALL = r".*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
TEXT_BLOCKS = ("CLIPEncoderLayer", "T5Block")
"""As `repeated_blocks`, of text encoders."""
