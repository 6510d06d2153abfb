"""The cluster model: B clusters stepped at once. A single environment is B = 1."""

from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np

from lwmecps_gym.envs import pods
from lwmecps_gym.envs.actions import ActionTable, Kind
from lwmecps_gym.envs.cluster import Bools, ClusterParams, ClusterState, Floats, Ints
from lwmecps_gym.envs.encoding import Encoding, Observation
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.placement import check_placement, random_placements, spread_minimum
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.step import Step
from lwmecps_gym.envs.workload import Means, Workload
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError

if TYPE_CHECKING:
    from lwmecps_gym.envs.compiled.kernel import Kernel

__all__ = ["ClusterModel", "KernelName", "Step"]

KernelName = Literal["reference", "compiled"]


class ClusterModel:
    """Dynamics and cost of B clusters of one scenario.

    A step first applies the action, then plays one control interval with the replicas that are
    ready, then lets time pass: start-ups proceed and nodes fail or recover. A replica placed in
    step t serves from step `t + ceil(startup_s / control_interval_s)` on. The pods of a node that
    fails are lost; they come back only by a decision.

    Args:
        scenario: what to model.
        batch: number of clusters B.
        moves: whether actions include moves, see `ActionTable.of`.
        randomise: draw each episode from the scenario's `randomise` ranges.
        failures: let nodes fail as the scenario's `failures` say.
        horizon: steps that an episode may have; `episode_steps` of the scenario unless given.
        kernel: "reference", NumPy code whose steps tell all of `Performance`; or "compiled", the
            same model some hundred times faster, whose steps tell only what the environments need.
            They agree but for rounding.
    """

    def __init__(
        self,
        scenario: Scenario,
        batch: int = 1,
        *,
        moves: bool | None = None,
        randomise: bool = False,
        failures: bool = True,
        horizon: int | None = None,
        kernel: KernelName = "reference",
    ) -> None:
        if kernel not in ("reference", "compiled"):
            raise InvalidInputError(f"kernel: {kernel!r} is neither 'reference' nor 'compiled'")
        self.scenario = scenario
        self.batch = batch
        own_rtt = randomise and scenario.randomise.rtt is not None
        self.base = ClusterParams.of(scenario)
        self.params = ClusterParams.of(scenario, batch, own_rtt=own_rtt)
        self.actions = ActionTable.of(len(scenario.services), len(scenario.nodes), moves)
        self.workload = Workload.of(scenario)
        self._means = Means(self.workload)
        self.horizon = horizon or scenario.episode_steps
        self._randomise = randomise
        self._failures = failures and scenario.failures.node_mtbf_s > 0
        services, nodes, sites = (
            len(scenario.services), len(scenario.nodes), len(scenario.sites)
        )  # fmt: skip
        stages = int(self.params.startup_steps.max())
        self.start_s = np.zeros(batch)
        self.t = np.zeros(batch, dtype=np.int64)
        counts = np.int16 if kernel == "compiled" else np.int64  # what is small stays in caches
        self.ready = np.zeros((batch, services, nodes), dtype=counts)
        self._stages = np.zeros((batch, services, nodes, stages), dtype=counts)
        self.node_up = np.ones((batch, nodes), dtype=bool)
        length = self.horizon + 1
        self._requests = np.zeros((length, batch, sites))
        self._shares = np.zeros((length, batch, services))
        self._up = np.ones((length, batch, nodes if self._failures else 0), dtype=bool)
        self._utilisation = np.zeros((batch, services, nodes))
        self._latency_ms = np.zeros((batch, services))
        self._fresh = np.ones(batch, dtype=bool)
        self._mask: Bools | None = None
        least = scenario.randomise.least_cpu if randomise else 1.0  # it fits whatever is drawn
        self.initial_placement = spread_minimum(scenario, least)
        self._kernel: Kernel | None = None
        if kernel == "compiled":
            self._kernel = self._compile(own_rtt)

    def _compile(self, own_rtt: bool) -> "Kernel":
        from lwmecps_gym.envs.compiled.kernel import Kernel  # imports the compiler

        return Kernel(
            self.scenario,
            self.params,
            self.actions,
            own_rtt=own_rtt,
            failures=self._failures,
            t=self.t,
            fresh=self._fresh,
            ready=self.ready,
            stages=self._stages,
            node_up=self.node_up,
            up=self._up,
            requests=self._requests,
            shares=self._shares,
            utilisation=self._utilisation,
            latency_ms=self._latency_ms,
        )

    def reset(
        self,
        rngs: dict[int, np.random.Generator],
        start_s: float | None = None,
        placement: Ints | None = None,
    ) -> None:
        """Begin new episodes.

        Args:
            rngs: the clusters to reset, and the randomness of each.
            start_s: time of the day at which they begin; unset: drawn from `randomise.start_h`
                where the model randomises, else midnight.
            placement: ready replicas to begin with, [S, N]; unset: each service's minimum, spread.

        Raises:
            InvalidInputError: `start_s` is no time, or `placement` does not fit the nodes.
        """
        if start_s is not None and not (isinstance(start_s, Real) and 0 <= start_s < np.inf):
            raise InvalidInputError(f"start_s: want seconds since midnight, got {start_s!r}")
        try:
            for index, rng in rngs.items():
                self._begin(index, rng, start_s, placement)
        finally:  # where a placement is refused, clusters before it have begun
            self._mask = None
            if self._kernel:
                self._kernel.begin(np.array(list(rngs), dtype=np.int64))

    def scatter(self, indices: Ints, rng: np.random.Generator) -> None:
        """Place the pods of clusters `indices` anew, at random and ready; all else goes on.

        A cluster whose minima found no room stays as it is; see `placement.random_placements`.
        """
        placed, possible = random_placements(self.params.take(indices), self.node_up[indices], rng)
        changed = indices[possible]
        self.ready[changed] = placed[possible]
        self._stages[changed] = 0
        self._fresh[changed] = True
        self._mask = None
        if self._kernel:
            self._kernel.begin(changed)

    def _begin(
        self, index: int, rng: np.random.Generator, start_s: float | None, placement: Ints | None
    ) -> None:
        interval, ranges = self.scenario.control_interval_s, self.scenario.randomise
        begin = start_s
        if begin is None:
            drawn = self._randomise and ranges.start_h is not None
            hours = rng.uniform(*ranges.start_h) if drawn and ranges.start_h else 0.0
            begin = float(np.floor(hours * 3600 / interval) * interval)
        if self._randomise:
            self.params.randomise(index, self.base, ranges, rng)
        first = self.initial_placement
        if placement is not None:
            first = check_placement(placement, self.params.take(np.array([index])))
        mean, shares = self._means.of_episode(begin, self.horizon)
        factor = self.params.demand_factor[index]
        self._requests[:, index] = factor * self.workload.sample_around(mean, rng)
        self._shares[:, index] = shares
        self.start_s[index], self.t[index] = begin, 0
        self.ready[index] = first
        self._stages[index] = 0
        self.node_up[index] = True
        if self._failures:
            self._up[:, index] = self._draw_failures(rng)
        self._fresh[index] = True

    def _draw_failures(self, rng: np.random.Generator) -> Bools:
        draws = rng.random((self.horizon + 1, len(self.scenario.nodes)))
        up = np.ones(draws.shape, dtype=bool)
        chances = pods.failure_chances(self.scenario.failures, self.scenario.control_interval_s)
        (self._kernel or pods).node_history(draws, *chances, up)
        return up

    @property
    def starting(self) -> Ints:
        """Replicas that do not serve yet, [B, S, N]."""
        return np.asarray(self._stages.sum(-1))

    @property
    def replicas(self) -> Ints:
        """Ready and starting replicas, [B, S, N]."""
        return self.ready + self.starting

    @property
    def time_s(self) -> Floats:
        """Start of the next step, s since midnight of the first day, [B]."""
        return self.start_s + self.t * self.scenario.control_interval_s

    def demand_at(self, offset: int) -> Floats:
        """Demand in requests/s, [B, S, U]; offset -1 was measured last, 0 is the step to come."""
        index = np.minimum(self.t + 1 + offset, self.horizon)
        rows = np.arange(self.batch)
        return self._shares[index, rows][:, :, None] * self._requests[index, rows][:, None, :]

    def legal(self) -> Bools:
        """Which actions can be applied now, [B, A]."""
        if self._mask is None:
            self._mask = self.actions.legal(self.params, self.replicas, self.node_up)
        return self._mask

    def state(self) -> ClusterState:
        """What a policy sees now. The arrays are copies, except for the parameters."""
        demand = self.demand_at(-1)
        if self._kernel:
            self._kernel.measure_first()
        elif self._fresh.any():
            before = evaluate(self.scenario, self.params, self.ready, demand)
            fresh = self._fresh[:, None]
            self._utilisation = np.where(fresh[..., None], before.utilisation, self._utilisation)
            self._latency_ms = np.where(fresh, before.service_latency_ms, self._latency_ms)
            self._fresh[:] = False
        return ClusterState(
            params=self.params,
            time_s=self.time_s,
            ready=self.ready.astype(np.int64),
            starting=self.starting,
            node_up=self.node_up.copy(),
            demand=demand,
            utilisation=self._utilisation.copy(),
            latency_ms=self._latency_ms.copy(),
        )

    def observe(self, encoding: Encoding) -> Observation:
        """What `encoding` makes of the state and the legal actions, in new arrays [B, ...]."""
        if self._kernel:
            observation = self._kernel.observe(encoding, self.time_s)
            if observation is not None:
                return observation
        encoded: Observation = encoding.encode(self.state(), self.legal())
        return encoded

    def illegal(self, actions: Ints) -> Bools:
        """Which of `actions` [B], one per cluster, cannot be applied now, [B]."""
        if self._kernel:
            return self._kernel.illegal(actions)
        return ~self.legal()[np.arange(self.batch), actions]

    def step(self, actions: Ints) -> Step:
        """Apply one action per cluster, [B], and play one control interval.

        Raises:
            InvalidInputError: an action has no such number.
            IllegalActionError: an action cannot be applied; no cluster was changed.
        """
        actions = np.asarray(actions, dtype=np.int64)
        self._check(actions)
        return self.step_or_nothing(actions)[0]

    def step_or_nothing(self, actions: Ints) -> tuple[Step, Bools]:
        """`step`, but an action that cannot be applied counts as nothing.

        Args:
            actions: their numbers, or -1 for what is no action at all, [B].

        Returns:
            The step, and which actions could not be applied, [B].
        """
        if self._kernel:
            self._mask = None
            return self._kernel.step(actions)
        illegal = (actions < 0) | self.illegal(actions)
        actions = np.where(illegal, 0, actions)
        self._mask = None
        startup_steps = self.params.startup_steps
        pods.apply_actions(self.ready, self._stages, self.actions, startup_steps, actions)
        performance = evaluate(self.scenario, self.params, self.ready, self.demand_at(0))
        kind = self.actions.kind[actions]
        migrations = ((kind == Kind.PLACE) | (kind == Kind.MOVE)).astype(np.float64)
        terms = cost_terms(self.scenario, self.params, self.replicas, performance, migrations)
        self._advance()
        self._utilisation = performance.utilisation
        self._latency_ms = performance.service_latency_ms
        self._fresh[:] = False
        return Step.of(terms, performance, migrations), illegal

    def _check(self, actions: Ints) -> None:
        if (
            actions.shape != (self.batch,)
            or (actions < 0).any()
            or (actions >= len(self.actions)).any()
        ):
            raise InvalidInputError(
                f"actions: want {self.batch} numbers from 0 to {len(self.actions) - 1}, "
                f"got {actions.tolist()}"
            )
        wrong = np.flatnonzero(self.illegal(actions))
        if wrong.size:
            first = int(wrong[0])
            names = [s.name for s in self.scenario.services], [n.name for n in self.scenario.nodes]
            raise IllegalActionError(
                f"action {actions[first]} ({self.actions.describe(int(actions[first]), *names)}) "
                f"is not legal in cluster {first}; choose one that the action mask allows"
            )

    def _advance(self) -> None:
        pods.start_up(self.ready, self._stages)
        self.t += 1
        if self._failures:
            self.node_up = self._up[np.minimum(self.t, self.horizon), np.arange(self.batch)]
            pods.lose_failed(self.ready, self._stages, self.node_up)
