from darkroom.api import (
    classify,
    evaluate,
    generate,
    open,  # noqa: A004 - darkroom.open
    prepare,
    report,
    sample,
    train,
)

__all__ = ["classify", "evaluate", "generate", "open", "prepare", "report", "sample", "train"]
__version__: str
