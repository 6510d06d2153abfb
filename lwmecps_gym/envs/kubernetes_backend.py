"""A live Kubernetes cluster in the simulator's place."""

import logging
import time
from dataclasses import replace
from typing import Self

import numpy as np

from lwmecps_gym.envs.actions import Kind
from lwmecps_gym.envs.cluster import Bools, ClusterState, Ints
from lwmecps_gym.envs.live_cluster import LiveCluster, initial_placement, read_cluster
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel, Step
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import ClusterError, IllegalActionError, InvalidInputError
from lwmecps_gym.platform.kubernetes_api import KubernetesApi, WorkloadSpec

LONGEST_WAIT_S = 120.0
"""Longest wait for replicas to be ready, unless another is given [s]."""
_POLL_S = 0.2

_log = logging.getLogger(__name__)


class KubernetesBackend:
    """One live cluster (B = 1), behind the same `Backend` protocol as the simulator.

    From the cluster: where replicas are ready and where they are starting, which nodes are up
    (ready, and taking new pods), and what each node has: its allocatable CPU, memory and number of
    pods, less what the pods of others request. This replaces the scenario's numbers, and legal
    actions follow from it; only tx and rx, which Kubernetes does not count, stay the scenario's.

    From the model: demand is that of the scenario's workload, and latency, violations and cost come
    from the model's equations on the live placement. No request is sent and none is measured: an
    episode tells what placements that the cluster really took would cost under that demand.

    A step applies one action, waits until the cluster has followed, reads it, and is charged with
    the placement that it then finds, for the whole interval. Replicas that are not ready in time
    are no error: they are observed as starting. The workload's time goes on by one interval, and
    so does real time if `real_time` is set; without it the step ends as soon as the cluster has
    followed, when all replicas are ready and the pod that was taken away is gone.

    Not guaranteed:

    - That the cluster stays as it was read. Legal actions are those of the last reading; a replica
      that finds its room taken is observed as starting.
    - That nobody else scales the platform's Deployments. Use one namespace per environment: waiting
      is for all Deployments of the platform in it.
    - A move is two writes. If the second one fails, a replica is left over; begin a new episode,
      as after every `ClusterError`.
    - The failures and the domain randomisation of `lwmecps-v3` have no effect here.

    Nothing is cleaned up: what runs goes on running when the environment is closed or the program
    ends. `KubernetesApi.delete_owned` deletes it.

    Args:
        scenario: whose services to place, on the nodes of the same names (see `KubernetesApi`).
        api: the cluster, and the namespace for the services.
        moves: whether actions include moves.
        real_time: have every step take the scenario's `control_interval_s`.
        ready_timeout_s: longest wait in a step [s]; the control interval unless given, and at most
            120 s then.
        reset_timeout_s: longest wait for the initial placement [s].

    Raises:
        ClusterError: the cluster does not answer, refuses, or lacks a node of the scenario.
        InvalidInputError: a service has no memory, or two nodes of the scenario are one.
    """

    def __init__(
        self,
        scenario: Scenario,
        api: KubernetesApi,
        *,
        moves: bool | None = None,
        real_time: bool = False,
        ready_timeout_s: float | None = None,
        reset_timeout_s: float = LONGEST_WAIT_S,
    ) -> None:
        if ready_timeout_s is None:
            ready_timeout_s = min(scenario.control_interval_s, LONGEST_WAIT_S)
        self.scenario = scenario
        self._api = api
        self._real_time = real_time
        self._ready_timeout_s = ready_timeout_s
        self._reset_timeout_s = reset_timeout_s
        self._model = ClusterModel(scenario, 1, moves=moves, failures=False)
        self.actions = self._model.actions
        self._nodes = [node.name for node in scenario.nodes]
        self._workloads = [
            WorkloadSpec(service.name, service.cpu, service.memory_mib, service.image)
            for service in scenario.services
        ]
        self._live = self._observe()

    @classmethod
    def connect(
        cls,
        scenario: Scenario,
        moves: bool,
        *,
        real_time: bool = False,
        ready_timeout_s: float | None = None,
        reset_timeout_s: float = LONGEST_WAIT_S,
    ) -> Self:
        """Use the cluster and the namespace of the `Settings`; else as the constructor."""
        return cls(
            scenario,
            KubernetesApi.from_settings(Settings()),
            moves=moves,
            real_time=real_time,
            ready_timeout_s=ready_timeout_s,
            reset_timeout_s=reset_timeout_s,
        )

    def reset(
        self,
        rngs: dict[int, np.random.Generator],
        start_s: float | None = None,
        placement: Ints | None = None,
    ) -> None:
        """Scale every service on every node to the initial placement, and wait until it is ready.

        Args:
            rngs: the randomness of the demand, under the key 0.
            start_s: time of the day at which the episode begins [s]; unset: midnight.
            placement: replicas to begin with, [S, N]; unset: each service's minimum, spread over
                the room that the live nodes have.

        Raises:
            InvalidInputError: `start_s` is no time, or `placement` does not fit the live nodes.
            ClusterError: the cluster has no room for the minimum, is not ready in time, refuses or
                does not answer.
            ConflictError: a Deployment of someone else has the name of one of the platform's.
        """
        before = read_cluster(self._api, self.scenario)
        wanted = initial_placement(before, self.scenario, placement)
        self._model.reset(rngs, start_s)
        for s, workload in enumerate(self._workloads):
            for n, node in enumerate(self._nodes):
                if wanted[s, n] > 0 or before.replicas[s, n] > 0:
                    self._api.scale(workload, node, int(wanted[s, n]))
        self._api.wait_until_ready(self._reset_timeout_s)
        leaving = np.asarray((before.replicas > wanted).any(axis=0))
        self._wait_until_gone(before, leaving, time.monotonic() + self._ready_timeout_s)
        self._live = self._observe()

    def legal(self) -> Bools:
        """Which actions can be applied, by the last reading, [1, A]."""
        replicas, up = self._live.replicas[None], self._live.up[None]
        return self.actions.legal(self._model.params, replicas, up)

    def state(self) -> ClusterState:
        """What a policy sees: the last reading, under the demand of the step before it."""
        params, demand = self._model.params, self._model.demand_at(-1)
        ready = self._live.ready[None]
        performance = evaluate(self.scenario, params, ready, demand)
        return ClusterState(
            params=params,
            time_s=self._model.time_s,
            ready=ready.copy(),
            starting=self._live.starting[None].copy(),
            node_up=self._live.up[None].copy(),
            demand=demand,
            utilisation=performance.utilisation,
            latency_ms=performance.service_latency_ms,
        )

    def step(self, actions: Ints) -> Step:
        """Apply one action, [1], wait until the cluster has followed, and charge what it came to.

        Raises:
            InvalidInputError: there is no action of that number.
            IllegalActionError: the action cannot be applied; nothing was changed.
            ClusterError: the cluster refuses or does not answer.
            ConflictError: the Deployment is not the platform's, is being deleted, or is changed by
                someone else all the time.
        """
        action = self._check(actions)
        started_at, before = time.monotonic(), self._live
        self._apply(action)
        leaving = np.arange(len(self._nodes)) == self.actions.source[action]
        self._follow(before, leaving, started_at + self._ready_timeout_s)
        if self._real_time:
            ends_at = started_at + self.scenario.control_interval_s
            time.sleep(max(0.0, ends_at - time.monotonic()))
        self._live = self._observe()

        params, ready = self._model.params, self._live.ready[None]
        performance = evaluate(self.scenario, params, ready, self._model.demand_at(0))
        migrations = np.array([float(self.actions.target[action] >= 0)])
        replicas = self._live.replicas[None]
        terms = cost_terms(self.scenario, params, replicas, performance, migrations)
        self._model.t += 1
        return Step.of(terms, performance, migrations)

    def _check(self, actions: Ints) -> int:
        chosen = np.asarray(actions)
        if chosen.shape != (1,) or not 0 <= chosen[0] < len(self.actions):
            raise InvalidInputError(
                f"actions: want one number from 0 to {len(self.actions) - 1}, got {chosen.tolist()}"
            )
        action = int(chosen[0])
        if not self.legal()[0, action]:
            names = [service.name for service in self.scenario.services]
            raise IllegalActionError(
                f"action {action} ({self.actions.describe(action, names, self._nodes)}) is not "
                "legal in the live cluster; choose one that the action mask allows"
            )
        return action

    def _apply(self, action: int) -> None:
        kind = self.actions.kind[action]
        if kind == Kind.NOTHING:
            return
        workload = self._workloads[self.actions.service[action]]
        source = self._nodes[self.actions.source[action]]
        target = self._nodes[self.actions.target[action]]
        if kind == Kind.PLACE:
            self._api.place(workload, target)
        elif kind == Kind.REMOVE:
            self._api.remove(workload, source)
        else:
            self._api.move(workload, source, target)

    def _follow(self, before: LiveCluster, leaving: Bools, deadline: float) -> None:
        """Wait until replicas are ready and those taken from the nodes `leaving` [N] are gone."""
        try:
            self._api.wait_until_ready(max(0.0, deadline - time.monotonic()))
        except ClusterError as error:
            if time.monotonic() < deadline:  # so the API refused, or did not answer
                raise
            _log.warning("the step ends with replicas that are still starting: %s", error)
        self._wait_until_gone(before, leaving, deadline)

    def _wait_until_gone(self, before: LiveCluster, leaving: Bools, deadline: float) -> None:
        """Wait until pods on their way out, which count as others', hold no more room."""
        while leaving.any() and time.monotonic() < deadline:
            now = read_cluster(self._api, self.scenario)
            if not (leaving & (now.pods_by_others > before.pods_by_others)).any():
                return
            time.sleep(_POLL_S)

    def _observe(self) -> LiveCluster:
        live = read_cluster(self._api, self.scenario)
        capacity = live.capacity(self._model.params.request[0])
        self._model.params = replace(self._model.params, capacity=capacity[None])
        return live
