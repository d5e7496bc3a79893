"""LoRAs over one loaded base: switched between batches, never within one.

They stay in the pipeline, side by side, and one of them or none is in use. Where there are more
than fit, the one that was used longest ago makes room, and never one that a picture under way is
drawn with: pictures are remembered for as long as somebody holds them.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from darkroom.jobs.drawing.config import LoraUse
from darkroom.jobs.drawing.lora import find_adapter, load_lora
from darkroom.models.find import FoundModel
from darkroom.storage import Parent

MAX_LOADED = 8
"""In the pipeline at once, if no more are being drawn with."""


class Loras:
    """By the names that clients know. Each is loaded once at the start, to see that it fits.

    Errors: ConfigError for what does not.
    """

    def __init__(
        self,
        pipeline: Any,
        uses: Mapping[str, LoraUse],
        base: FoundModel,
        *,
        max_loaded: int = MAX_LOADED,
    ) -> None:
        self._pipeline, self._uses, self._max_loaded = pipeline, dict(uses), max_loaded
        self._inner = {name: f"lora{at}" for at, name in enumerate(uses)}
        """The adapter's name in the pipeline, where not every character is allowed."""
        self._found = {
            name: find_adapter(use, base, field=f"loras.{name}", base_field="models")
            for name, use in uses.items()
        }
        self._loaded: OrderedDict[str, WeakSet[Any]] = OrderedDict()
        """Name -> the pictures that are drawn with it; the one used last is last."""
        self._current: str | None = None
        for name in uses:
            self.use(name)
        self.use(None)

    @property
    def digests(self) -> dict[str, str]:
        return {name: found.digest for name, found in self._found.items()}

    @property
    def origins(self) -> dict[str, Parent]:
        """Where each lies."""
        return {name: found.as_parent("lora") for name, found in self._found.items()}

    @property
    def loaded(self) -> list[str]:
        return list(self._loaded)

    def hold(self, name: str | None, picture: Any) -> None:
        """As long as the picture lives, its LoRA stays."""
        if name is not None:
            self._loaded[name].add(picture)

    def use(self, name: str | None) -> None:
        """From here on the network is the base with this LoRA, or alone."""
        if name is not None:
            self._load(name)
            self._loaded.move_to_end(name)
        if name == self._current:
            return
        if name is None:
            self._pipeline.disable_lora()
        else:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([self._inner[name]], [self._uses[name].weight])
        self._current = name

    def _load(self, name: str) -> None:
        if name in self._loaded:
            return
        self._make_room()
        with warnings.catch_warnings():
            # peft, of a second one beside the first: just what is wanted.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            load_lora(
                self._pipeline, self._uses[name], self._found[name], field=f"loras.{name}",
                name=self._inner[name],
            )  # fmt: skip
        self._pipeline.enable_lora()
        self._loaded[name] = WeakSet()
        self._current = name

    def _make_room(self) -> None:
        idle = [name for name, pictures in self._loaded.items() if not pictures]
        for name in idle[: max(0, len(self._loaded) + 1 - self._max_loaded)]:
            self._pipeline.delete_adapters(self._inner[name])
            del self._loaded[name]
            if self._current == name:
                self._current = ""  # what the pipeline does now is nobody's: set it anew
