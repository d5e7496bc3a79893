from darkroom.api import (
    cache,
    classify,
    evaluate,
    finetune,
    generate,
    open,  # noqa: A004 - darkroom.open
    prepare,
    report,
    sample,
    train,
    tune,
)

__all__ = [
    "cache", "classify", "evaluate", "finetune", "generate", "open", "prepare", "report", "sample",
    "train", "tune",
]  # fmt: skip
__version__: str
