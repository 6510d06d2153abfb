"""What `predict` takes and answers, in plain terms."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_BATCH = 1024

Count = Annotated[int, Field(ge=0, le=100_000)]
Rps = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PlainState(BaseModel):
    """A cluster in plain terms, by the names of the model's scenario; what is left out is 0."""

    model_config = ConfigDict(extra="forbid")

    time_s: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="s since midnight of the first day"
    )
    placement: dict[str, dict[str, Count]] = Field(
        default_factory=dict,
        description="ready replicas by service and node",
        examples=[{"video": {"bs_1": 2}}],
    )
    starting: dict[str, dict[str, Count]] = Field(
        default_factory=dict, description="replicas that do not serve yet, by service and node"
    )
    demand_rps: dict[str, dict[str, Rps]] = Field(
        default_factory=dict,
        description="requests/s by service and site",
        examples=[{"video": {"bs_1": 40, "bs_2": 10.5}}],
    )
    nodes_down: list[str] = Field(default_factory=list)


class DecisionRequest(BaseModel):
    """One state or observation, or a batch of either; a batch is scored in one go."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "state": {
                        "time_s": 43200,
                        "placement": {"video": {"bs_1": 1}},
                        "demand_rps": {"video": {"bs_1": 20, "bs_2": 5}},
                    }
                }
            ]
        },
    )

    state: PlainState | None = Field(default=None, description="a cluster in plain terms")
    observation: dict[str, Any] | list[Any] | None = Field(
        default=None, description="as the model's environment encodes it"
    )
    states: Annotated[list[PlainState], Field(min_length=1, max_length=MAX_BATCH)] | None = None
    observations: (
        Annotated[list[dict[str, Any] | list[Any]], Field(min_length=1, max_length=MAX_BATCH)]
        | None
    ) = None

    @model_validator(mode="after")
    def _one(self) -> "DecisionRequest":
        given = (self.state, self.observation, self.states, self.observations)
        if sum(part is not None for part in given) != 1:
            raise ValueError("give one of state, observation, states or observations")
        return self

    @property
    def size(self) -> int:
        """Number of decisions that are asked for."""
        return len(self.states or self.observations or (1,))


class Effect(BaseModel):
    """What the model expects of the decision, once new replicas serve, under the same demand."""

    latency_ms_before: float
    latency_ms_after: float
    violation_share_before: float
    violation_share_after: float
    cost_before: float
    cost_after: float


class Decision(BaseModel):
    """What the policy wants."""

    action: int = Field(description="number of the action in the model's environment")
    kind: str = Field(description="nothing, place, remove or move")
    description: str = Field(description="the action in words")
    service: str | None = None
    source: str | None = None
    target: str | None = None
    placement: dict[str, dict[str, int]] | None = Field(
        default=None, description="recommended replicas by service and node, for a plain state"
    )
    effect: Effect | None = Field(default=None, description="for a plain state")
    decision_ms: float = Field(description="time to decide; in a batch, its share of the whole")


class DecisionBatch(BaseModel):
    """What the policy wants in each state or observation of a batch, in their order."""

    decisions: list[Decision]
    decision_ms: float = Field(description="time to decide on all of them")
