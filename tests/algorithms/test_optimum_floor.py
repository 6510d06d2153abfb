"""An evaluation says how far each policy is above the floor of the same episodes."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from lwmecps_gym.algorithms.evaluation import (
    Evaluation,
    evaluate_policies,
    evaluation_table,
    gap,
)
from lwmecps_gym.algorithms.heuristics import HEURISTICS, make_heuristic
from lwmecps_gym.algorithms.optimum.floor import Floor, affordable, measure_floor
from lwmecps_gym.algorithms.plots import plot_days
from lwmecps_gym.algorithms.roster import default_policies
from lwmecps_gym.envs.scenario import load_scenario

from .clusters import changed, failing

SHORT = changed("four-stations", episode_steps=36, control_interval_s=2400)


@pytest.fixture(scope="module")
def floor() -> Floor:
    return measure_floor(SHORT, episodes=3, seed=4)


@pytest.fixture(scope="module")
def evaluation(floor: Floor) -> Evaluation:
    policies = [make_heuristic(name, SHORT) for name in HEURISTICS]
    return evaluate_policies(SHORT, policies, 3, seed=4, floor=floor)[0]


def test_every_policy_is_above_the_clairvoyant_and_the_bound(evaluation: Evaluation) -> None:
    for row in evaluation.rows:
        assert row.gap_to_bound is not None
        assert row.gap_to_clairvoyant is not None
        assert 0 < row.gap_to_clairvoyant.mean < row.gap_to_bound.mean
    summary = evaluation.floor
    assert summary is not None and summary.clairvoyant is not None
    assert summary.bound_exact
    assert 0 < summary.bound < summary.clairvoyant
    assert summary.bound < summary.static_best


def test_a_gap_is_the_mean_ratio_with_students_interval() -> None:
    cost, least = np.array([1.2, 1.5, 1.8]), np.array([1.0, 1.0, 1.5])
    found = gap(cost, least)
    assert found is not None and found.low is not None and found.high is not None
    ratios = cost / least - 1
    interval = stats.ttest_1samp(ratios, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(ratios.mean())
    assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_one_episode_has_a_gap_and_no_interval() -> None:
    found = gap(np.array([1.5]), np.array([1.0]))
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, None, None)


def test_what_costs_nothing_at_best_has_no_gap() -> None:
    assert gap(np.array([1.0, 1.0]), np.array([1.0, 0.0])) is None
    assert gap(np.array([1.0, 1.0]), None) is None


def test_an_evaluation_with_a_floor_reads_back_as_it_was_written(evaluation: Evaluation) -> None:
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_the_table_says_the_gaps_within_80_columns(evaluation: Evaluation) -> None:
    text = StringIO()
    Console(file=text, width=80).print(evaluation_table(evaluation))
    lines = text.getvalue().splitlines()
    assert "to bound" in lines[2] and "to clairv." in lines[2]
    assert "…" not in text.getvalue()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert "static_best in hindsight" in text.getvalue()


def test_without_a_floor_nothing_is_said_of_it() -> None:
    result, _ = evaluate_policies(SHORT, [make_heuristic("static", SHORT)], 1, seed=1)
    assert result.floor is None
    assert result.rows[0].gap_to_bound is None
    assert result.rows[0].gap_to_clairvoyant is None


def test_the_floor_can_do_without_a_clairvoyant() -> None:
    floor = measure_floor(SHORT, 1, seed=4, plan=False)
    assert floor.clairvoyant is None
    result, _ = evaluate_policies(SHORT, [make_heuristic("hpa", SHORT)], 1, seed=4, floor=floor)
    assert result.rows[0].gap_to_bound is not None
    assert result.rows[0].gap_to_clairvoyant is None


def test_the_floor_of_a_cluster_that_fails_is_below_its_policies() -> None:
    scenario = load_scenario(failing("tiny").document() | {"episode_steps": 100})
    floor = measure_floor(scenario, 2, seed=1)
    policies = [make_heuristic(name, scenario) for name in HEURISTICS]
    result, days = evaluate_policies(scenario, policies, 2, seed=1, floor=floor)
    for row, day in zip(result.rows, days, strict=True):
        assert (day.cost >= floor.bound.mean(1) - 1e-9).all()
        assert row.gap_to_bound is not None and row.gap_to_bound.mean > 0


def test_the_floor_is_unasked_only_where_it_is_quick() -> None:
    assert affordable(load_scenario("four-stations"), episodes=5)
    assert not affordable(load_scenario("four-stations"), episodes=100)


def test_the_optimum_is_compared_unasked_only_where_it_decides_quickly() -> None:
    large = SHORT.document()
    for n in range(12):
        node = large["nodes"][0] | {"name": f"more_{n}"}
        large["nodes"].append(node)
        for site in large["sites"]:
            site["rtt_ms"][node["name"]] = 40
    assert default_policies(SHORT) == list(HEURISTICS)
    assert default_policies(load_scenario(large)) == [n for n in HEURISTICS if n != "optimum"]
    assert not affordable(load_scenario(large), episodes=1)


def test_a_picture_with_the_bound_is_a_png(tmp_path: Path, floor: Floor) -> None:
    _, days = evaluate_policies(SHORT, [make_heuristic("static", SHORT)], 3, seed=4)
    file = tmp_path / "day.png"
    plot_days(days, file, "a day", floor.bound.mean(1))
    assert file.read_bytes().startswith(b"\x89PNG\r\n")
