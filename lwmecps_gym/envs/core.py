"""What an environment works with, single or vectorised: a backend and an encoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import Bools, ClusterState, Ints
from lwmecps_gym.envs.encoding import Encoding, Observation, make_encoding
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, KernelName
from lwmecps_gym.envs.step import Step
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError

IllegalAction = Literal["nothing", "raise"]


class Backend(Protocol):
    """What an environment acts on: `ClusterModel`, or a live cluster."""

    actions: ActionTable

    def reset(
        self,
        rngs: dict[int, np.random.Generator],
        start_s: float | None = None,
        placement: Ints | None = None,
    ) -> None:
        """Begin new episodes."""
        ...

    def legal(self) -> Bools:
        """Which actions can be applied now, [B, A]."""
        ...

    def state(self) -> ClusterState:
        """What a policy sees now."""
        ...

    def step(self, actions: Ints) -> Step:
        """Apply one action per cluster and let one control interval pass."""
        ...


class Core:
    """Backend and encoding of one environment, over B clusters."""

    def __init__(
        self,
        env_id: str,
        scenario: Scenario | str | Path | dict[str, Any],
        *,
        batch: int,
        service: str | None = None,
        moves: bool | None = None,
        max_services: int | None = None,
        max_nodes: int | None = None,
        catchment: bool = False,
        randomise: bool = False,
        failures: bool = False,
        random_start: bool = False,
        illegal_action: IllegalAction = "nothing",
        backend: str = "simulator",
        kernel: KernelName = "compiled",
        make_live: Callable[[Scenario, bool], Backend] | None = None,
    ) -> None:
        self.scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
        if env_id == "lwmecps-v1":
            self.scenario = self.scenario.only(service or self.scenario.services[0].name)
        if illegal_action not in ("nothing", "raise"):
            raise InvalidInputError(
                f"illegal_action: {illegal_action!r} is neither 'nothing' nor 'raise'"
            )
        self.encoding: Encoding = make_encoding(
            env_id,
            self.scenario,
            moves=moves,
            max_services=max_services,
            max_nodes=max_nodes,
            catchment=catchment,
        )
        self.batch = batch
        self.random_start = random_start
        self.illegal_action = illegal_action
        use_moves = self.encoding.actions.moves
        self.backend: Backend
        if backend == "simulator":
            self.backend = ClusterModel(
                self.scenario,
                batch,
                moves=use_moves,
                randomise=randomise,
                failures=failures,
                kernel=kernel,
            )
        elif backend == "kubernetes" and batch == 1:
            from lwmecps_gym.envs.kubernetes_backend import KubernetesBackend

            self.backend = (make_live or KubernetesBackend.connect)(self.scenario, use_moves)
        else:
            raise InvalidInputError(
                f"backend: {backend!r} is neither 'simulator' nor, for a single environment, "
                "'kubernetes'"
            )

    def reset(self, rngs: dict[int, np.random.Generator], options: dict[str, Any] | None) -> None:
        """Begin new episodes; options are `start_s` [s] and `placement` [S, N]."""
        options = options or {}
        unknown = sorted(set(options) - {"start_s", "placement"})
        if unknown:
            raise InvalidInputError(f"reset options: {unknown} are none of start_s, placement")
        interval, placement = self.scenario.control_interval_s, options.get("placement")
        start = options.get("start_s")
        if start is not None or not self.random_start:
            self.backend.reset(rngs, start, placement)
            return
        for index, rng in rngs.items():
            step = int(rng.integers(int(86_400 // interval) or 1))
            self.backend.reset({index: rng}, step * interval, placement)

    def observe(self) -> Observation:
        """Observations [B, ...], in new arrays."""
        if isinstance(self.backend, ClusterModel):
            return self.backend.observe(self.encoding)
        encoded: Observation = self.encoding.encode(self.backend.state(), self.backend.legal())
        return encoded

    def act(self, actions: NDArray[Any]) -> tuple[Step, Bools]:
        """Apply an agent's actions [B]; also say which were illegal and taken as nothing, [B].

        Raises:
            InvalidInputError: an action is outside the action space.
            IllegalActionError: an action cannot be applied, and `illegal_action` is "raise".
        """
        actions = np.asarray(actions, dtype=np.int64)
        count = int(self.encoding.action_space.n)
        if actions.shape != (self.batch,) or actions.min() < 0 or actions.max() >= count:
            raise InvalidInputError(
                f"actions: want {self.batch} numbers from 0 to {count - 1}, got {actions.tolist()}"
            )
        chosen = self.encoding.to_model(actions)
        lenient = self.illegal_action == "nothing"
        if lenient and isinstance(self.backend, ClusterModel):
            return self.backend.step_or_nothing(chosen)
        padding = chosen < 0
        if lenient:
            illegal = padding | ~self.backend.legal()[np.arange(self.batch), chosen]
            return self.backend.step(np.where(illegal, 0, chosen)), illegal
        if padding.any():
            raise IllegalActionError(
                f"actions {actions[padding].tolist()} are padding: the scenario has no such "
                "service or node; choose ones that the action mask allows"
            )
        return self.backend.step(chosen), padding

    def scatter(self, clusters: Ints, rng: np.random.Generator) -> None:
        """Place the pods of some clusters anew, at random; see `ClusterModel.scatter`.

        Raises:
            InvalidInputError: the cluster is live.
        """
        if not isinstance(self.backend, ClusterModel):
            raise InvalidInputError("pods are placed at random in the simulator alone")
        self.backend.scatter(clusters, rng)

    def describe(self, actions: NDArray[Any], illegal: Bools) -> list[str]:
        """Say in words what an agent's actions [B] came to."""
        services, nodes = (
            [item.name for item in items] for items in (self.scenario.services, self.scenario.nodes)
        )
        numbers = np.where(illegal, 0, self.encoding.to_model(actions))
        return [
            self.backend.actions.describe(int(number), services, nodes)
            + (f" (action {action} was illegal)" if wrong else "")
            for number, action, wrong in zip(numbers, actions, illegal, strict=True)
        ]


def step_info(step: Step, illegal: Bools) -> dict[str, NDArray[Any]]:
    """What `info` holds of a step, each [B]: every term of the cost, and what it is made of."""
    return {
        **{f"cost_{name}": term for name, term in step.terms.items()},
        "latency_ms": step.latency_ms,
        "violated": step.violated,
        "failed": step.failed,
        "migrations": step.migrations,
        "illegal_action": illegal,
    }
