"""Typed parameters of the learning algorithms; no Ray needed.

`learning_rate` and `discount_factor` mean the same in all of them. Unknown names are refused.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Hidden = Annotated[
    tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=6)
]
SCATTER = "steps after which a cluster's pods are placed anew at random, in the mean; 0: never"


class Parameters(BaseModel):
    """What all algorithms have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: Rate
    discount_factor: Fraction
    num_envs: int = Field(default=64, ge=1, le=4096, description="clusters sampled side by side")
    rollout_steps: int = Field(
        default=90, ge=1, le=4096, description="steps of each cluster between updates"
    )
    scatter_steps: int = Field(default=0, ge=0, description=SCATTER)


class NetworkParameters(Parameters):
    """What algorithms with a network have."""

    network: Literal["mlp", "any-size"] = Field(
        default="mlp",
        description="any-size, on lwmecps-v3: one that plays clusters of any other size, too",
    )
    width: int = Field(default=32, ge=4, le=1024, description="size of embeddings, any-size")
    rounds: int = Field(default=2, ge=0, le=8, description="rounds of messages, any-size")

    @property
    def any_size(self) -> bool:
        """Whether the network is one for any size."""
        return self.network == "any-size"


class PPOParameters(NetworkParameters):
    """Proximal policy optimisation (Schulman et al. 2017), with masked actions."""

    learning_rate: Rate = 2e-3
    learning_rate_end: Fraction = Field(
        default=0.02, description="share of the learning rate at the end; it falls linearly"
    )
    discount_factor: Fraction = 0.99
    rollout_steps: int = Field(
        default=128, ge=1, le=4096, description="steps of each cluster between updates"
    )
    scatter_steps: int = Field(default=256, ge=0, description=SCATTER)
    beginnings: int = Field(
        default=1, ge=1, le=16, description="how often it begins; the best of them goes on"
    )
    beginning_share: Fraction = Field(
        default=0.15, description="share of the episodes that each of several beginnings takes"
    )
    minibatch_size: int = Field(default=1024, ge=32)
    epochs: int = Field(default=3, ge=1, le=50)
    gae_lambda: Fraction = 0.95
    clip: Rate = 0.2
    entropy_coeff: Fraction = Field(default=0.05, description="weight of the entropy bonus")
    entropy_coeff_end: Fraction = Field(
        default=0.04, description="share of the entropy bonus at the end; it falls linearly"
    )
    value_coeff: float = Field(default=0.5, ge=0)
    grad_clip: float = Field(default=0.5, gt=0)
    hidden: Hidden = Field(default=(128, 128), description="layers of the mlp")

    @model_validator(mode="after")
    def _leave_something_to_go_on_with(self) -> Self:
        if self.beginnings > 1 and self.beginnings * self.beginning_share >= 1:
            raise ValueError(
                f"beginnings {self.beginnings} x beginning_share {self.beginning_share:g} leave "
                "nothing to go on with; lower one of them"
            )
        return self


class DQNParameters(NetworkParameters):
    """Deep Q-learning (Mnih et al. 2015): double, dueling, n-step, prioritised, masked."""

    learning_rate: Rate = 1e-3
    learning_rate_end: Fraction = Field(
        default=0.02, description="share of the learning rate at the end; it falls linearly"
    )
    discount_factor: Fraction = 0.99
    num_envs: int = Field(default=64, ge=1, le=4096, description="clusters sampled side by side")
    rollout_steps: int = Field(
        default=32, ge=1, le=4096, description="steps of each cluster between updates"
    )
    scatter_steps: int = Field(default=256, ge=0, description=SCATTER)
    batch_size: int = Field(default=512, ge=8)
    training_intensity: float = Field(
        default=4.0, gt=0, description="steps replayed per step sampled"
    )
    buffer_steps: int = Field(default=300_000, ge=1000)
    learning_starts: int = Field(default=2_000, ge=0, description="steps before the first update")
    target_update_steps: int = Field(
        default=100_000,
        ge=1,
        description="over which the target averages the weights, about; it is what is served",
    )
    n_step: int = Field(default=10, ge=1, le=50)
    epsilon_end: Fraction = 0.01
    epsilon_decay: Rate = Field(
        default=0.3, description="share of the training in which exploration falls from 1, linearly"
    )
    double_q: bool = True
    dueling: bool = True
    prioritised: bool = True
    centred: bool = Field(default=True, description="learn from rewards less their recent mean")
    grad_clip: float = Field(default=10.0, gt=0)
    hidden: Hidden = Field(default=(128, 128), description="layers of the mlp")


class QLearningParameters(Parameters):
    """Tabular Q-learning (Watkins 1989) on the discretised `lwmecps-v1`."""

    learning_rate: Rate = 0.1
    learning_rate_end: Fraction = Field(
        default=0.02, description="share of the learning rate at the end; it falls linearly"
    )
    discount_factor: Fraction = 0.95
    num_envs: int = Field(default=16, ge=1, le=4096, description="clusters sampled side by side")
    rollout_steps: int = Field(
        default=36, ge=1, le=4096, description="steps of each cluster between updates"
    )
    scatter_steps: int = Field(default=24, ge=0, description=SCATTER)
    demand_bins: int = Field(default=12, ge=1, le=50)
    epsilon_end: Fraction = 0.3
    epsilon_decay: Rate = Field(
        default=0.7, description="share of the training in which exploration falls from 1, linearly"
    )
    initial_value: float = Field(
        default=-16.0,
        le=0,
        description="of what was never tried; at 0 every untried action looks best",
    )


def env_options(env: str, scenario: Scenario, parameters: BaseModel) -> dict[str, Any]:
    """Options of the environment that a training plays, and its model later.

    A network for any size sees catchments, and makes no moves: large clusters have none.

    Args:
        env: lwmecps-v1, lwmecps-v2 or lwmecps-v3.
        scenario: what is played.
        parameters: of the algorithm.

    Raises:
        InvalidInputError: the network cannot learn there.
    """
    any_size = isinstance(parameters, NetworkParameters) and parameters.any_size
    if any_size and env != "lwmecps-v3":
        raise InvalidInputError(f"parameters.network: any-size learns on lwmecps-v3, not on {env}")
    if scenario.family and not any_size:
        raise InvalidInputError(
            "scenario.family: only parameters.network any-size learns on clusters of several sizes"
        )
    return {"catchment": True, "moves": False} if any_size else {}
