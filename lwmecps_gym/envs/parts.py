"""What all parts of a scenario's document have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Part(BaseModel):
    """A part of a document: it knows all its fields, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
