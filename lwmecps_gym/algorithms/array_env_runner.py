"""An RLlib EnvRunner for the native vector environment: arrays in, slices of arrays out.

RLlib's stock runner handles each sub-environment of each step in Python. This one steps the whole
batch into [T, N] arrays and cuts them into episodes at the end. Connectors between environment and
module would need those per-step objects, so a configuration that sets any is refused.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from lwmecps_gym.algorithms.ended_episodes import SUMMED, EndedEpisode
from lwmecps_gym.algorithms.layers import draw
from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.rollout import Rollout
from lwmecps_gym.platform.errors import InvalidInputError

_TOTALS = "totals"
"""Of a rollout: rewards and `SUMMED`, [1 + len(SUMMED), N, T]."""
_MOST_ENDED = 10_000


class ArrayEnvRunner(SingleAgentEnvRunner):  # type: ignore[misc]
    """Samples from one native vector environment with NEXT_STEP autoreset.

    With `scatter_steps` in the environment's configuration, clusters begin now and then with pods
    that are placed at random, each after so many steps in the mean: exploring starts (Sutton and
    Barto, 2nd edition, section 5.3). It happens between samples, and each sample ends with the
    observation before, so that nothing is learned of the leap.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.config._env_to_module_connector or self.config._module_to_env_connector:
            raise InvalidInputError(
                "ArrayEnvRunner takes no env-to-module or module-to-env connectors; use RLlib's "
                "SingleAgentEnvRunner for them"
            )
        self._scatter_steps = int(self.config.env_config.get("scatter_steps", 0))
        self._random = np.random.default_rng(self._seed)
        self._finished: list[tuple[int, float]] = []
        self._ended: deque[EndedEpisode] = deque(maxlen=_MOST_ENDED)
        self._observation: Any = None

    def make_env(self) -> None:
        """Make the vector environment; see `SingleAgentEnvRunner.make_env`."""
        super().make_env()
        self.vector = self.env.unwrapped
        mode = self.vector.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise InvalidInputError(f"ArrayEnvRunner needs NEXT_STEP autoreset, not {mode}")

    def _begin(self) -> None:
        self._observation, _ = self.vector.reset(
            seed=self._seed if self._needs_initial_reset else None
        )
        self._needs_initial_reset: bool = False
        count = self.num_envs
        self._resetting = np.zeros(count, dtype=bool)
        self._length = np.zeros(count, dtype=np.int64)
        self._totals = np.zeros((1 + len(SUMMED), count))
        self._ids = [uuid4().hex for _ in range(count)]

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        if force_reset or num_episodes is not None or self._observation is None:
            self._begin()
        if num_timesteps is not None:
            return self._cut(self._roll(num_timesteps, explore, random_actions))
        episodes: list[SingleAgentEpisode] = []
        done = 0
        while done < (num_episodes or 0):
            chunk = self._cut(self._roll(64 * self.num_envs, explore, random_actions))
            episodes += chunk
            done += sum(episode.is_done for episode in chunk)
        return episodes

    def sample_rollout(self, num_timesteps: int) -> Rollout:
        """Explore for at least `num_timesteps` steps of all environments together.

        It goes on where the last sample ended. Steps and episodes are counted as `sample` does;
        the arrays are not cut into episodes.
        """
        if self._observation is None:
            self._begin()
        rolled = self._roll(num_timesteps, explore=True, random_actions=False)
        for _ in self._pieces(rolled):
            pass
        return Rollout(
            observations=rolled[Columns.OBS],
            actions=rolled[Columns.ACTIONS],
            logp=rolled.get(Columns.ACTION_LOGP),
            rewards=rolled[Columns.REWARDS],
            terminated=rolled[Columns.TERMINATEDS],
            truncated=rolled[Columns.TRUNCATEDS],
            resetting=rolled["resetting"],
        )

    def _roll(self, num_timesteps: int, explore: bool, random_actions: bool) -> dict[str, Any]:
        """Step until so much is played; returns arrays [T, N, ...], observations [T + 1, N, ...].

        The steps of resets do not count, as in RLlib's runner.
        """
        observations = [self._observation]
        columns: dict[str, list[NDArray[Any]]] = {}
        totals: list[list[NDArray[Any]]] = []
        lifetime, played = self.num_env_steps_sampled_lifetime, 0
        if not random_actions:
            self.module.eval()  # once, so that RLlib does not change modes at every step
        while played < num_timesteps:
            if random_actions:
                row = {Columns.ACTIONS: self.vector.action_space.sample()}
            else:
                row = self._act(observations[-1], explore, lifetime + played)
            observation, reward, terminated, truncated, info = self.vector.step(
                row[Columns.ACTIONS]
            )
            row |= {
                Columns.REWARDS: reward,
                Columns.TERMINATEDS: terminated,
                Columns.TRUNCATEDS: truncated,
                "resetting": self._resetting,
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
            totals.append([reward, *(info[name] for name in SUMMED)])
            played += self.num_envs - int(self._resetting.sum())
            self._resetting = terminated | truncated
            observations.append(observation)
        self._observation = observations[-1]
        if self._scatter_steps:
            share = len(columns["resetting"]) / self._scatter_steps
            self._observation = self.vector.scatter(share, self._random)
        rollout: dict[str, Any] = {name: np.stack(rows) for name, rows in columns.items()}
        rollout[Columns.OBS] = _stack(observations)
        rollout[_TOTALS] = np.array(totals, dtype=np.float64).transpose(1, 2, 0)
        for name, total in zip(("step_reward", *SUMMED), rollout[_TOTALS].sum((1, 2)), strict=True):
            self.metrics.log_value(name, float(total) / played, window=1)
        return rollout

    def _act(self, observation: Any, explore: bool, t: int) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            batch = {Columns.OBS: to_tensors(observation)}
            if explore:
                out = self.module.forward_exploration(batch, t=t)
                kind = self.module.get_exploration_action_dist_cls()
            else:
                out = self.module.forward_inference(batch)
                kind = self.module.get_inference_action_dist_cls()
            if Columns.ACTIONS in out:
                return {Columns.ACTIONS: out[Columns.ACTIONS].numpy()}
            logits = out[Columns.ACTION_DIST_INPUTS]
            if kind is TorchCategorical and explore:
                actions, logp = draw(logits)
            else:
                dist = kind.from_logits(logits)
                actions = dist.sample() if explore else dist.to_deterministic().sample()
                logp = dist.logp(actions)
            return {
                Columns.ACTIONS: actions.numpy(),
                Columns.ACTION_LOGP: logp.numpy(),
                Columns.ACTION_DIST_INPUTS: logits.numpy(),
            }

    def _cut(self, rollout: dict[str, Any]) -> list[SingleAgentEpisode]:
        """Cut a rollout into episodes at the resets, those that ended first."""
        episodes = [self._episode(rollout, *piece) for piece in self._pieces(rollout)]
        return sorted(episodes, key=lambda episode: not episode.is_done)

    def _pieces(self, rollout: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
        """Environment, start and stop of every piece of an episode in a rollout.

        Steps and episodes are counted on the way; while a piece is looked at, `_length` is the
        number of steps that its episode had before, and `_ids` the episode's id.
        """
        resetting = rollout["resetting"]
        ends = rollout[Columns.TERMINATEDS] | rollout[Columns.TRUNCATEDS]
        steps, ended = len(resetting), 0
        for env in range(self.num_envs):
            start = 0
            for t in np.flatnonzero(resetting[:, env] | ends[:, env]).tolist():
                if resetting[t, env]:  # the observation after this step begins a new episode
                    start = t + 1
                    self._length[env], self._totals[:, env] = 0, 0.0
                    self._ids[env] = uuid4().hex
                else:
                    yield env, start, t + 1
                    self._count(rollout, env, start, t + 1)
                    length, (total, *infos) = int(self._length[env]), self._totals[:, env].tolist()
                    self._finished.append((length, total))
                    self._ended.append((total, length, *infos))
                    ended += 1
                    start = steps
            if start < steps:
                yield env, start, steps
                self._count(rollout, env, start, steps)
        counted = int((~resetting).sum())
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=counted)
        self._increase_sampled_metrics(counted, ended)

    def _count(self, rollout: dict[str, Any], env: int, start: int, stop: int) -> None:
        self._length[env] += stop - start
        self._totals[:, env] += rollout[_TOTALS][:, env, start:stop].sum(axis=1)

    def _episode(
        self, rollout: dict[str, Any], env: int, start: int, stop: int
    ) -> SingleAgentEpisode:
        rewards = rollout[Columns.REWARDS][start:stop, env]
        extra = {
            name: InfiniteLookbackBuffer(rollout[name][start:stop, env])
            for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
            if name in rollout
        }
        return SingleAgentEpisode(
            id_=self._ids[env],
            observation_space=self.vector.single_observation_space,
            action_space=self.vector.single_action_space,
            observations=InfiniteLookbackBuffer(_slice(rollout[Columns.OBS], env, start, stop + 1)),
            infos=InfiniteLookbackBuffer([{}] * (stop - start + 1)),
            actions=InfiniteLookbackBuffer(rollout[Columns.ACTIONS][start:stop, env]),
            rewards=InfiniteLookbackBuffer(rewards.astype(np.float32)),
            terminated=bool(rollout[Columns.TERMINATEDS][stop - 1, env]),
            truncated=bool(rollout[Columns.TRUNCATEDS][stop - 1, env]),
            extra_model_outputs=extra,
            t_started=int(self._length[env]),
            len_lookback_buffer=0,
        )

    def take_ended(self) -> list[EndedEpisode]:
        """The episodes that ended since the last call, the latest 10,000 of them at most."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def get_metrics(self) -> Any:
        """Reduced metrics of the episodes that ended since the last call."""
        for length, total in self._finished:
            self._log_episode_metrics(length, total, 0.0)
        self._finished.clear()
        return self.metrics.reduce()


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
    return np.stack(observations)


def _slice(observations: Any, env: int, start: int, stop: int) -> Any:
    if isinstance(observations, dict):
        return {name: values[start:stop, env] for name, values in observations.items()}
    return observations[start:stop, env]
