"""Settings of batch verbs in `make e2e`; a contract holds them to the verbs' configs."""

from __future__ import annotations

from tests.helpers.imagenet import NAME as LITE0

# Small pieces and one thread: a run lasts long enough to lose its pods in its middle.
CLASSIFY = ["piece_rows=8", "batch_size=8", "models.num_threads=1", "model.library=timm"]
CLASSIFY += [f"model.name={LITE0}"]
GENERATE = ["piece_rows=8", "draw.num_steps=500", "draw.batch_size=4", "enhance.max_new_tokens=16"]
# The tiny model's context is shorter than the recipe's instruction.
GENERATE += ["enhance.system_prompt=Rewrite."]
