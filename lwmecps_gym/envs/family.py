"""What a scenario says of its family: clusters of several sizes to train on side by side."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from lwmecps_gym.envs.parts import Part


def _range(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) else value


Size = Annotated[int, Field(ge=1, le=1000)]
Interval = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]
Sizes = Annotated[tuple[Size, Size], BeforeValidator(_range)]
Intervals = Annotated[tuple[Interval, Interval], BeforeValidator(_range)]


class ScenarioFamily(Part):
    """Scenarios drawn by `edge_scenario`, all sizes between the bounds equally often.

    A family stands where a scenario does: the scenario itself is then the largest of its members,
    and only the vector environment of `lwmecps-v3` plays all of them.
    """

    nodes: Sizes = Field(description="least and most nodes, or one number")
    services: Sizes = Field(description="least and most services, or one number")
    count: Annotated[int, Field(ge=1, le=1000)] = Field(default=16, description="scenarios drawn")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    episode_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=120, description="short episodes show more beginnings, when most is to be done"
    )
    control_interval_s: Intervals = Field(
        default=(60, 60),
        description="shortest and longest time between decisions, or one number, s; half an hour "
        "on a small cluster leaves as few decisions per node as a minute does on a large one",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for field in ("nodes", "services", "control_interval_s"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: the lower bound {low} is above {high}")
        return self

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Nodes and services of each member."""
        nodes, services = (range(low, high + 1) for low, high in (self.nodes, self.services))
        every = ((n, s) for s in cycle(services) for n in nodes)
        return islice(every, self.count)

    def intervals_s(self) -> list[float]:
        """Time between decisions of each member, s: spread evenly by their logarithm, shuffled."""
        low, high = self.control_interval_s
        shuffled = np.random.default_rng(self.seed).permutation(self.count)
        shares = shuffled / max(1, self.count - 1)
        return [round(low * (high / low) ** float(share)) for share in shares]
