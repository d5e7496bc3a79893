"""What `darkroom serve` serves, where, to whom, and how much of it at once.

Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from darkroom.config import Config, ModelPlace, NonNegativeFloat, Place, PositiveFloat, PositiveInt
from darkroom.jobs.drawing.config import DrawingConfig, LoraUse, SigningConfig
from darkroom.loopback import is_loopback

ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.:/-]{0,99}$")]
"""As clients write it in `model` and `lora`."""


class ServingWorkers(DrawingConfig):
    """The replicas that draw: Ray actors, each with every model loaded."""


class RequestLimits(Config):
    """What one request may ask for, and how much is let in at once. Each replica of the HTTP side
    counts for itself."""

    max_images: Annotated[int, Field(ge=1, le=100)] = 10
    """Most pictures of one request (`n`)."""
    max_steps: PositiveInt = 250
    """Most denoising steps of a picture."""
    max_side: Annotated[int, Field(ge=8, le=8192)] = 2048
    """Most pixels of a side."""
    max_pixels: PositiveInt = 2_359_296
    """Most pixels of a picture; the default is 1536 x 1536."""
    max_prompt_chars: PositiveInt = 32_000
    """Longest prompt, and negative prompt, in characters."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**24)] = 2**19
    """Largest body of a request, counted while it arrives."""
    max_requests: PositiveInt = 128
    """Drawing requests under way at once; others get 429."""
    max_waiting_work: PositiveFloat = 4000.0
    """Work under way at once, in megapixel-steps: n x steps x area. An idle service takes any."""
    deadline_seconds: PositiveFloat = 300.0
    """How long a request may take, waiting included; then it ends with 408."""
    requests_per_minute: NonNegativeFloat = 0.0
    """Drawing requests that one key may begin per minute; 0 sets no limit."""
    requests_per_key: Annotated[int, Field(ge=0)] = 0
    """Drawing requests that one key may have under way; 0 sets no limit."""


class JobsConfig(Config):
    """Long work, `/v1/jobs`: drawn beside requests by whichever replica has time, and kept."""

    place: Place | None = None
    """Where jobs and their pictures are kept: an s3:// URI, or a folder for one machine. null takes
    no jobs."""
    days: PositiveFloat = 7.0
    """Days for which a job and its pictures are kept after its end."""
    max_images: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most pictures of one job (`n`)."""
    open_per_key: PositiveInt = 20
    """Jobs of one key that have not ended; more get 429."""
    at_once: Annotated[int, Field(ge=1, le=32)] = 2
    """Pictures of jobs that each of `http_replicas` has drawn at a time while no request is under
    way; beside requests it is one."""


class ServeConfig(Config):
    """Serve models over HTTP."""

    models: Annotated[tuple[ModelPlace, ...], Field(min_length=1, max_length=32)]
    """What `darkroom train` or `finetune` published, or diffusers folders: path, s3:// URI or hub
    id. The first is drawn with where a request names none."""
    names: tuple[ServedName, ...] = ()
    """Names of the models, in their order; by default the last part of each that says something."""
    loras: dict[ServedName, LoraUse] = Field(default={})
    """Name -> LoRA over the first model, which requests choose by that name."""
    variant: str | None = None
    """Which weight files of diffusers folders: fp16 for `*.fp16.safetensors`."""
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs `keys`."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port to listen at; 0 takes a free one."""
    keys: Place | None = None
    """File of API keys, `name key` on each line, or a folder with a file per key, as Kubernetes
    mounts a Secret; read again when it changes. null asks nobody for a key."""
    hosts: tuple[str, ...] = ()
    """Names that clients may call the service by, beside this machine's. Empty: any, with keys."""
    origins: tuple[str, ...] = ()
    """Web sites (https://app.example.org) whose pages may call this service from a browser."""
    safety_check: str | None = None
    """package.module:function that looks at each picture, previews too, where it is drawn, and
    keeps it back by returning True; beside a model's own checker. null is none."""
    signing: SigningConfig | None = None
    """A C2PA manifest in every picture, previews too; null for none."""
    limits: RequestLimits = RequestLimits()
    """What requests may ask for."""
    jobs: JobsConfig = JobsConfig()
    """Long work."""
    http_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that answer HTTP."""
    workers: ServingWorkers = ServingWorkers()
    """What draws."""
    drain_seconds: NonNegativeFloat = 120.0
    """How long requests under way may take to finish when the service stops."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """A name for each model."""
        return self.names or tuple(map(default_name, self.models))

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.names and len(self.names) != len(self.models):
            raise ValueError(
                f"names: {len(self.names)} names for {len(self.models)} models; give one for each"
            )
        if len(set(self.model_names)) < len(self.model_names):
            raise ValueError(
                f"models: two have the same name ({', '.join(self.model_names)}); set names"
            )
        return self

    @model_validator(mode="after")
    def _check_reach(self) -> Self:
        if not is_loopback(self.host) and self.keys is None:
            raise ValueError(
                f"host {self.host!r} can be reached by others, who could then draw without a key; "
                "set keys, or leave host at 127.0.0.1"
            )
        for origin in self.origins:
            if not _is_origin(origin):
                raise ValueError(f"origins: {origin!r} is no origin; write https://host[:port]")
        return self


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket that is not closed
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not parts.path


def default_name(place: str) -> str:
    """`digits` for `s3://bucket/runs/digits/model`: the last part that is no kind's usual name."""
    parts = [part for part in re.split(r"[/:]+", place) if part]
    telling = [part for part in parts if part not in ("model", "models", "latest")] or parts
    name = re.sub(r"[^\w.-]", "-", telling[-1]).lstrip("._-")[:100] if telling else ""
    return name or "model"
