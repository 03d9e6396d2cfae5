"""What pydantic found wrong, in one line for people. Only its `errors()` come here, so core needs no pydantic."""

from collections.abc import Iterable, Mapping
from typing import Any

Found = Iterable[Mapping[str, Any]]


def in_file(found: Found, whole: str = "") -> str:
    """Say what is wrong in a file, with each place and the value found there; `whole` names the file's whole."""
    return "; ".join(_in_file(one, whole) for one in found)


def in_variables(found: Found, prefix: str = "") -> str:
    """Say which environment variables are wrong; `prefix` is what their names begin with."""
    return "; ".join(f"{prefix}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in found)


def _in_file(one: Mapping[str, Any], whole: str) -> str:
    place, value = ".".join(map(str, one["loc"])) or whole, one["input"]
    told = f" (found {value!r})" if isinstance(value, str | int | float | None) else ""
    return f"{place}: {one['msg']}{told}" if place else f"{one['msg']}{told}"
