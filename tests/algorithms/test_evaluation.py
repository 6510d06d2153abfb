"""An evaluation says what playing by hand says."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lwmecps_gym.algorithms.evaluation import (
    Evaluation,
    Row,
    evaluate_policies,
    evaluation_table,
)
from lwmecps_gym.algorithms.heuristics import make_heuristic
from lwmecps_gym.algorithms.plots import plot_days
from lwmecps_gym.algorithms.policy import Policy
from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import ClusterState, Floats, Ints
from lwmecps_gym.envs.environments import LWMECPSEnv2
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import InvalidInputError

from .clusters import changed

TINY = load_scenario("tiny")
SHORT = changed("four-stations", episode_steps=60, control_interval_s=600)


class Script:
    """Plays a list of actions, and remembers the demand that it saw."""

    name = "script"

    def __init__(self, scenario: Scenario, actions: list[int]) -> None:
        self.actions = ActionTable.of(len(scenario.services), len(scenario.nodes))
        self.script = actions
        self.reset(0)
        self.seen: list[Floats] = []

    def reset(self, batch: int) -> None:
        self.t = 0

    def act(self, state: ClusterState) -> Ints:
        self.seen.append(state.demand.copy())
        action = self.script[self.t] if self.t < len(self.script) else 0
        self.t += 1
        return np.full(len(state.time_s), action)


def evaluated(scenario: Scenario, policy: Policy, episodes: int = 2, seed: int = 5) -> Row:
    result, _ = evaluate_policies(scenario, [policy], episodes, seed)
    return result.rows[0]


def some_actions(scenario: Scenario) -> list[int]:
    """Actions of an episode that are legal whatever the demand."""
    policy = make_heuristic("random", scenario)
    model = ClusterModel(scenario)
    model.reset({0: np.random.default_rng(0)})
    actions = []
    for _ in range(scenario.episode_steps):
        chosen = policy.act(model.state())
        model.step(chosen)
        actions.append(int(chosen[0]))
    return actions


def test_costs_are_those_of_the_gymnasium_environment_with_the_same_demand() -> None:
    actions = some_actions(SHORT)
    env = LWMECPSEnv2(SHORT)
    hands: list[dict[str, float]] = []
    for episode in range(3):
        env.reset(seed=0)
        env.np_random = np.random.default_rng([5, episode])
        env.reset()
        for t in range(SHORT.episode_steps):
            _, reward, _, _, info = env.step(np.int64(actions[t]))
            assert not info["illegal_action"]
            hands.append(info | {"cost": -reward, "pods": env.state().replicas.sum()})

    def mean(name: str) -> float:
        return float(np.mean([step[name] for step in hands]))

    row = evaluated(SHORT, Script(SHORT, actions), episodes=3)
    assert row.cost == pytest.approx(mean("cost"))
    for term, value in row.cost_terms.items():
        assert value == pytest.approx(mean(f"cost_{term}"))
    assert sum(row.cost_terms.values()) == pytest.approx(row.cost)
    assert row.migrations_per_hour == pytest.approx(6 * mean("migrations"))
    assert row.replicas_mean == pytest.approx(mean("pods"))
    episodes = np.array([step["cost"] for step in hands]).reshape(3, -1).mean(1)
    assert row.cost_std == pytest.approx(episodes.std(ddof=1))


def constant(requests_rps: dict[str, float], **fields: Any) -> Scenario:
    """`tiny` under a constant demand, for a single step."""
    trace = {
        "interval_s": 300,
        "requests_rps": {site: [value] for site, value in requests_rps.items()},
        "share": {"video": {"mean": 1}},
    }
    return changed("tiny", workload={"trace": trace}, episode_steps=1, **fields)


def test_latencies_are_quantiles_over_requests_as_drawn_by_chance() -> None:
    # One replica on bs_1 of 60 requests/s under 30 + 10: M/M/1 sojourn times, exponential with
    # 60 - 40 = 20 /s; users at bs_2 are 30 ms away, those at bs_1 2 ms; cut at 400 ms.
    row = evaluated(constant({"bs_1": 30, "bs_2": 10}), Script(TINY, []), episodes=1)
    rng = np.random.default_rng(0)
    draws = 400_000
    rtt = np.where(rng.random(draws) < 0.75, 2.0, 30.0)
    latency = np.minimum(rtt + rng.exponential(1000 / 20, draws), 400.0)
    expected = {f"p{q}": np.quantile(latency, q / 100) for q in (50, 95, 99)}
    assert row.latency_ms.mean == pytest.approx(latency.mean(), rel=0.005)
    assert row.latency_ms.model_dump(exclude={"mean"}) == pytest.approx(expected, rel=0.03)
    assert row.violation_share == pytest.approx((latency > 60).mean(), abs=0.005)


def test_requests_that_fail_count_at_the_timeout() -> None:
    # 54 of 90 requests/s are admitted at a cap of 90 %; 40 % fail, at 400 ms.
    row = evaluated(constant({"bs_1": 90, "bs_2": 0}), Script(TINY, []), episodes=1)
    assert row.latency_ms.p95 == row.latency_ms.p99 == 400
    assert row.violation_share > 0.4
    assert row.latency_ms.mean > 0.4 * 400


def test_busy_steps_weigh_more_than_quiet_ones() -> None:
    trace = {
        "interval_s": 300,
        "requests_rps": {"bs_1": [1, 50], "bs_2": [0, 0]},
        "share": {"video": {"mean": 1}},
    }
    scenario = changed("tiny", workload={"trace": trace}, episode_steps=2)
    row = evaluated(scenario, Script(TINY, []), episodes=1)
    quiet, busy = (
        evaluated(constant({"bs_1": rps, "bs_2": 0}), Script(TINY, []), 1).latency_ms.mean
        for rps in (1, 50)
    )
    assert row.latency_ms.mean == pytest.approx((quiet + 50 * busy) / 51)


def test_every_policy_meets_the_same_demand_and_another_seed_another_one() -> None:
    first, second = Script(SHORT, [1]), Script(SHORT, [8, 12])
    evaluate_policies(SHORT, [first, second], episodes=2, seed=1)
    assert np.array_equal(first.seen[0], second.seen[0])
    assert all(np.array_equal(a, b) for a, b in zip(first.seen, second.seen, strict=True))
    other = Script(SHORT, [1])
    evaluate_policies(SHORT, [other], episodes=2, seed=2)
    assert not np.array_equal(first.seen[1], other.seen[1])


def test_an_evaluation_is_repeated_by_its_seed() -> None:
    policies = [make_heuristic("random", TINY, seed=4)]
    rows = [evaluate_policies(TINY, policies, 2, seed=3)[0].rows[0] for _ in range(2)]
    assert rows[0].model_dump(exclude={"decision_ms"}) == rows[1].model_dump(
        exclude={"decision_ms"}
    )


def test_decision_times_are_positive_and_ordered() -> None:
    row = evaluated(TINY, make_heuristic("greedy_cost", TINY))
    assert 0 < row.decision_ms.p50 <= row.decision_ms.p99 < 1000


def test_the_document_has_the_promised_keys() -> None:
    result, days = evaluate_policies(SHORT, [make_heuristic("static", SHORT)], 1, seed=1)
    document = json.loads(result.model_dump_json())
    assert document["scenario"] == "four-stations"
    (row,) = document["rows"]
    assert {
        "policy", "cost", "latency_ms", "violation_share", "replicas_mean", "migrations_per_hour",
        "decision_ms",
    } <= row.keys()  # fmt: skip
    assert row["latency_ms"].keys() == {"mean", "p50", "p95", "p99"}
    assert row["decision_ms"].keys() == {"p50", "p99"}
    assert row["policy"] == "static"
    assert row["cost_std"] == 0  # of one episode
    assert len(days[0].hours) == len(days[0].cost) == SHORT.episode_steps


def test_no_demand_at_all_is_no_latency_and_no_number_is_missing() -> None:
    result, _ = evaluate_policies(
        constant({"bs_1": 0, "bs_2": 0}), [make_heuristic("static", TINY)], 2, seed=1
    )
    assert result.rows[0].latency_ms.mean == 0
    json.loads(json.dumps(result.model_dump(), allow_nan=False))


def test_the_table_names_every_policy_the_cheapest_first() -> None:
    policies = [make_heuristic(name, TINY) for name in ("random", "static", "greedy_cost")]
    result, _ = evaluate_policies(TINY, policies, 1, seed=1)
    text = StringIO()
    Console(file=text, width=80).print(evaluation_table(result))
    ranked = [row.policy for row in sorted(result.rows, key=lambda row: row.cost)]
    assert ranked[0] == "greedy_cost"
    assert sorted(ranked, key=text.getvalue().index) == ranked


@pytest.mark.parametrize("steps", [1, 2, 60])
def test_a_picture_is_a_png_however_short_the_day(tmp_path: Path, steps: int) -> None:
    scenario = changed("tiny", episode_steps=steps)
    _, days = evaluate_policies(scenario, [make_heuristic("static", scenario)], 1, seed=1)
    file = tmp_path / "new folder" / "day.picture"
    plot_days(days, file, "a day")
    assert file.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    _, days = evaluate_policies(SHORT, [make_heuristic("static", SHORT)], 1, seed=1)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="picture .*day.png"):
        plot_days(days, tmp_path / "file" / "day.png", "a day")


def test_an_evaluation_reads_back_as_it_was_written() -> None:
    result, _ = evaluate_policies(SHORT, [make_heuristic("static", SHORT)], 1, seed=1)
    assert Evaluation.model_validate_json(result.model_dump_json()) == result
