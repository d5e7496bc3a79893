"""The HTML templates beside this module, as strict as Jinja can be."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """One environment for every page: values are escaped, unknown names are errors."""
    return Environment(
        loader=PackageLoader("darkroom.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
