"""The command answers on stdout and refuses in one line on stderr."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from lwmecps_gym import cli
from lwmecps_gym.envs.scenario import load_scenario

COMMANDS = (
    ["demo"], ["serve"], ["train"], ["evaluate"], ["sweep"], ["models"], ["models", "list"],
    ["models", "show"], ["models", "add"], ["scenarios"], ["scenarios", "list"],
    ["scenarios", "show"], ["scenarios", "validate"], ["watch"], ["benchmark"], ["pretrain"],
    ["openapi"], ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "revoke"],
    *(["models", name] for name in (
        "alias", "delete", "deploy", "download", "predict", "rollback", "undeploy", "upload",
    )),
    *(["tasks", name] for name in (
        "cancel", "curves", "delete", "list", "logs", "pause", "resume", "retry", "show", "stop",
        "watch",
    )),
    ["bench"], ["bench", "env"], ["bench", "faults"], ["bench", "runner"], ["bench", "train"],
)  # fmt: skip


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Answer]


@pytest.fixture(autouse=True)
def own_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands keep what they make in a folder of the test's own, and ask no other service."""
    for name in ("MONGODB_URL", "WANDB_API_KEY", "RAY_ADDRESS", "LWMECPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LWMECPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; what its libraries print from C++ counts too."""

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lwmecps", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capfd.readouterr()
        return Answer(int(end.value.code or 0), printed.out, printed.err)

    return call


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(run: Run, command: list[str]) -> None:
    answer = run(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Usage: lwmecps" in answer.out and " ".join(command) in answer.out


def test_help_names_every_command(run: Run) -> None:
    text = run("--help").out
    assert all(name[0] in text for name in COMMANDS)


WRONG = {
    "no such command": (["fly"], "'fly'"),
    "no such option": (["evaluate", "--fast"], "--fast"),
    "missing argument": (["scenarios", "validate"], "file"),
    "unknown scenario": (["evaluate", "--scenario", "moon"], "'moon'"),
    "unknown scenario to train on": (["train", "--scenario", "moon"], "'moon'"),
    "missing file": (["scenarios", "validate", "no/such.yaml"], "'no/such.yaml'"),
    "unknown policy": (["evaluate", "--scenario", "tiny", "--policy", "best"], "'best'"),
    "unknown pretrained model": (
        ["evaluate", "--scenario", "tiny", "--policy", "pretrained:best"], "'best'",
    ),
    "unknown model of the package": (["models", "add", "best"], "'best'"),
    "unknown recipe": (["pretrain", "best"], "'best'"),
    "unknown case": (["benchmark", "--case", "moon"], "'moon'"),
    "version that is no number": (
        ["evaluate", "--scenario", "tiny", "--policy", "best:x"], "'best:x'",
    ),
    "unknown knob": (["evaluate", "--policy", "greedy_cost:speed=1"], "greedy_cost: speed: "),
    "knob out of bounds": (["evaluate", "--policy", "greedy_load:high=2"], "high: "),
    "knob without a value": (["evaluate", "--policy", "hpa:60"], "'60' is not one KNOB=VALUE"),
    "knob given twice": (["evaluate", "--policy", "greedy_load:low=0,low=1"], "'low=1' is not one"),
    "unknown model": (["models", "show", "best"], "'best'"),
    "unknown algorithm": (["train", "--algorithm", "sarsa"], "model_type: 'sarsa'"),
    "unknown sweep": (["sweep", "nothing"], "nothing"),
    "no episodes to evaluate": (["evaluate", "--episodes", "0"], "'--episodes'"),
    "episodes that are no number": (["evaluate", "--episodes", "few"], "'--episodes'"),
    "negative episodes": (["train", "--total-episodes", "-1"], "total_episodes: "),
    "negative seed": (["train", "--seed", "-1"], "'--seed'"),
    "huge seed": (["train", "--seed", "99999999999"], "seed: "),
    "port out of range": (["serve", "--port", "70000"], "'--port'"),
    "env not for the algorithm": (["train", "--env", "lwmecps-v1"], "env: ppo"),
    "parameter without a value": (["train", "-p", "learning_rate"], "'learning_rate'"),
    "unknown parameter": (["train", "-p", "speed=1"], "parameters: speed: "),
    "parameter that is no number": (["train", "-p", "learning_rate=abc"], "value 'abc'"),
    "parameter NaN": (["train", "-p", "learning_rate=NaN"], "parameters: learning_rate: "),
    "name too long": (["train", "--name", "x" * 201], "name: "),
    "training of nobody": (["tasks", "show", "0" * 20], "0" * 20),
    "state that is none": (["tasks", "list", "--state", "tired"], "'tired'"),
    "not waiting for oneself": (["train", "--no-watch"], "LWMECPS_URL"),
    "file that is not there": (["models", "upload", "mine", "no/such.tar"], "no/such.tar"),
    "model that is not deployed": (["models", "rollback", "mine"], "'mine'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_in_one_line_that_names_it(
    run: Run, arguments: list[str], named: str, tmp_path: Path
) -> None:
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert named in answer.err
    assert not (tmp_path / "data" / "checkpoints").exists()


@pytest.mark.parametrize("command", [["demo"], ["serve"], ["train"], ["evaluate"], ["sweep", "ppo"],
                                     ["models", "list"], ["models", "show", "best"]],
                         ids=" ".join)  # fmt: skip
def test_a_wrong_variable_of_the_environment_is_refused_by_its_name(
    run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LWMECPS_MAX_CONCURRENT_TRAININGS", "many")
    answer = run(*command)
    assert (answer.code, answer.out) == (2, "")
    *_, last = answer.err.splitlines()
    assert last.startswith("error: LWMECPS_MAX_CONCURRENT_TRAININGS: ") and "'many'" in last


def test_a_module_that_cannot_be_imported_is_refused_before_anything_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LWMECPS_ALGORITHMS", "no_such_agents")
    answer = run("--import", "nor_such_agents", "train")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "LWMECPS_ALGORITHMS: no_such_agents cannot be imported" in answer.err


WRONG_FILES = {
    "no YAML": ("nodes: [", ["not valid YAML or JSON"]),
    "a list": ("[1, 2]", ["a scenario is a mapping", "list"]),
    "a wrong value": ("timeout_ms: -5", ["timeout_ms", "-5"]),
    "a wrong nested value": ("weights: {latency: cheap}", ["weights.latency", "'cheap'"]),
    "an unknown field": ("colour: red", ["colour", "'red'"]),
}


@pytest.mark.parametrize(("text", "named"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_scenario_file_is_refused_by_file_field_and_value(
    run: Run, text: str, named: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    known = yaml.safe_dump(load_scenario("tiny").document())
    parsed = None if text == "nodes: [" else yaml.safe_load(text)
    if isinstance(parsed, dict):
        text = yaml.safe_dump(yaml.safe_load(known) | parsed)
    file.write_text(text)
    for arguments in (["scenarios", "validate", str(file)], ["evaluate", "--scenario", str(file)]):
        answer = run(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.count("\n") == 1
        assert all(word in answer.err for word in [str(file), *named])


def test_the_console_script_exits_as_it_says() -> None:
    script = Path(sys.executable).with_name("lwmecps")
    command = [script, "evaluate", "--scenario", "moon"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: no scenario 'moon': neither a file nor one of "
        "['four-stations', 'testapp-day', 'tiny']\n"
    )


def test_the_scenarios_of_the_package_are_listed(run: Run) -> None:
    answer = run("scenarios", "list", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert {item["name"] for item in answer.document} == {"four-stations", "testapp-day", "tiny"}


def test_scenarios_are_shown_in_full_and_can_be_read_back(run: Run, tmp_path: Path) -> None:
    shown = run("scenarios", "show", "tiny").document
    assert shown == load_scenario("tiny").document()
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(shown))
    answer = run("scenarios", "validate", str(file), "--json")
    assert answer.document == {
        "name": "tiny", "valid": True, "nodes": 2, "services": 1, "sites": 2,
    }  # fmt: skip
    assert "valid; 2 nodes, 1 services, 2 sites" in run("scenarios", "validate", str(file)).out


def test_an_empty_registry_is_no_error(run: Run) -> None:
    assert run("models", "list", "--json").document == []
    assert "lwmecps train" in run("models", "list").out


def test_evaluate_prints_one_document_and_writes_a_picture(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "out" / "day.png"
    answer = run(
        "evaluate", "--scenario", "tiny", "--policy", "static",
        "--policy", "greedy_load:high=0.8,low=0.3", "--episodes", "2", "--seed", "3",
        "--plot", str(picture), "--json",
    )  # fmt: skip
    assert answer.code == 0
    document = answer.document
    assert (document["scenario"], document["episodes"], document["seed"]) == ("tiny", 2, 3)
    names = [row["policy"] for row in document["rows"]]
    assert names == ["static", "greedy_load:high=0.8,low=0.3"]
    assert set(document["rows"][0]["latency_ms"]) == {"mean", "p50", "p95", "p99"}
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert f"picture: {picture}" in answer.err.replace("\n", "")


def test_a_picture_that_cannot_be_written_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "day.png"
    answer = run("evaluate", "--scenario", "tiny", "--policy", "static", "--plot", str(place))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1 and str(place) in answer.err


def test_evaluate_prints_a_table_the_cheapest_policy_first(run: Run) -> None:
    answer = run("evaluate", "--scenario", "tiny", "--policy", "random", "--policy", "greedy_cost",
                 "--episodes", "1")  # fmt: skip
    assert answer.out.index("greedy_cost") < answer.out.index("random")


@pytest.fixture
def testapp_data() -> Path:
    """Folder of the load profiles of lwmecps-testapp, shared between repositories."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "lwmecps-testapp"
    if not folder.is_dir():
        pytest.skip(f"the load profiles of lwmecps-testapp are not at {folder}")
    return folder


def test_evaluate_plays_a_days_trace_from_a_csv_file(
    run: Run, testapp_data: Path, tmp_path: Path
) -> None:
    scenario = load_scenario("four-stations").document()
    csv = {
        "file": str(testapp_data / "profile_a_24h.csv"),
        "requests_per_user_rps": 6,
        "share": scenario["workload"]["diurnal"]["share"],
    }
    file = tmp_path / "day.yaml"
    changes = {"name": "profile-a", "workload": {"csv": csv}, "control_interval_s": 600,
               "episode_steps": 144}  # fmt: skip
    file.write_text(yaml.safe_dump(scenario | changes))
    document = run("evaluate", "--scenario", str(file), "--policy", "static", "--policy",
                   "greedy_cost", "--episodes", "1", "--json").document  # fmt: skip
    assert document["scenario"] == "profile-a"
    static, greedy = document["rows"]
    assert 0 < greedy["cost"] < static["cost"]
    assert 0 < greedy["latency_ms"]["p50"] < greedy["latency_ms"]["p99"] <= 400


def test_evaluate_plays_load_profiles_of_the_testapp(
    run: Run, testapp_data: Path, tmp_path: Path
) -> None:
    profile = str(testapp_data / "bs_1_profile.first-hour.json")
    scenario = load_scenario("tiny").document()
    testapp = {
        "files": {"bs_1": profile, "bs_2": profile},
        "requests_per_user_rps": 1,
        "share": {"video": {"mean": 1}},
    }
    file = tmp_path / "hour.yaml"
    changes = {"name": "hour", "workload": {"testapp": testapp}, "episode_steps": 12}
    file.write_text(yaml.safe_dump(scenario | changes))
    document = run(
        "evaluate", "--scenario", str(file), "--policy", "greedy_cost", "--json"
    ).document
    assert document["scenario"] == "hour"
    assert document["rows"][0]["latency_ms"]["mean"] > 0


@pytest.mark.ray
@pytest.mark.slow
def test_a_model_is_trained_listed_shown_and_compared(ray_session: None, run: Run) -> None:
    trained = run(
        "train", "--algorithm", "q_learning", "--scenario", "tiny", "--total-episodes", "64",
        "--seed", "1", "--name", "Edge table", "-p", "demand_bins=4", "--json",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    document = trained.document
    assert document.keys() == {
        "task_id", "state", "model_id", "version", "episodes", "env_steps", "env_steps_per_s",
        "return",
    }  # fmt: skip
    assert (document["model_id"], document["version"]) == ("edge-table", 1)
    assert document["episodes"] == 64 and document["env_steps"] >= 64 * 288
    assert document["return"]["first"] < document["return"]["last"] < 0

    (model,) = run("models", "list", "--json").document
    assert (model["id"], model["latest_version"]) == ("edge-table", 1)
    assert "edge-table" in run("models", "list").out
    (version,) = run("models", "show", "edge-table", "--json").document
    assert version["task_id"] == document["task_id"]
    assert version["model_type"] == "q_learning"
    assert version["digest"][:12] in run("models", "show", "edge-table").out

    def rows(*policies: str) -> dict[str, Any]:
        wanted = [part for policy in policies for part in ("--policy", policy)]
        answer = run("evaluate", "--scenario", "tiny", "--episodes", "2", "--json", *wanted)
        return {row["policy"]: row for row in answer.document["rows"]}

    compared = rows("edge-table", "static", "random")
    assert compared.keys() == {"edge-table:1", "static", "random"}
    assert compared["edge-table:1"]["cost"] < compared["random"]["cost"]
    assert rows("edge-table:1")["edge-table:1"]["cost"] == compared["edge-table:1"]["cost"]
    missing = run("evaluate", "--scenario", "tiny", "--policy", "edge-table:7")
    assert (missing.code, missing.out, missing.err.count("\n")) == (2, "", 1)
    unfit = run("evaluate", "--scenario", "four-stations", "--policy", "edge-table")
    assert (unfit.code, unfit.out, unfit.err.count("\n")) == (2, "", 1)
