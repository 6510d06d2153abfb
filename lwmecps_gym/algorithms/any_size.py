"""A network for clusters of any size: the same weights score every action of `lwmecps-v3`.

Each pair of a service and a node has an embedding, made of its own features and those of its
service and its node. In each round of messages a pair hears the mean over the nodes of its service,
the mean over the services of its node, and the mean over all pairs (exchangeable matrix layers,
Hartford et al.: Deep Models of Interactions Across Sets, 2018). Means do not grow with a cluster;
permuting nodes or services permutes the scores; padding is left out and changes nothing. Without
moves, which large clusters do not have, the work is S N.

What the catchments say an action is worth is added to its score with a weight of its own: an
untrained network follows these estimates, at any size, and a training learns when not to.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lwmecps_gym.algorithms.layers import dueling
from lwmecps_gym.algorithms.networks import MASK, Observations, mask_scores, mlp
from lwmecps_gym.envs.encoding import (
    CATCHMENT_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
    SERVICE_FEATURES,
)

FEATURES = PAIR_FEATURES + CATCHMENT_FEATURES, SERVICE_FEATURES, NODE_FEATURES
"""What the network sees of pairs, services and nodes."""
FITTING = 2
"""Features of pairs that it works out itself."""
WORTH = 4.0
"""Weight that what an action is worth, by the catchments, has in its score before any training."""


class AnySizeConfig(BaseModel):
    """Architecture of an `AnySizeNetwork`; stored in a model's manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["any-size"] = "any-size"
    features: tuple[tuple[str, ...], ...] = FEATURES
    width: int = Field(default=32, ge=1)
    rounds: int = Field(default=2, ge=0)
    move_rank: int = Field(default=4, ge=1)
    dueling: bool = False


class AnySizeNetwork(nn.Module):
    """Scores every action: logits of a policy, or action values, dueling or not.

    A move is scored by what its source and its target say, and by a product of both (of rank
    `move_rank`). A dueling network is as in `networks.ScoreNetwork`.
    """

    def __init__(self, config: AnySizeConfig) -> None:
        super().__init__()
        self.config = config
        self.dueling = config.dueling
        width = config.width
        pair, service, node = map(len, config.features)
        self.pair_in = nn.Linear(pair + FITTING, width)
        self.service_in = nn.Linear(service, width, bias=False)
        self.node_in = nn.Linear(node, width, bias=False)
        self.clock_in = nn.Linear(2, width, bias=False)
        self.rounds = nn.ModuleList(Round(width) for _ in range(config.rounds))
        self.pair_out = mlp((width, 2 + 2 * (1 + config.move_rank)), output_gain=0.01)
        self.worth = nn.Parameter(torch.full((2, 2), WORTH))
        self.nothing_out = mlp((width, width, 1), output_gain=0.01)
        self.value_out = mlp((width, width, 1)) if config.dueling else None

    def forward(self, observations: Observations, illegal: float = float("-inf")) -> Tensor:
        """Scores [B, A]; illegal actions score `illegal`."""
        return self.scores(observations, *self.embed(observations), illegal)

    def embed(self, observations: Observations) -> tuple[Tensor, Tensor]:
        """Embeddings of the pairs, [B, S, N, D], and of the whole cluster, [B, D]."""
        assert not isinstance(observations, Tensor), "lwmecps-v3 has dicts"
        there = There(observations)
        features = torch.cat(
            [observations["pairs"], observations["catchment"], fitting(observations)], dim=-1
        )
        by_service = self.service_in(squash(observations["services"]))
        by_service = by_service + self.clock_in(observations["clock"])[:, None]
        by_node = self.node_in(squash(observations["nodes"]))
        new = self.pair_in(squash(features)) + by_service[:, :, None] + by_node[:, None]
        pairs = torch.relu(new) * there.pair
        for layer in self.rounds:
            pairs = layer(pairs, there)
        cluster = pairs.sum(2).sum(1) * (there.per_node * there.per_service)[:, 0]
        return pairs, cluster

    def scores(
        self, observations: Observations, pairs: Tensor, cluster: Tensor, illegal: float
    ) -> Tensor:
        """Scores [B, A] by embeddings."""
        assert not isinstance(observations, Tensor), "lwmecps-v3 has dicts"
        mask = observations[MASK]
        _, services, nodes, _ = pairs.shape
        place, remove, *move = self.pair_out(pairs).split((1, 1, *2 * (1, self.rank)), dim=-1)
        worth = squash(observations["catchment"][..., 1:])
        place = place[..., 0] + worth[..., :2] @ self.worth[0]
        remove = remove[..., 0] - worth[..., 2:] @ self.worth[1]
        parts = [self.nothing_out(cluster), place.flatten(1), remove.flatten(1)]
        if mask.shape[1] > 1 + 2 * services * nodes:
            leave, leaving, come, coming = move
            both = leave + come.mT + leaving @ coming.mT
            parts.append(_off_diagonal(both).flatten(1))
        scores = torch.cat(parts, dim=1)
        if self.value_out is not None:
            return dueling(mask, scores, self.value_out(cluster), illegal)
        return mask_scores(scores, observations, illegal)

    @property
    def rank(self) -> int:
        """Rank of the product that scores moves."""
        return self.config.move_rank


class There:
    """What is no padding.

    Attributes:
        pair: 1 where service and node are there, [B, S, N, 1].
        per_service, per_node: one over their numbers, [B, 1, 1].
    """

    def __init__(self, observations: Mapping[str, Tensor]) -> None:
        service, node = observations["services"][..., 0], observations["nodes"][..., 0]
        self.pair = (service[:, :, None] * node[:, None])[..., None]
        self.per_service = 1 / service.sum(1)[:, None, None]
        self.per_node = 1 / node.sum(1)[:, None, None]


class Round(nn.Module):
    """One round of messages between the pairs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.service = nn.Linear(width, width, bias=False)
        self.node = nn.Linear(width, width, bias=False)
        self.cluster = nn.Linear(width, width, bias=False)

    def forward(self, pairs: Tensor, there: There) -> Tensor:
        """New embeddings [B, S, N, D], 0 where there is padding."""
        by_service = pairs.sum(2) * there.per_node
        by_node = pairs.sum(1) * there.per_service
        cluster = by_service.sum(1, keepdim=True) * there.per_service
        heard = self.service(by_service) + self.cluster(cluster)
        new = self.own(pairs) + heard[:, :, None] + self.node(by_node)[:, None]
        return torch.addcmul(pairs, torch.relu(new), there.pair)


def fitting(observations: Mapping[str, Tensor]) -> Tensor:
    """How many replicas a node has CPU for, empty and as it is, [B, S, N, `FITTING`]."""
    nodes, services = observations["nodes"], observations["services"]
    cores = 4 * nodes[..., NODE_FEATURES.index("cpu_cores")]
    free = cores * nodes[..., NODE_FEATURES.index("free_cpu")]
    per_replica = services[..., SERVICE_FEATURES.index("cpu")].clamp(min=1e-3)
    return torch.stack([cores, free], dim=-1)[:, None] / per_replica[:, :, None, None]


def squash(values: Tensor) -> Tensor:
    """The logarithm of what is large, with its sign: sign(x) log(1 + |x|)."""
    return torch.sign(values) * torch.log1p(values.abs())


def _off_diagonal(square: Tensor) -> Tensor:
    """[..., N, N] -> [..., N (N - 1)], row by row."""
    n = square.shape[-1]
    rest = square.flatten(-2)[..., 1:].reshape(*square.shape[:-2], n - 1, n + 1)
    return rest[..., :-1].flatten(-2)
