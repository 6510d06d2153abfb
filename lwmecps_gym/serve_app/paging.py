"""What all lists of the API ask for and answer alike."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import Field

from lwmecps_gym.platform.models import Tags

T = TypeVar("T")

PageLimit = Annotated[int, Query(ge=1, le=500, description="At most so many of them.")]
NextCursor = Annotated[
    str | None, Field(description="Send it as `cursor` for the next page; null: this is the last.")
]
Tag = Annotated[
    str | None,
    Query(
        pattern=r"^[^:]{1,63}:.{0,250}$",
        description="NAME:VALUE; only those with this tag.",
        examples=["stage:lab"],
    ),
]


def _cursor(pattern: str) -> Any:
    about = "`next_cursor` of the page before; unset: the first."
    return Annotated[str | None, Query(pattern=pattern, description=about)]


IdCursor = _cursor(r"^[0-9a-f]{20}$")
ModelCursor = _cursor(r"^[a-z0-9.-]{1,80}$")
VersionCursor = _cursor(r"^[a-z0-9.-]{1,80}/[0-9]{6}$")
AliasCursor = _cursor(r"^[a-z][a-z0-9._-]{0,62}$")
NumberCursor = _cursor(r"^[0-9]{9}$")
"""Cursors by what the lists are sorted by; another text than such a list gives is refused."""


def page_of(
    items: Sequence[T],
    key: Callable[[T], str],
    limit: int,
    cursor: str | None,
    descending: bool = False,
) -> tuple[list[T], str | None]:
    """Cut a page out of items that are sorted by a unique key, the least first.

    Returns:
        The items after the cursor, at most `limit`, the greatest first if `descending`; and the
        cursor of the next page, None: this is the last.
    """

    def comes_after(item: T, cursor: str) -> bool:
        return key(item) < cursor if descending else key(item) > cursor

    ordered = items[::-1] if descending else items
    after = [item for item in ordered if cursor is None or comes_after(item, cursor)]
    return after[:limit], key(after[limit - 1]) if len(after) > limit else None


def tagged(tags: Tags, wanted: str | None) -> bool:
    """Whether a thing has the tag that is asked for, as `NAME:VALUE`; None asks for none."""
    if wanted is None:
        return True
    name, _, value = wanted.partition(":")
    return tags.get(name) == value
