"""Deployments: ReplicaSets keep services at a number of pods, kube-scheduler places these."""

from abc import abstractmethod
from functools import cached_property

import numpy as np
from pydantic import Field

from lwmecps_gym.algorithms.heuristics.base import Heuristic, Knobs
from lwmecps_gym.algorithms.heuristics.demand import largest_first, planned_replicas
from lwmecps_gym.algorithms.kube_scoring import (
    SPREAD_WEIGHT,
    Strategy,
    place_by_score,
    replicas_to_drop,
)
from lwmecps_gym.envs.actions import Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterState, Ints


class DeploymentKnobs(Knobs):
    """What can be set of kube-scheduler and of pods."""

    spread_weight: int = Field(
        default=SPREAD_WEIGHT, ge=0, le=100, description="weight of PodTopologySpread"
    )
    eviction_s: float = Field(
        default=300,
        ge=0,
        allow_inf_nan=False,
        description="time from a node's failure to the eviction of its pods (tolerationSeconds), s",
    )


class Deployments(Heuristic):
    """Keeps each service at a number of pods, and never moves one.

    A missing pod goes where kube-scheduler would put it, that of the service that lacks most first;
    one too many goes as a ReplicaSet deletes it. The pods of a node that fails are replaced when
    they are evicted (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    #taint-based-evictions), or when their node is back.
    """

    strategy: Strategy = "LeastAllocated"
    knobs_type = DeploymentKnobs
    knobs: DeploymentKnobs

    def reset(self, batch: int) -> None:
        """Forget which nodes failed."""
        self._held: Ints | None = None

    @abstractmethod
    def wanted(self, state: ClusterState) -> Ints:
        """Pods that each service shall have, within its limits, [B, S]."""

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        lost = self._not_evicted(state)
        surplus = self.wanted(state) - state.replicas.sum(-1)
        action = self._scale(state, np.clip(0, surplus - lost, surplus))
        self._held = apply_to(state.replicas, self.actions, action)
        return action

    def _not_evicted(self, state: ClusterState) -> Ints:
        """Pods that went down with their nodes and still count as there, [B, S]."""
        if self._held is None:
            self._held = state.replicas
            self._lost = np.zeros_like(self._held)
            self._down_since = np.full(state.node_up.shape, np.inf)
        down, time_s = ~state.node_up, state.time_s[:, None]
        failed = down & np.isinf(self._down_since)
        self._down_since = np.where(down, np.minimum(self._down_since, time_s), np.inf)
        waits = down & (time_s - self._down_since < self.knobs.eviction_s)
        self._lost = np.where(failed[:, None], self._held, self._lost) * waits[:, None]
        return self._lost.sum(-1)

    def _scale(self, state: ClusterState, change: Ints) -> Ints:
        """Place a pod of the service that lacks most of those with room, else remove one."""
        rows = np.arange(len(change))
        legal = self.actions.legal_in(state)
        services, nodes = state.ready.shape[1:]
        room = legal[:, 1 : 1 + services * nodes].reshape(-1, services, nodes).any(-1)
        lack = np.where(room, change, 0)
        up = np.argmax(lack, axis=1)
        node = place_by_score(
            state.params, state.replicas, state.node_up, up, self.strategy, self.knobs.spread_weight
        )
        down = np.argmin(change, axis=1)
        victim = replicas_to_drop(state.starting, state.replicas, down)
        remove = np.where(change[rows, down] < 0, self.actions.remove(down, victim), Kind.NOTHING)
        return np.where(lack[rows, up] > 0, self.actions.place(up, node), remove)


class FixedKnobs(DeploymentKnobs):
    """How many replicas are planned, and what can be set of kube-scheduler."""

    utilisation: float = Field(
        default=0.7, gt=0, le=1, description="of the replicas, planned for the day's mean demand"
    )


class KubeDefault(Deployments):
    """Deployments with fixed replicas for the mean demand, placed as kube-scheduler does."""

    name = "kube_default"
    knobs_type = FixedKnobs
    knobs: FixedKnobs

    def wanted(self, state: ClusterState) -> Ints:
        """See `Deployments.wanted`."""
        return np.broadcast_to(self._planned, state.replicas.shape[:2])

    @cached_property
    def _planned(self) -> Ints:
        return planned_replicas(self.scenario, self.knobs.utilisation)

    @cached_property
    def target(self) -> Ints:
        """Where its pods go in an empty cluster, the largest first, [S, N]."""
        placement = np.zeros((1, *self.params.request.shape[1:2], len(self.scenario.nodes)), int)
        up = np.ones((1, len(self.scenario.nodes)), dtype=bool)
        knobs = self.knobs
        for s, count in largest_first(self.scenario, self._planned):
            for _ in range(count):
                node = place_by_score(
                    self.params, placement, up, np.array([s]), self.strategy, knobs.spread_weight
                )
                if node[0] < 0:
                    break
                placement[0, s, node[0]] += 1
        return placement[0]


class BinPack(KubeDefault):
    """`kube_default` with kube-scheduler set to fill nodes: NodeResourcesFit by MostAllocated.

    The other plugins stay as they are (https://kubernetes.io/docs/concepts/scheduling-eviction/
    resource-bin-packing/#enabling-bin-packing-using-mostallocated-strategy); `spread_weight` says
    what PodTopologySpread counts against the packing.
    """

    name = "binpack"
    strategy: Strategy = "MostAllocated"
