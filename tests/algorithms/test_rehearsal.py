"""What a policy earns while it is trained is measured on days that are the same for all."""

import numpy as np
import pytest

from lwmecps_gym.algorithms.rehearsal import DAYS, JUDGED, mean_reward
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.platform.artifacts import WEIGHTS, encode_tensors

from .clusters import changed
from .models import Model, network_model, policy_of, table_model

SHORT = changed("tiny", episode_steps=20)


def earned(model: Model) -> float:
    manifest, weights = model
    return mean_reward(manifest, {WEIGHTS: encode_tensors(weights)})


def test_it_is_the_mean_reward_of_whole_days_and_the_same_again() -> None:
    manifest, weights = model = network_model("lwmecps-v2", SHORT, temperature=0.5)
    env = make_vector_env("lwmecps-v2", DAYS, scenario=SHORT)
    observation, _ = env.reset(seed=JUDGED)
    policy, rewards = policy_of(model), []
    policy.reset(DAYS)
    for _ in range(SHORT.episode_steps):
        observation, reward, _, truncated, _ = env.step(policy.act_on(observation))
        rewards.append(reward)
    assert truncated.all()
    assert earned(model) == pytest.approx(np.mean(rewards)) == earned(model)
    other = {name: 0 * values for name, values in weights.items()}
    assert earned((manifest, other)) != earned(model)


def test_a_table_of_one_service_is_judged_too() -> None:
    assert -50 < earned(table_model()) < 0
