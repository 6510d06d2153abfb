"""The HorizontalPodAutoscaler of Kubernetes."""

import math

import numpy as np
from pydantic import Field

from lwmecps_gym.algorithms.heuristics.deployments import DeploymentKnobs, Deployments
from lwmecps_gym.envs.cluster import ClusterState, Floats, Ints


class AutoscalerKnobs(DeploymentKnobs):
    """What can be set of a HorizontalPodAutoscaler, and of kube-scheduler."""

    target_percent: int = Field(
        default=60, ge=1, le=100, description="averageUtilization of the pods' CPU"
    )
    tolerance: float = Field(
        default=0.1, ge=0, le=1, description="share of the target within which nothing changes"
    )
    stabilisation_s: float = Field(
        default=300, ge=0, le=3600, description="stabilizationWindowSeconds of scaling down, s"
    )


class HorizontalPodAutoscaler(Deployments):
    """Scales as the HorizontalPodAutoscaler does; kube-scheduler's scores place the pods.

    It desires `ceil(ready pods * ratio)` pods, with `ratio` the mean CPU utilisation of the ready
    pods, in whole percent, over the target; close to 1 it desires no change. Scaling up, pods that
    are not ready count as idle, and nothing changes if that turns the ratio round. It scales up at
    once, and down to the highest desire of the stabilisation window
    (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details).
    A Deployment keeps the number that was set last: pods that are lost with a node come back.
    """

    name = "hpa"
    knobs_type = AutoscalerKnobs
    knobs: AutoscalerKnobs

    def reset(self, batch: int) -> None:
        """Forget the recommendations."""
        super().reset(batch)
        self._replicas: Ints | None = None
        self._desires: list[Ints] = []

    def wanted(self, state: ClusterState) -> Ints:
        """See `Deployments.wanted`."""
        replicas = state.replicas.sum(-1) if self._replicas is None else self._replicas
        desired = self._desired(state, replicas)
        window = math.ceil(self.knobs.stabilisation_s / self.scenario.control_interval_s)
        self._desires = [*self._desires, desired][-max(window, 1) :]
        wanted = np.clip(replicas, desired, np.max(self._desires, axis=0))
        self._replicas = np.clip(wanted, self.params.min_replicas, self.params.max_replicas)
        return self._replicas

    def _desired(self, state: ClusterState, replicas: Ints) -> Ints:
        """Pods that the metrics alone ask for, [B, S], where `replicas` are set now."""
        ready = state.ready.sum(-1)
        load = (state.utilisation * state.ready).sum(-1)
        up = self._ratio(load, ready) > 1
        counted = np.where(up, np.maximum(replicas, ready), ready)
        ratio = self._ratio(load, counted)
        tolerance = self.knobs.tolerance
        close = (1 - tolerance <= ratio) & (ratio <= 1 + tolerance)
        unchanged = close | (up & (ratio < 1)) | (ready == 0)
        return np.where(unchanged, replicas, np.ceil(counted * ratio).astype(np.int64))

    def _ratio(self, load: Floats, pods: Ints) -> Floats:
        percent = np.floor(100 * load / np.maximum(pods, 1) + 1e-9)
        return np.asarray(percent / self.knobs.target_percent)
