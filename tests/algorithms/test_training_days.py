"""Heuristics are tuned on other days than those on which they are compared."""

import numpy as np
import pytest

from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.heuristics import make_heuristic
from lwmecps_gym.algorithms.training_days import play_training_days
from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import ClusterState, Ints
from lwmecps_gym.envs.scenario import load_scenario

from .clusters import changed

TINY = load_scenario("tiny")
SHORT = changed("tiny", episode_steps=4)
SEEDS = [0, 1, 2, 3, 4, 5, 7, 42, 2**31 - 1, 2**32, 2**32 + 1, 2**64 + 1]


class Watcher:
    """Does nothing, and remembers the demand of each day."""

    name = "watcher"
    actions = ActionTable.of(1, 2)

    def __init__(self) -> None:
        self.days: set[bytes] = set()

    def reset(self, batch: int) -> None:
        """Keep what was seen."""

    def act(self, state: ClusterState) -> Ints:
        self.days |= {demand.tobytes() for demand in state.demand}
        return np.zeros(len(state.time_s), dtype=np.int64)


def test_no_seed_of_a_comparison_gives_a_day_to_train_on() -> None:
    count, compared, trained = 20, Watcher(), Watcher()
    for seed in SEEDS:
        evaluate_policies(SHORT, [compared], count, seed)
        play_training_days(SHORT, trained, count, seed)
    for days in (compared.days, trained.days):
        assert len(days) > 0.9 * len(SEEDS) * count * SHORT.episode_steps
    assert not compared.days & trained.days


@pytest.mark.parametrize("name", ["greedy_cost", "hpa"])
def test_days_to_train_on_cost_about_what_those_of_a_comparison_do(name: str) -> None:
    policy = make_heuristic(name, TINY)
    values = play_training_days(TINY, policy, count=4, seed=1)
    row = evaluate_policies(TINY, [policy], 4, seed=1)[0].rows[0]
    assert -values["step_reward"] == pytest.approx(row.cost, rel=0.05)
    assert -values["step_reward"] != row.cost
    assert values["latency_ms"] == pytest.approx(row.latency_ms.mean, rel=0.2)
    assert values == play_training_days(TINY, policy, count=4, seed=1)
