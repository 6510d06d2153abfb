"""The days on which heuristics are tuned, apart from those on which policies are compared.

`evaluation.evaluate_policies` draws day i of a comparison from `SeedSequence([seed, i])`. A day to
train on is drawn from a child of it: NumPy mixes the spawn key in, so that no seed of a comparison
gives the same numbers, whatever the two seeds are.
"""

import numpy as np

from lwmecps_gym.algorithms.policy import Policy
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel

TRAINING = 1
"""Spawn key of the days to train on."""


def training_days(seed: int, count: int) -> dict[int, np.random.Generator]:
    """The randomness of the first `count` days to train on, by number."""
    return {
        day: np.random.default_rng(np.random.SeedSequence([seed, day], spawn_key=(TRAINING,)))
        for day in range(count)
    }


def play_training_days(
    scenario: Scenario, policy: Policy, count: int, seed: int
) -> dict[str, float]:
    """Play whole days to train on, side by side.

    Args:
        scenario: what is played.
        policy: who plays.
        count: number of days.
        seed: of the days.

    Returns:
        Means per step, named as those of a training: `step_reward`, minus the cost; `latency_ms`;
        `violated`, a share; `migrations`.
    """
    model = ClusterModel(scenario, count, moves=policy.actions.moves)
    model.reset(training_days(seed, count))
    policy.reset(count)
    total = np.zeros(4)
    for _ in range(scenario.episode_steps):
        step = model.step(policy.act(model.state()))
        met = step.performance
        means = [values.mean() for values in (met.latency_ms, met.violated, step.migrations)]
        total += [-step.cost.mean(), *means]
    names = ("step_reward", "latency_ms", "violated", "migrations")
    return dict(zip(names, (total / scenario.episode_steps).tolist(), strict=True))
