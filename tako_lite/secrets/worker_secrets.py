"""The secrets of this worker: `secret("name")` in a handler, and the mask that hides them in its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tako_lite.errors import SecretError
from tako_lite.hints import did_you_mean
from tako_lite.secrets.mask import NOTHING, Mask

_group: str | None = None
_values: Mapping[str, str] = {}
_mask = NOTHING


def install(group: str, values: Mapping[str, str]) -> Mask:
    """Make this process a worker of a group with these secrets; returns the mask that hides them."""
    global _group, _values, _mask
    _group, _values, _mask = group, dict(values), Mask(values.values())
    return _mask


@contextmanager
def installed(group: str, values: Mapping[str, str]) -> Iterator[Mask]:
    """`install` for the time of a block."""
    global _group, _values, _mask
    before = _group, _values, _mask
    try:
        yield install(group, values)
    finally:
        _group, _values, _mask = before


def secret(name: str) -> str:
    """The value of a secret of `[secrets]` in tako.toml that the worker's group names.

    Raises SecretError outside of a worker, and for a secret that the group was not given; it says what to write.
    """
    try:
        return _values[name]
    except KeyError:
        raise _refusal(name) from None


def masked(text: str) -> str:
    """A text with the secrets of this worker hidden; outside of a worker, the text unchanged."""
    return _mask.text(text)


def _refusal(name: str) -> SecretError:
    if _group is None:
        return SecretError(
            f"secret({name!r}) was called outside of a worker",
            hint="call it in a handler or a step: applications and scripts are given no secrets",
        )
    table = f"[workflows.{_group}]" if "." not in _group else f'[workflows."{_group}"]'
    known = did_you_mean(name, _values) if isinstance(name, str) else None
    return SecretError(
        f"the group {_group} is not given a secret {name!r}",
        hint=known or f'name it in tako.toml: `secrets = ["{name}"]` in {table}, and its source in [secrets]',
    )
