"""The base of every job's config: strict, frozen, printable, digestible.

A config is a complete typed value. A recipe gives it, a YAML file and `--set a.b=c` override it
(`config_source.py`), and `build_config` validates the result once.

A field marked `operational()` changes how a job runs and never what it produces (an interval,
a worker's memory), so it stays out of the digest that `--resume` compares. One marked `added()`
came later than runs that must go on: it stays out while it has its default, which they ran with.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import ConfigError, InputError
from darkroom.fields import follow
from darkroom.places import absolute, absolute_or_hub_id

MAX_SEED = 2**32 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Place = Annotated[str, Field(min_length=1), AfterValidator(absolute)]
"""A URI or a path, for every field that names one: workers have another current folder."""
ModelPlace = Annotated[str, Field(min_length=1), AfterValidator(absolute_or_hub_id)]
"""A URI, a path or a hub's id."""


def operational(**kwargs: Any) -> Any:
    """A pydantic Field that is left out of the config digest."""
    return Field(json_schema_extra={"operational": True}, **kwargs)


def added(**kwargs: Any) -> Any:
    """A pydantic Field that is left out of the config digest while it has its default."""
    return Field(json_schema_extra={"added": True}, **kwargs)


class Config(BaseModel):
    """Strict, frozen, and closed: unknown keys and coerced types are errors."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what Ray carries and a manifest stores."""
        return self.model_dump(mode="json")

    def digest_values(self, *, with_added: bool = False) -> dict[str, Any]:
        """`to_dict` without operational fields: what decides the output.

        with_added: also the `added()` fields at their defaults, which the digest leaves out.
        """
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            marks = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            is_silent = marks.get("added") and not with_added and value == field.default
            if not (marks.get("operational") or is_silent):
                values[name] = _plain(value, with_added=with_added)
        return values

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON of `digest_values`."""
        return json_digest(self.digest_values())


OnExisting = Literal["refuse", "resume", "overwrite"]


class JobConfig(Config):
    """What every verb's config has."""

    output: Annotated[Place, operational()]
    """URI (s3://bucket/prefix) or path that the job publishes to."""
    on_existing: Annotated[OnExisting, operational()] = "refuse"
    """What to do when the output is there: refuse, resume (finish or keep it), overwrite."""
    seed: Seed = 0
    """Everything random derives from this and a step, rank or row id."""


ConfigT = TypeVar("ConfigT", bound=Config)


def build_config(config_type: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Validate plain values into a config.

    Errors: ConfigError with the dotted field, the value and the remedy of the first fault.
    """
    try:
        # Through JSON, where strict mode still reads lists as tuples and strings as enums.
        return config_type.model_validate_json(json.dumps(values))
    except ValidationError as error:
        if (field := _not_unicode(values)) is not None:
            raise ConfigError(field, None, "is not valid UTF-8", "rename what it names") from None
        raise _translate(config_type, error) from None
    except (TypeError, ValueError) as error:
        raise ConfigError("config", None, f"is not plain data: {error}") from None


def json_digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON form: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, *, with_added: bool) -> Any:
    if isinstance(value, Config):
        return value.digest_values(with_added=with_added)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, with_added=with_added) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, with_added=with_added) for item in value]
    return value


def _not_unicode(value: object, path: str = "") -> str | None:
    """The first text that holds bytes which are no UTF-8, as an argument or file name may."""
    if isinstance(value, Mapping):
        below = ((f"{path}.{key}".lstrip("."), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        below = ((path, item) for item in value)
    else:
        return path if isinstance(value, str) and _is_torn(value) else None
    return next((found for key, item in below if (found := _not_unicode(item, key))), None)


def _is_torn(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def closest(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` most likely meant."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _translate(config_type: type[Config], error: ValidationError) -> InputError:
    faults = error.errors(include_url=False)
    own = faults[0].get("ctx", {}).get("error")
    if isinstance(own, InputError):  # a validator that names the field itself
        return own
    # An unknown key explains a missing one, so it is named first.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    is_unknown = fault["type"] == "extra_forbidden"
    parts, known = follow(config_type, [str(part) for part in fault["loc"]], is_unknown=is_unknown)
    field = ".".join(parts) or "config"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if is_unknown:
        guess = closest(parts[-1], known)
        remedy = f"did you mean {guess!r}?" if guess else f"known keys: {', '.join(known)}"
        return ConfigError(field, None, "unknown key", remedy + more)
    if fault["type"] == "missing":
        return ConfigError(field, None, "is required", f"set it in the config or with --set{more}")
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = fault["input"] if parts else None
    return ConfigError(field, shown, message + more)
