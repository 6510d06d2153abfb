"""One vector environment over clusters of several sizes."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lwmecps_gym.envs.base import PlacementVectorEnv
from lwmecps_gym.envs.generate import draw_members
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

Arrays = dict[str, NDArray[Any]]


class FamilyVectorEnv(gym.vector.VectorEnv[Any, Any, NDArray[np.int64]]):
    """`num_envs` clusters of `lwmecps-v3`, split evenly over the members of a family.

    All observations and actions are padded to the largest member. Members with fewer clusters than
    others come last, and where there are more members than clusters the last ones are left out.
    Autoreset is NEXT_STEP, as in `PlacementVectorEnv`.

    Args:
        scenario: one that has a family.
        num_envs: number of clusters.
        options: as `PlacementVectorEnv` takes them.

    Raises:
        InvalidInputError: the scenario has no family.
    """

    metadata: ClassVar[dict[str, Any]] = PlacementVectorEnv.metadata  # type: ignore[misc]

    def __init__(self, scenario: Scenario, num_envs: int = 1, **options: Any) -> None:
        if scenario.family is None:
            raise InvalidInputError(f"scenario {scenario.name} has no family")
        self.scenario = scenario
        self.num_envs = num_envs
        self.render_mode = options.get("render_mode")
        members = draw_members(scenario.family)
        wide = {
            "max_nodes": max(len(each.nodes) for each in members),
            "max_services": max(len(each.services) for each in members),
        }
        members = members[:num_envs]
        counts = [len(part) for part in np.array_split(np.arange(num_envs), len(members))]
        self.envs = [
            PlacementVectorEnv("lwmecps-v3", count, scenario=member, **wide | options)
            for member, count in zip(members, counts, strict=True)
        ]
        self._begins = np.cumsum([0, *counts])[:-1]
        self.single_observation_space = self.envs[0].single_observation_space
        self.single_action_space = self.envs[0].single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every cluster; an int seeds cluster i with `seed + i`.

        The only option is `start_s`: a placement fits one size alone.
        """
        unknown = sorted(set(options or {}) - {"start_s"})
        if unknown:
            raise InvalidInputError(f"reset options: {unknown} are not start_s")
        if isinstance(seed, int):
            seed = [seed + i for i in range(self.num_envs)]
        seen = []
        for env, begin in zip(self.envs, self._begins, strict=True):
            own = None if seed is None else seed[begin : begin + env.num_envs]
            seen.append(env.reset(seed=own, options=options)[0])
        return _join(seen), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Apply one action per cluster and play one control interval."""
        parts = np.split(np.asarray(actions), self._begins[1:])
        steps = [env.step(part) for env, part in zip(self.envs, parts, strict=True)]
        seen, *outcomes, infos = zip(*steps, strict=True)
        reward, terminated, truncated = (np.concatenate(values) for values in outcomes)
        return _join(seen), reward, terminated, truncated, _join(infos)

    def render(self) -> tuple[Any, ...] | None:
        """Show every cluster, in the order of the observations, as `PlacementVectorEnv.render`."""
        if self.render_mode is None:
            return self.envs[0].render()
        return tuple(shown for env in self.envs for shown in env.render() or ())

    def scatter(self, share: float, rng: np.random.Generator) -> Any:
        """See `PlacementVectorEnv.scatter`."""
        return _join([env.scatter(share, rng) for env in self.envs])


def _join(parts: Any) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
