"""What the environments share, single and vectorised: the same model, the same encoding."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.cluster import ClusterState
from lwmecps_gym.envs.core import Core, step_info
from lwmecps_gym.envs.encoding import Observation
from lwmecps_gym.envs.rendering import (
    RENDER_FPS,
    Played,
    View,
    check_render_mode,
    make_view,
    scene_of,
)
from lwmecps_gym.envs.scenario import Scenario


class PlacementEnv(gym.Env[Any, np.int64]):
    """Base of the single environments; the subclasses say what is special and document it."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array", "ansi"],
        "render_fps": RENDER_FPS,
    }
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
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self._view: View | None = None
        self._played: Played | None = None
        self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; options: `start_s` (time of the day) and `placement` [S, N]."""
        super().reset(seed=seed)
        self.core.reset({0: self.np_random}, options)
        self._t = 0
        self._played = None
        if self.render_mode == "human":
            self._show()
        return self._first(self.core.observe()), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action and play one control interval."""
        step, illegal = self.core.act(np.array([action]))
        self._t += 1
        if self.render_mode is not None:
            self._played = Played(step, self.core.describe(np.array([action]), illegal))
            if self.render_mode == "human":
                self._show()
        info = {name: values[0].item() for name, values in step_info(step, illegal).items()}
        done = self._t >= self.scenario.episode_steps
        return self._first(self.core.observe()), -float(step.cost[0]), False, done, info

    def state(self) -> ClusterState:
        """The state behind the observation, which heuristics take; B is 1."""
        return self.core.backend.state()

    def render(self) -> Any:
        """Show the cluster as the render mode says.

        Returns:
            An array [640, 960, 3] of uint8 for "rgb_array", a string for "ansi"; nothing for
            "human", where each reset and each step shows itself, and nothing without a mode.
        """
        if self.render_mode is None:
            _warn_of_no_mode(self.metadata["render_modes"])
        return None if self.render_mode in (None, "human") else self._show()

    def close(self) -> None:
        """End the live view; closing again does nothing."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def _show(self) -> Any:
        if self._view is None:
            self._view = make_view(
                str(self.render_mode), self.scenario, self.metadata["render_fps"]
            )
        return self._view.show(scene_of(self.scenario, self.state(), played=self._played))

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
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": RENDER_FPS,
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
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self._view: View | None = None
        self._played: Played | None = None
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
        self._played = None
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
        if self.render_mode is not None:
            words = self.core.describe(chosen, illegal)
            self._played = Played(step, np.where(played, words, "").tolist())
        info |= {f"_{name}": played for name in list(info)}
        return self.core.observe(), reward, np.zeros(self.num_envs, dtype=bool), truncated, info

    def scatter(self, share: float, rng: np.random.Generator) -> Any:
        """Place the pods of a share of the clusters anew, at random, in the midst of an episode.

        What follows is no outcome of the actions before: a learner that calls this cuts there.

        Args:
            share: how likely each cluster is one of them.
            rng: of the draws.

        Returns:
            Observations of all clusters, as `step` gives them.
        """
        self.core.scatter(np.flatnonzero(rng.random(self.num_envs) < share), rng)
        return self.core.observe()

    def render(self) -> tuple[Any, ...] | None:
        """Show every cluster: an array or a string each, as `PlacementEnv.render` gives them."""
        if self.render_mode is None:
            _warn_of_no_mode(self.metadata["render_modes"])
            return None
        if self._view is None:
            self._view = make_view(self.render_mode, self.scenario)
        state = self.core.backend.state()
        return tuple(
            self._view.show(scene_of(self.scenario, state, index, self._played))
            for index in range(self.num_envs)
        )


def _warn_of_no_mode(modes: list[str]) -> None:
    gym.logger.warn(
        f"render() shows nothing: the environment was made without a render_mode {modes}"
    )
