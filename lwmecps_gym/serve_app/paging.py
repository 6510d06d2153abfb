"""What all lists of the API ask for and answer alike."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

PageLimit = Annotated[int, Query(ge=1, le=500, description="At most so many of them.")]
IdCursor = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9a-f]{20}$", description="`next_cursor` of the page before; unset: the first."
    ),
]
NextCursor = Annotated[
    str | None, Field(description="Send it as `cursor` for the next page; null: this is the last.")
]
