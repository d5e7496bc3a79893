"""The contract between verbs: what each publishes, one typed module per kind.

`dataset`, `latents`, `model`, `checkpoint`, `samples`, `evaluation`, `predictions`, `pictures`,
`drawings`. A verb writes its own kind's value and reads the others'; verbs know each other in no
other way.
"""

from darkroom.jobs.artifacts.kind import Kind

__all__ = ["Kind"]
