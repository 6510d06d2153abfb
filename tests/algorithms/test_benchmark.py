"""One command compares all policies; what it found is kept, for what it was found for alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lwmecps_gym.algorithms.benchmark.cases import (
    TEST_SEED,
    Case,
    Trained,
    choose,
    full_cases,
    quick_cases,
)
from lwmecps_gym.algorithms.benchmark.figure import plot_report
from lwmecps_gym.algorithms.benchmark.kept import Kept
from lwmecps_gym.algorithms.benchmark.report import Estimate, estimate, markdown, tables
from lwmecps_gym.algorithms.benchmark.runs import find_floor, run_benchmark
from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.heuristics import make_heuristic
from lwmecps_gym.algorithms.optimum.floor import measure_floor
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError

from .clusters import changed

SHORT = changed("tiny", episode_steps=24, control_interval_s=3600)
CASE = Case(
    "short", lambda seed: SHORT, seeds=2, days=2, policies=("static", "greedy_cost"),
    clairvoyant=True, bound_every=1,
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, wandb_mode="disabled")


def test_a_line_is_the_mean_over_seeds_of_what_an_evaluation_says(settings: Settings) -> None:
    (found,) = run_benchmark([CASE], settings, [].append).cases
    assert [line.policy for line in found.lines] == ["greedy_cost", "static"]
    costs = []
    for seed in range(2):
        greedy = make_heuristic("greedy_cost", SHORT)
        result, _ = evaluate_policies(SHORT, [greedy], 2, TEST_SEED + seed)
        costs.append(result.rows[0].cost)
    cost = found.lines[0].cost
    assert cost.mean == pytest.approx(np.mean(costs))
    half = stats.t.ppf(0.975, 1) * np.std(costs, ddof=1) / 2**0.5
    assert cost.high == pytest.approx(np.mean(costs) + half)
    assert 0 <= found.lines[0].gap_to_clairvoyant.mean < found.lines[0].gap_to_bound.mean


def test_the_floor_is_that_of_an_evaluation_and_its_bound_may_be_found_for_some_steps() -> None:
    found, known = find_floor(CASE, SHORT, 5), measure_floor(SHORT, 2, 5)
    assert found.bound == pytest.approx(known.bound.mean()) and found.exact
    assert known.clairvoyant is not None
    assert found.clairvoyant == pytest.approx(known.clairvoyant.mean())
    some = find_floor(replace(CASE, bound_every=8, clairvoyant=False), SHORT, 5)
    assert some.bound == pytest.approx(known.bound[::8].mean()) and some.clairvoyant is None


def test_a_second_call_measures_nothing_and_a_fresh_one_everything(settings: Settings) -> None:
    said: list[str] = []
    first = run_benchmark([CASE], settings, said.append)
    measured = len(said)
    assert measured == 2 * 3  # the floor and two policies for each seed
    again = run_benchmark([CASE], settings, said.append)
    assert len(said) == measured and again == first
    run_benchmark([CASE], settings, said.append, fresh=True)
    assert len(said) == 2 * measured


def test_what_was_kept_for_another_scenario_or_other_days_is_not_taken(settings: Settings) -> None:
    run_benchmark([CASE], settings, [].append)
    other = changed("tiny", episode_steps=24, control_interval_s=3600, latency_scale_ms=50)
    for case in (replace(CASE, draw=lambda seed: other), replace(CASE, days=1)):
        said: list[str] = []
        run_benchmark([case], settings, said.append)
        assert len(said) == 6


def test_a_half_written_result_is_measured_anew(settings: Settings, tmp_path: Path) -> None:
    first = run_benchmark([CASE], settings, [].append)
    for file in tmp_path.glob("benchmark/*/*static*.json"):
        file.write_text('{"seed": 0')
    said: list[str] = []
    assert run_benchmark([CASE], settings, said.append).cases[0].lines[1].cost == (
        first.cases[0].lines[1].cost
    )
    assert [text.split(": ")[1] for text in said] == ["static ...", "static ..."]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")
def test_what_is_trained_is_trained_once(ray_session: None, settings: Settings) -> None:
    trained = Trained("q_learning", 4, seeds=1, parameters=(("num_envs", 2),))
    case = replace(CASE, policies=(), trained=(trained,), bound_every=None)
    said: list[str] = []
    (found,) = run_benchmark([case], settings, said.append).cases
    assert [(line.policy, line.seeds) for line in found.lines] == [("q_learning (4 ep.)", 2)]
    assert sum("training" in text and "%" not in text for text in said) == 1
    said.clear()
    run_benchmark([case], settings, said.append)
    assert said == []


def test_what_no_longer_holds_is_measured_anew(tmp_path: Path) -> None:
    numbers = iter([1.0, 2.0, 3.0])

    def measure() -> Estimate:
        return Estimate(mean=next(numbers), low=None, high=None)

    kept = Kept(tmp_path)
    for holds, expected in ((True, 1.0), (True, 1.0), (False, 2.0), (True, 2.0)):
        found = kept.get(Estimate, "a", {}, measure, lambda known, good=holds: good)
        assert found.mean == expected
    assert kept.get(Estimate, "a", {"seed": 1}, measure).mean == 3.0


def test_one_seed_has_no_interval_and_a_missing_gap_no_mean() -> None:
    alone = estimate([0.5])
    assert alone is not None and (alone.mean, alone.low, alone.high) == (0.5, None, None)
    assert estimate([0.5, None]) is None and estimate([]) is None


def test_tables_and_markdown_have_a_line_for_each_policy_and_the_picture_is_one(
    settings: Settings, tmp_path: Path
) -> None:
    report = run_benchmark([CASE], settings, [].append)
    plot_report(report, tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        plot_report(report, tmp_path / "no" / "costs.png")
    assert [table.row_count for table in tables(report)] == [2]
    text = markdown(report)
    assert text.index("| greedy_cost | ") < text.index("| static | ")
    assert "### short: 2 nodes, 1 service, 2 seeds of 2 x 24 steps" in text


def test_cases_play_the_scenarios_that_were_promised_each_seed_its_own_large_cluster() -> None:
    names = ["tiny", "four-stations", "testapp-day", "edge-16", "edge-100", "edge-64", "edge-256"]
    for cases in (quick_cases(), full_cases()):
        assert [case.name for case in cases] == names
    large = choose(full_cases(), ["edge-100"])[0]
    first, second = large.draw(0), large.draw(1)
    assert (len(first.nodes), first.episode_steps, large.seeds) == (100, 1440, 10)
    assert first.nodes[0].lat is not None and first.nodes != second.nodes
    assert [case.seeds for case in choose(quick_cases(), ["tiny", "edge-16"], 5)] == [5, 5]
    with pytest.raises(NotFoundError, match="no case 'moon'; there are"):
        choose(quick_cases(), ["moon"])
