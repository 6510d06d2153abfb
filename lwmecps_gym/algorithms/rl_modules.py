"""RLlib modules around the networks of `networks`."""

from typing import Any

import torch
from ray.rllib.algorithms.dqn.default_dqn_rl_module import (
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
)
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.schedules.scheduler import Scheduler
from ray.rllib.utils.torch_utils import FLOAT_MIN

from lwmecps_gym.algorithms.any_size import AnySizeConfig, AnySizeNetwork
from lwmecps_gym.algorithms.networks import NetworkConfig, ScoreNetwork, flat_size, flatten, mlp


def network_config(module: TorchRLModule, dueling: bool = False) -> NetworkConfig:
    """Architecture that fits a module's spaces."""
    return NetworkConfig(
        inputs=flat_size(module.observation_space),
        outputs=int(module.action_space.n),
        hidden=tuple(module.model_config["hidden"]),
        dueling=dueling,
    )


class MaskedActorCritic(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """Actor (served later) and critic, apart; illegal actions have no probability."""

    def setup(self) -> None:
        """Build the networks."""
        config = network_config(self)
        self.action_dist_cls = TorchCategorical
        self.network = ScoreNetwork(config)
        self.critic = mlp((config.inputs, *config.hidden, 1), output_gain=1.0)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.network(batch[Columns.OBS], FLOAT_MIN)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Values [B] of the observations in a batch."""
        values: torch.Tensor = self.critic(flatten(batch[Columns.OBS])).squeeze(-1)
        return values


class MaskedQNetwork(DefaultDQNTorchRLModule):  # type: ignore[misc]
    """Action values with their target; illegal actions are minus infinity, also in the targets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("catalog_class", None)
        TorchRLModule.__init__(self, *args, **kwargs)

    def setup(self) -> None:
        """Build the network."""
        self.action_dist_cls = TorchCategorical
        self.uses_dueling = bool(self.model_config["dueling"])
        self.uses_double_q = bool(self.model_config["double_q"])
        self.num_atoms = 1
        self.epsilon_schedule = Scheduler(
            fixed_value_or_schedule=self.model_config["epsilon"], framework="torch"
        )
        self.network = self.make_network()

    def make_network(self) -> torch.nn.Module:
        """The network whose action values are learned."""
        return ScoreNetwork(network_config(self, dueling=self.uses_dueling))

    def get_non_inference_attributes(self) -> list[str]:
        """What is left out of copies that only act."""
        return ["_target_network"]

    def _forward_exploration(self, batch: dict[str, Any], t: int) -> dict[str, Any]:
        """The best action, or with the schedule's chance any legal one."""
        values = self.compute_q_values(batch)[QF_PREDS]
        self.epsilon_schedule.update(t)
        epsilon = self.epsilon_schedule.get_current_value()
        noise = torch.rand_like(values).masked_fill(torch.isneginf(values), -1.0)
        wild = torch.rand(len(values), 1) < epsilon
        return {Columns.ACTIONS: torch.where(wild, noise, values).argmax(1)}

    def _forward_train(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Action values, and those of what followed, which no gradients go through."""
        following = {Columns.OBS: batch[Columns.NEXT_OBS]}
        out = {QF_PREDS: self.compute_q_values(batch)[QF_PREDS]}
        with torch.no_grad():
            out[QF_TARGET_NEXT_PREDS] = self.forward_target(following)[QF_PREDS]
            if self.uses_double_q:
                out[QF_NEXT_PREDS] = self.compute_q_values(following)[QF_PREDS]
        return out

    def make_target_networks(self) -> None:
        """Copy the network."""
        self._target_network = make_target_network(self.network)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """Network and target."""
        return [(self.network, self._target_network)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Action values by the target network."""
        return {QF_PREDS: self._target_network(batch[Columns.OBS])}

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Action values [B, A]."""
        return {QF_PREDS: self.network(batch[Columns.OBS])}

    def get_initial_state(self) -> dict[str, Any]:
        """The module has no state."""
        return {}


def any_size_config(module: TorchRLModule, dueling: bool = False) -> AnySizeConfig:
    """Architecture that a module's configuration asks for."""
    config = module.model_config
    return AnySizeConfig(width=config["width"], rounds=config["rounds"], dueling=dueling)


class AnySizeActorCritic(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """Actor and critic on the same embeddings, for clusters of any size.

    The critic's output is scaled by `value_scale`, so that it is of the size of a reward.
    """

    def setup(self) -> None:
        """Build the networks."""
        self.action_dist_cls = TorchCategorical
        config = any_size_config(self)
        self.network = AnySizeNetwork(config)
        self.critic = mlp((config.width, config.width, 1), output_gain=1.0)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        observations = batch[Columns.OBS]
        pairs, cluster = self.network.embed(observations)
        scores = self.network.scores(observations, pairs, cluster, FLOAT_MIN)
        return {Columns.ACTION_DIST_INPUTS: scores, Columns.EMBEDDINGS: cluster}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Values [B] of the observations in a batch."""
        if embeddings is None:
            _, embeddings = self.network.embed(batch[Columns.OBS])
        values: torch.Tensor = self.model_config["value_scale"] * self.critic(embeddings)
        return values.squeeze(-1)


class AnySizeQNetwork(MaskedQNetwork):
    """Action values for clusters of any size."""

    def make_network(self) -> torch.nn.Module:
        """See `MaskedQNetwork.make_network`."""
        return AnySizeNetwork(any_size_config(self, dueling=self.uses_dueling))
