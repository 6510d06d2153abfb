"""What the environments share, single and vectorised: the same model, the same encoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import gymnasium as gym
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
            env_id, self.scenario, moves=moves, max_services=max_services, max_nodes=max_nodes
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


class PlacementEnv(gym.Env[Any, np.int64]):
    """Base of the single environments; the subclasses say what is special and document it."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]
    env_id: ClassVar[str]

    def __init__(
        self,
        scenario: Scenario | str | Path | dict[str, Any] = "four-stations",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.core = Core(self.env_id, scenario, batch=1, **options)
        self.scenario = self.core.scenario
        self.observation_space = self.core.encoding.observation_space
        self.action_space = self.core.encoding.action_space
        self.render_mode = render_mode
        self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; options: `start_s` (time of the day) and `placement` [S, N]."""
        super().reset(seed=seed)
        self.core.reset({0: self.np_random}, options)
        self._t = 0
        return self._first(self.core.observe()), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action and play one control interval."""
        step, illegal = self.core.act(np.array([action]))
        self._t += 1
        info = {name: values[0].item() for name, values in step_info(step, illegal).items()}
        done = self._t >= self.scenario.episode_steps
        return self._first(self.core.observe()), -float(step.cost[0]), False, done, info

    def state(self) -> ClusterState:
        """The state behind the observation, which heuristics take; B is 1."""
        return self.core.backend.state()

    @staticmethod
    def _first(observation: Observation) -> Any:
        if isinstance(observation, dict):
            return {name: values[0] for name, values in observation.items()}
        return observation[0]


class PlacementVectorEnv(gym.vector.VectorEnv[Any, Any, NDArray[np.int64]]):
    """`num_envs` clusters stepped at once by one model.

    Autoreset is NEXT_STEP: the step after an episode's end ignores the action, begins the next
    episode, and gives reward 0.

    Args:
        env_id: lwmecps-v1, lwmecps-v2 or lwmecps-v3.
        num_envs: number of clusters.
        options: as the single environment takes them.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        scenario: Scenario | str | Path | dict[str, Any] = "four-stations",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.core = Core(env_id, scenario, batch=num_envs, **options)
        self.scenario = self.core.scenario
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space = self.core.encoding.observation_space
        self.single_action_space = self.core.encoding.action_space
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._t = np.zeros(num_envs, dtype=np.int64)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every cluster; an int seeds cluster i with `seed + i`."""
        if seed is not None or not self._rngs:
            seeds = (
                [None if seed is None else seed + i for i in range(self.num_envs)]
                if seed is None or isinstance(seed, int)
                else seed
            )
            self._rngs = [gym.utils.seeding.np_random(each)[0] for each in seeds]
        self.core.reset(dict(enumerate(self._rngs)), options)
        self._t[:] = 0
        return self.core.observe(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Apply one action per cluster and play one control interval."""
        over = self._t >= self.scenario.episode_steps
        chosen = np.where(over, 0, actions) if over.any() else actions
        step, illegal = self.core.act(chosen)
        reward = -step.cost
        info = step_info(step, illegal)
        self._t += 1
        if over.any():
            finished = np.flatnonzero(over).tolist()
            self.core.reset({index: self._rngs[index] for index in finished}, None)
            self._t[over] = 0
            reward = np.where(over, 0.0, reward)
            info = {name: np.where(over, np.zeros_like(v), v) for name, v in info.items()}
        truncated = self._t >= self.scenario.episode_steps
        played = ~over
        info |= {f"_{name}": played for name in list(info)}
        return self.core.observe(), reward, np.zeros(self.num_envs, dtype=bool), truncated, info
