"""Models of the Hugging Face hub: one commit of an id, kept in the hub's own cache on this node.

The cache is asked first, so that a node that has a model needs no network.
"""

from __future__ import annotations

from pathlib import Path

from darkroom.errors import ConfigError
from darkroom.messages import first_line
from darkroom.models.files import WEIGHTS, Sized


def ask_hub(name: str, *, field: str) -> tuple[str, list[Sized]]:
    """The commit that `name` stands for now, and its files.

    Errors: ConfigError naming `field` when neither the cache nor the hub knows, or the hub does
    not give it to this user.
    """
    import huggingface_hub as hub

    try:
        cached = _cached(name)
        if cached is not None:
            return cached
        info = hub.HfApi().model_info(name, files_metadata=True, timeout=30)
        if info.gated:  # such a model is described to everyone, and its files given to some
            hub.HfApi().auth_check(name)
    except Exception as error:  # the hub's errors, and those of whatever carries its requests
        raise _refused(name, error, field) from error
    return str(info.sha), [(file.rfilename, file.size or 0) for file in info.siblings or ()]


def hub_copy(name: str, commit: str, files: list[str]) -> Path:
    """A folder of the hub's cache that holds `files` of one commit. Errors: ConfigError."""
    import huggingface_hub as hub

    try:
        return Path(hub.snapshot_download(name, revision=commit, allow_patterns=files))
    except Exception as error:  # as above
        raise _refused(name, error, "model") from error


def _cached(name: str) -> tuple[str, list[Sized]] | None:
    """What the cache holds; None where there are no weights, as when only a tokenizer was used."""
    import huggingface_hub as hub

    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True))
    except FileNotFoundError:
        return None
    files = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return (folder.name, files) if any(name.endswith(WEIGHTS) for name, _ in files) else None


def _refused(name: str, error: Exception, field: str) -> ConfigError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return ConfigError(
            field, name, "is given only to users who have accepted its licence",
            f"accept it at {constants.ENDPOINT}/{name}, and set HF_TOKEN to a token of yours",
        )  # fmt: skip
    reason = first_line(error)[:200]
    return ConfigError(
        field, name, f"is no folder here, and the hub cannot be asked ({reason})",
        "give the path or s3:// URI of the model's folder, or check the id and the network",
    )  # fmt: skip
