"""The HorizontalPodAutoscaler of Kubernetes."""

import math

import numpy as np

from lwmecps_gym.algorithms.heuristics.base import Heuristic
from lwmecps_gym.algorithms.kube_scoring import place_by_score, replicas_to_drop
from lwmecps_gym.envs.actions import Kind
from lwmecps_gym.envs.cluster import ClusterState, Floats, Ints
from lwmecps_gym.envs.scenario import Scenario


class HorizontalPodAutoscaler(Heuristic):
    """Scales as the HorizontalPodAutoscaler does; kube-scheduler's scores place the pods.

    It desires `ceil(ready pods * ratio)` pods, with `ratio` the mean CPU utilisation of the ready
    pods, in whole percent, over the target; within 10 % of 1 it desires no change. Scaling up, pods
    that are not ready count as idle, and nothing changes if that turns the ratio round. It scales
    up at once, and down to the highest desire of the last 5 minutes
    (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details).
    """

    name = "hpa"
    target_percent = 60
    tolerance = 0.1
    stabilisation_s = 300.0

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        super().__init__(scenario, seed)
        self._window = math.ceil(self.stabilisation_s / scenario.control_interval_s)

    def reset(self, batch: int) -> None:
        """Forget the recommendations."""
        self._desires: list[Ints] = []

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        total = state.replicas.sum(-1)
        desired = self._desired(state)
        self._desires = [*self._desires, desired][-self._window :]
        wanted = np.clip(total, desired, np.max(self._desires, axis=0))
        wanted = np.clip(wanted, self.params.min_replicas, self.params.max_replicas)
        return self._scale(state, wanted - total)

    def _desired(self, state: ClusterState) -> Ints:
        """Pods that the metrics alone ask for, [B, S]."""
        ready, total = state.ready.sum(-1), state.replicas.sum(-1)
        load = (state.utilisation * state.ready).sum(-1)
        up = self._ratio(load, ready) > 1
        counted = np.where(up, total, ready)
        ratio = self._ratio(load, counted)
        close = (1 - self.tolerance <= ratio) & (ratio <= 1 + self.tolerance)
        unchanged = close | (up & (ratio < 1)) | (ready == 0)
        return np.where(unchanged, total, np.ceil(counted * ratio).astype(np.int64))

    def _ratio(self, load: Floats, pods: Ints) -> Floats:
        percent = np.floor(100 * load / np.maximum(pods, 1) + 1e-9)
        return np.asarray(percent / self.target_percent)

    def _scale(self, state: ClusterState, change: Ints) -> Ints:
        """Place a pod of the service that lacks most of those with room, else remove one."""
        rows = np.arange(len(change))
        legal = self.actions.legal_in(state)
        services, nodes = state.ready.shape[1:]
        room = legal[:, 1 : 1 + services * nodes].reshape(-1, services, nodes).any(-1)
        lack = np.where(room, change, 0)
        up = np.argmax(lack, axis=1)
        node = place_by_score(state.params, state.replicas, state.node_up, up)
        down = np.argmin(change, axis=1)
        victim = replicas_to_drop(state.starting, state.replicas, down)
        remove = np.where(change[rows, down] < 0, self.actions.remove(down, victim), Kind.NOTHING)
        return np.where(lack[rows, up] > 0, self.actions.place(up, node), remove)
