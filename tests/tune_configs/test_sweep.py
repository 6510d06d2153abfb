"""A sweep run for real: four nodes, Q-learning, short days, one trial after the other."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from lwmecps_gym.algorithms.heuristics import GreedyLoad
from lwmecps_gym.algorithms.training_days import play_training_days
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError, NotFoundError
from lwmecps_gym.tune_configs.sweep import run_sweep
from lwmecps_gym.tune_configs.sweep_config import SweepConfig
from lwmecps_gym.tune_configs.sweep_result import SweepProgress, SweepResult, SweepTrial, best_of

from ..platform.test_wandb_config import history_of, read_records

EPISODE_STEPS = 120
TOO_MANY_BINS = 50
"""Legal, but too many for a table on four nodes."""


def make_config(**changes: Any) -> SweepConfig:
    """A sweep of which one trial learns, one acts at random for ever, and one cannot begin."""
    scenario = load_scenario("four-stations").document() | {"episode_steps": EPISODE_STEPS}
    settings = {
        "name": "Three trials",
        "model_type": "q_learning",
        "scenario": scenario,
        "total_episodes": 128,
        "seed": 11,
        "score_episodes": 16,
        "num_samples": 3,
        "max_concurrent": 1,
        "scheduler": {"asha": {"grace_period": 32, "reduction_factor": 2}},
        "parameters": {"epsilon_decay": 0.5},
        "search_space": {
            "epsilon_end": {"choice": [0.02, 1.0]},
            "demand_bins": {"choice": [2, TOO_MANY_BINS]},
        },
    }
    return SweepConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def seen() -> list[SweepProgress]:
    return []


@pytest.fixture(scope="module")
def result(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory, seen: list[SweepProgress]
) -> SweepResult:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), wandb_mode="offline")
    terminal = threading.RLock()  # like a terminal's, it cannot be sent to another process

    def show(progress: SweepProgress) -> None:
        with terminal:
            seen.append(progress)

    return run_sweep(make_config(), settings, on_progress=show)


def history(result: SweepResult, trial_id: str) -> list[dict[str, Any]]:
    """A trial's reports as Tune wrote them down."""
    lines = (result.folder / trial_id / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.ray
@pytest.mark.slow
class TestSweep:
    def test_names_the_trial_with_the_best_score(self, result: SweepResult) -> None:
        scores = {t.trial_id: t.score for t in result.trials if t.score is not None}
        assert len(scores) == 2
        assert result.best.score == scores[result.best.trial_id] == max(scores.values())
        assert result.best.parameters == {"epsilon_end": 0.02, "demand_bins": 2}

    def test_scores_by_the_mean_reward_over_the_latest_episodes(self, result: SweepResult) -> None:
        reports = history(result, result.best.trial_id)
        begin = reports[-1]["env_steps"] - 16 * EPISODE_STEPS
        latest = [i for i, report in enumerate(reports) if report["env_steps"] > begin]
        steps = [reports[i]["env_steps"] - reports[i - 1]["env_steps"] for i in latest]
        total = sum(reports[i]["step_reward"] * n for i, n in zip(latest, steps, strict=True))
        assert result.best.score == pytest.approx(total / sum(steps))

    def test_stops_a_trial_that_falls_behind(self, result: SweepResult) -> None:
        random = next(t for t in result.trials if t.stopped_early)
        assert random.parameters == {"epsilon_end": 1.0, "demand_bins": 2}
        assert 32 * EPISODE_STEPS <= random.env_steps < 128 * EPISODE_STEPS
        whole = next(t for t in result.trials if t.state == "finished")
        assert whole.env_steps >= 128 * EPISODE_STEPS

    def test_records_why_a_trial_failed_and_goes_on(self, result: SweepResult) -> None:
        failed = [t for t in result.trials if t.state == "failed"]
        assert [t.parameters["demand_bins"] for t in failed] == [TOO_MANY_BINS]
        assert re.match("InvalidInputError: .*lower parameters.demand_bins", failed[0].error or "")
        assert failed[0].score is None

    def test_tells_its_progress_in_one_line(
        self, result: SweepResult, seen: list[SweepProgress]
    ) -> None:
        assert str(seen[0]) == "0 of 3 trials done, 1 running"
        assert str(seen[-1]) == f"3 of 3 trials done, 0 running, best score {result.best.score:.4g}"

    def test_leaves_its_result_in_a_folder_under_data_dir(self, result: SweepResult) -> None:
        assert result.folder.parent.name == "sweeps"
        assert re.fullmatch(r"three-trials-\d{8}-\d{6}-\d{6}", result.folder.name)
        assert json.loads((result.folder / "sweep.json").read_text()) == result.model_dump(
            mode="json"
        )

    def test_has_a_run_of_each_trial_in_one_group_of_wandb(self, result: SweepResult) -> None:
        folder = result.folder.parents[1] / "wandb"
        assert result.wandb_sync == f"wandb sync {folder}/offline-run-*-{result.folder.name}-*"
        for trial in result.trials:
            (file,) = folder.glob(f"offline-run-*-{result.folder.name}-{trial.trial_id}/*.wandb")
            records = list(read_records(file))
            (run,) = (record.run for record in records if record.HasField("run"))
            assert (run.run_group, run.job_type) == (result.folder.name, "trial")
            config = {item.key: json.loads(item.value_json) for item in run.config.update}
            assert config["parameters"] == {"epsilon_decay": 0.5, **trial.parameters}
            (ended,) = (record.exit.exit_code for record in records if record.HasField("exit"))
            assert ended == (1 if trial.state == "failed" else 0)
            written = [line["score"] for line in history_of(records)]
            told = [] if trial.state == "failed" else history(result, trial.trial_id)
            assert written == [report["score"] for report in told]

    def test_without_any_finished_trial_is_an_error_that_says_why(
        self, ray_session: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        config = make_config(
            num_samples=1,
            scheduler=None,
            search_space={"demand_bins": {"choice": [2] + [TOO_MANY_BINS] * 40}},
        )
        with pytest.raises(LwmecpsError, match="none of its 1 trials finished.*demand_bins"):
            run_sweep(config, Settings(data_dir=tmp_path, wandb_mode="disabled"))
        assert capfd.readouterr().out == ""


@pytest.mark.ray
@pytest.mark.slow
def test_a_heuristic_is_tuned_on_the_training_days(ray_session: None, tmp_path: Path) -> None:
    config = SweepConfig.model_validate(
        {
            "name": "greedy_load",
            "model_type": "greedy_load",
            "scenario": "tiny",
            "total_episodes": 2,
            "seed": 3,
            "metric": "latency_ms",
            "mode": "min",
            "parameters": {"low": 0.2},
            "search_space": {"high": {"grid": [0.3, 0.95]}},
        }
    )
    result = run_sweep(config, Settings(data_dir=tmp_path, wandb_mode="disabled"))
    tiny = load_scenario("tiny")
    scores = {
        high: play_training_days(tiny, GreedyLoad(tiny, high=high, low=0.2), 2, 3)["latency_ms"]
        for high in (0.3, 0.95)
    }
    assert {trial.parameters["high"]: trial.score for trial in result.trials} == scores
    assert all(trial.state == "finished" for trial in result.trials)
    assert result.best.score == min(scores.values()) < max(scores.values())
    assert result.policy == f"greedy_load:low=0.2,high={result.best.parameters['high']}"


def test_an_unknown_scenario_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        run_sweep(make_config(), Settings(data_dir=tmp_path), scenario="nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_that_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = make_config(search_space={"demand_bins": {"choice": [TOO_MANY_BINS]}})
    with pytest.raises(InvalidInputError, match="too many for a table"):
        run_sweep(config, Settings(data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_finished_goes_before_one_that_was_stopped() -> None:
    finished = SweepTrial(trial_id="a", parameters={}, state="finished", score=-2.0)
    stopped = SweepTrial(trial_id="b", parameters={}, state="stopped", score=-1.0)
    failed = SweepTrial(trial_id="c", parameters={}, state="failed", score=0.0)
    best = [best_of(some, "max") for some in ([finished, stopped], [stopped, failed], [failed])]
    assert [trial and trial.trial_id for trial in best] == ["a", "b", None]
