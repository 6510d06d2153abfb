"""Networks as plain torch modules: what RLlib trains is what is served.

A network takes observations as the environments give them: a tensor [B, D], or a dict of tensors
[B, ...] in which `action_mask` is set apart and the rest is flattened in the order of the names.
"""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lwmecps_gym.algorithms.layers import Mlp, Tanh, dueling, where_set

MASK = "action_mask"
Observations = Tensor | Mapping[str, Tensor]


class NetworkConfig(BaseModel):
    """Architecture of a network; stored in a model's manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mlp"] = "mlp"
    inputs: int
    outputs: int
    hidden: tuple[int, ...] = Field(default=(128, 128))
    dueling: bool = False


def flat_size(space: gym.Space[Any]) -> int:
    """Number of inputs that `flatten` makes of an observation space."""
    if isinstance(space, gym.spaces.Dict):
        return sum(gym.spaces.flatdim(part) for name, part in space.items() if name != MASK)
    return gym.spaces.flatdim(space)


def to_tensors(observations: Any) -> Observations:
    """Tensors that share memory with arrays as an environment gives them."""
    if isinstance(observations, dict):
        return {name: torch.from_numpy(values) for name, values in observations.items()}
    return torch.from_numpy(observations)


def flatten(observations: Observations) -> Tensor:
    """Concatenate all but the mask, [B, D] float32."""
    if isinstance(observations, Tensor):
        return observations.float()
    parts = [observations[name].flatten(1) for name in sorted(observations) if name != MASK]
    return torch.cat(parts, dim=1).float()


def mask_scores(scores: Tensor, observations: Observations, illegal: float) -> Tensor:
    """Give illegal actions the score `illegal`, where the observations have a mask."""
    if isinstance(observations, Tensor):
        return scores
    return where_set(observations[MASK], scores, illegal)


def mlp(sizes: tuple[int, ...], output_gain: float | None = None) -> Mlp:
    """Fully connected network with tanh between layers.

    Args:
        sizes: inputs, hidden layers, outputs.
        output_gain: gain of the orthogonal initialisation of the last layer; unset: none of the
            layers is initialised anew.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = index == len(sizes) - 2
        linear = nn.Linear(inputs, outputs)
        if output_gain is not None:
            nn.init.orthogonal_(linear.weight, output_gain if last else 2**0.5)
            nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, Tanh()]
    return Mlp(*layers)


class ScoreNetwork(nn.Module):
    """Scores every action: logits of a policy, or action values, dueling or not.

    A dueling network (Wang et al. 2016) adds a state value to advantages that are centred over the
    legal actions.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.dueling = config.dueling
        if config.dueling:
            self.body = nn.Sequential(mlp((config.inputs, *config.hidden)), Tanh())
            self.advantage = nn.Linear(config.hidden[-1], config.outputs)
            self.value = nn.Linear(config.hidden[-1], 1)
        else:
            self.body = mlp((config.inputs, *config.hidden, config.outputs), output_gain=0.01)

    def forward(self, observations: Observations, illegal: float = float("-inf")) -> Tensor:
        """Scores [B, A]; illegal actions score `illegal`."""
        hidden = self.body(flatten(observations))
        if not self.dueling:
            return mask_scores(hidden, observations, illegal)
        advantage, value = self.advantage(hidden), self.value(hidden)
        if isinstance(observations, Tensor):
            return advantage - advantage.mean(1, keepdim=True) + value
        return dueling(observations[MASK], advantage, value, illegal)
