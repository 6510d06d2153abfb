"""Who may do what: keys of the API, their scopes, and the record of what was done.

A key is 256 random bits, so its SHA-256 is all that is stored: there is no dictionary of likely
keys that a slow hash would have to defend against, and a slow hash would be paid at every request.
"""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import Record, new_id, now

_KEY = re.compile(r"lwmecps_([0-9a-f]{20})_[A-Za-z0-9_-]{43}")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3660)


class Scope(StrEnum):
    """What a key may do; each scope includes those before it."""

    VIEWER = "viewer"
    TRAINER = "trainer"
    DEPLOYER = "deployer"
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        """Whether a key of this scope may do what `other` allows."""
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(other)


class ApiKey(Record):
    """A key as the store has it: never the key itself. `id` is a part of the key."""

    name: str
    scope: Scope
    digest: str = Field(description="SHA-256 of the whole key.")
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, time: datetime) -> bool:
        """Whether the key is neither revoked nor expired at this time."""
        return self.revoked_at is None and (self.expires_at is None or time < self.expires_at)


class AuditEntry(Record):
    """One change that was made or tried. Entries are added and never changed; ids sort by time."""

    time: datetime = Field(default_factory=now)
    who: str = Field(description="Name of the key; `anyone` without keys, `cli:USER` for commands.")
    key_id: str | None
    verb: str
    route: str
    object_id: str | None
    status: int | None = Field(description="Status of the answer; null for a command.")
    request_id: str | None


def issue_key(name: str, scope: Scope, lifetime: timedelta | None) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        name: What it is for, 1 to 100 characters.
        scope: What it may do.
        lifetime: When it ends; None: never.

    Returns:
        What to store, and the key itself, which nobody can tell from that.

    Raises:
        InvalidInputError: The name is empty or too long.
    """
    if not 1 <= len(name.strip()) <= 100:
        raise InvalidInputError(f"name {name!r}: want 1 to 100 characters")
    key_id, time = new_id(), now()
    text = f"lwmecps_{key_id}_{secrets.token_urlsafe(32)}"
    expires_at = None if lifetime is None else time + lifetime
    key = ApiKey(
        id=key_id,
        name=name.strip(),
        scope=scope,
        digest=digest_of(text),
        created_at=time,
        expires_at=expires_at,
    )
    return key, text


def key_id_of(text: str) -> str | None:
    """Return the id in a key's text; None if it is no key of ours."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


def digest_of(text: str) -> str:
    """Return the SHA-256 of a key's text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def parse_lifetime(text: str) -> timedelta:
    """Read `90m`, `12h`, `30d` or `4w`.

    Raises:
        InvalidInputError: It is none of these, or longer than ten years.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text)
    lifetime = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if lifetime is None or lifetime > _LONGEST:
        raise InvalidInputError(
            f"lifetime {text!r}: want a number and m, h, d or w, such as 30d, at most ten years"
        )
    return lifetime
