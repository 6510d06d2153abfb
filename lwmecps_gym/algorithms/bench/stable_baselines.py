"""Stable-Baselines3's PPO with masks on the native vector environment; a benchmark needs it.

Importing this fails where `stable-baselines3` and `sb3-contrib` are not installed.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecEnv

from lwmecps_gym.algorithms.networks import MASK
from lwmecps_gym.algorithms.parameters import PPOParameters
from lwmecps_gym.algorithms.training import played_scenario
from lwmecps_gym.envs.base import PlacementVectorEnv
from lwmecps_gym.platform.models import TrainingTask


class ArrayVecEnv(VecEnv):  # type: ignore[misc]
    """A native vector environment as Stable-Baselines3 wants it.

    It resets within the step that ends an episode. All clusters end together: their episodes have
    the same length, and nothing terminates them.
    """

    def __init__(self, env: PlacementVectorEnv) -> None:
        self._env = env
        space: Any = env.single_observation_space
        super().__init__(env.num_envs, space["observations"], env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every cluster; returns observations [B, D]."""
        observation, _ = self._env.reset(seed=self._seeds[0])
        self._reset_seeds()
        return self._seen(observation)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keep the actions for `step_wait`."""
        self._chosen = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Observations [B, D], rewards [B], whether episodes ended [B], and infos."""
        observation, reward, _, truncated, _ = self._env.step(self._chosen)
        seen = self._seen(observation)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if truncated.any():
            for info, last in zip(infos, seen, strict=True):
                info |= {"TimeLimit.truncated": True, "terminal_observation": last}
            seen = self.reset()
        return seen, reward.astype(np.float32), truncated, infos

    def _seen(self, observation: dict[str, Any]) -> NDArray[np.float32]:
        self._mask = observation[MASK].astype(bool)
        seen: NDArray[np.float32] = observation["observations"]
        return seen

    def has_attr(self, attr_name: str) -> bool:
        """Whether `env_method` has a method."""
        return attr_name == "action_masks"

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> Iterable[Any]:
        """What each cluster says, of "action_masks" alone: [B, A]."""
        if not self.has_attr(method_name):
            raise AttributeError(method_name)
        return self._mask

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the environment, for each cluster."""
        return [getattr(self._env, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Attributes are not changed."""
        raise AttributeError(attr_name)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * self.num_envs

    def close(self) -> None:
        """See `PlacementVectorEnv.close`."""
        self._env.close()


class StableBaselinesContender:
    """A training by Stable-Baselines3, with the network and parameters of a task."""

    def __init__(self, task: TrainingTask) -> None:
        parameters = PPOParameters.model_validate(task.parameters)
        env = PlacementVectorEnv(
            task.env, parameters.num_envs, played_scenario(task), random_start=True
        )
        hidden = list(parameters.hidden)
        self._model = MaskablePPO(
            "MlpPolicy",
            ArrayVecEnv(env),
            learning_rate=parameters.learning_rate,
            n_steps=parameters.rollout_steps,
            batch_size=parameters.minibatch_size,
            n_epochs=parameters.epochs,
            gamma=parameters.discount_factor,
            gae_lambda=parameters.gae_lambda,
            clip_range=parameters.clip,
            ent_coef=parameters.entropy_coeff,
            vf_coef=parameters.value_coeff,
            max_grad_norm=parameters.grad_clip,
            policy_kwargs={
                "net_arch": {"pi": hidden, "vf": hidden},
                "activation_fn": __import__("torch").nn.Tanh,
            },
            seed=task.seed,
            device="cpu",
        )

    def learn(self, steps: int) -> int:
        """See `Contender.learn`."""
        begin = int(self._model.num_timesteps)
        self._model.learn(steps, reset_num_timesteps=False)
        return int(self._model.num_timesteps) - begin

    def stop(self) -> None:
        """See `Contender.stop`."""
        self._model.env.close()
