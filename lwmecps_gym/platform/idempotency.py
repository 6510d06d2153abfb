"""Creates that are sent twice and happen once.

Who sends a create under a key of their own reserves, before anything is made, the id of what will
be made. A second create under that key makes the same thing, so it makes nothing: at once with the
first, after it, or after a crash between the reservation and the thing. The first answer is kept,
and given to all.
"""

import hashlib
from datetime import datetime, timedelta

from pydantic import Field

from lwmecps_gym.platform.models import Record, now

KEPT = timedelta(days=1)
"""How long a key is remembered."""


class KeptAnswer(Record):
    """A reservation, and the answer once there is one. `id` comes from caller, route and key."""

    request_digest: str = Field(description="SHA-256 of what was asked for.")
    object_id: str = Field(description="Id of what is made.")
    created_at: datetime = Field(default_factory=now)
    status: int | None = None
    location: str | None = None
    body: str | None = None


def reservation_id(caller: str, route: str, key: str) -> str:
    """Return the id under which a key is remembered; callers and routes have keys of their own."""
    return hashlib.sha256(f"{caller}\n{route}\n{key}".encode()).hexdigest()
