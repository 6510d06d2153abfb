"""A workload names one kind; files are read with the scenario, and errors point into them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.workload import Workload
from lwmecps_gym.platform.errors import ScenarioError

SHARE = {"video": {"mean": 1}}
GOOD_CSV = "t_s,bs_1,bs_2\n0,1,3\n150,2,4\n300,5,6\n450,7,8\n"


def scenario_with(workload: Any, folder: Path | None = None, base: str = "tiny") -> Scenario:
    document = load_scenario(base).document() | {"workload": workload}
    if folder is None:
        return load_scenario(document)
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_scenario(file)


def error_of(workload: Any, folder: Path | None = None) -> str:
    with pytest.raises(ScenarioError) as caught:
        scenario_with(workload, folder)
    message = str(caught.value)
    assert "\n" not in message and "https://" not in message
    assert message.startswith("scenario: " if folder is None else f"{folder / 'scenario.yaml'}: ")
    return message


DIURNAL = {"peak_users": {"bs_1": 1, "bs_2": 1}, "share": SHARE}
TRACE = {"interval_s": 300, "requests_rps": {"bs_1": [1, 2], "bs_2": [3, 4]}, "share": SHARE}
POISSON = {"mean_users": {"bs_1": 1, "bs_2": 1}, "share": SHARE}


@pytest.mark.parametrize(
    "workload", [{"diurnal": DIURNAL}, {"trace": TRACE}, {"poisson": POISSON}], ids=str
)
def test_each_kind_is_accepted(workload: dict[str, Any]) -> None:
    scenario_with(workload)


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({}, ["workload", "exactly one of diurnal, trace, csv, testapp, poisson", "none"]),
        (None, ["workload", "None"]),
        ({"diurnal": DIURNAL, "trace": TRACE}, ["exactly one", "['diurnal', 'trace']"]),
        ({"sinus": {}}, ["workload.sinus"]),
        ({"diurnal": DIURNAL | {"low": 1.5}}, ["workload.diurnal.low", "1.5"]),
        ({"diurnal": DIURNAL | {"noise": -1}}, ["workload.diurnal.noise", "-1"]),
        ({"diurnal": DIURNAL | {"phase_h": {"bs_9": 1}}}, ["workload.diurnal.phase_h", "bs_9"]),
        (
            {"diurnal": DIURNAL | {"peak_users": {"bs_1": 1}}},
            ["workload.diurnal.peak_users", "missing sites ['bs_2']"],
        ),
        (
            {"diurnal": DIURNAL | {"peak_users": {"bs_1": 1, "bs_2": 1, "bs_3": 1}}},
            ["workload.diurnal.peak_users", "unknown ['bs_3']"],
        ),
        (
            {"diurnal": DIURNAL | {"peak_users": {"bs_1": -4, "bs_2": 1}}},
            ["workload.diurnal.peak_users.bs_1", "-4"],
        ),
        ({"poisson": POISSON | {"mean_users": {"bs_2": 1}}}, ["poisson.mean_users", "bs_1"]),
        ({"poisson": POISSON | {"share": {"audio": {"mean": 1}}}}, ["share", "['video']"]),
        ({"poisson": POISSON | {"share": {}}}, ["workload.poisson.share", "at least 1"]),
        (
            {"poisson": POISSON | {"share": {"video": {"mean": 1, "peak_h": 24}}}},
            ["workload.poisson.share.video.peak_h", "24"],
        ),
        (
            {"trace": TRACE | {"requests_rps": {"bs_1": [1, 2], "bs_2": [3]}}},
            ["workload.trace", "'bs_1': 2", "'bs_2': 1"],
        ),
        (
            {"trace": TRACE | {"requests_rps": {"bs_1": [1], "bs_2": [-3]}}},
            ["workload.trace.requests_rps.bs_2.0", "-3"],
        ),
        ({"trace": TRACE | {"requests_rps": {"bs_1": [1]}}}, ["missing sites ['bs_2']"]),
    ],
)
def test_an_error_names_field_and_value(workload: Any, said: list[str]) -> None:
    message = error_of(workload)
    for words in said:
        assert words in message


@pytest.mark.parametrize("kind", ["csv", "testapp"])
def test_only_a_scenario_that_is_a_file_may_name_files(kind: str) -> None:
    assert "only a scenario that is itself a file" in error_of({kind: {"file": "/etc/passwd"}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t_s,bs_1,bs_2\n0,1,3\n10,x,4\n", ["line 3", "column bs_1", "'x'"]),
        ("t_s,bs_1,bs_2\n0,1,3\n\n10,2,\n", ["line 4", "column bs_2", "''"]),
        ("t_s,bs_1,bs_2\n0,1,nan\n10,1,1\n", ["line 2", "column bs_2", "'nan'"]),
        ("t_s,bs_1,bs_2\n0,1,1\n10,-5,1\n", ["line 3", "column bs_1", "'-5'"]),
        ("t_s,bs_1,bs_2\n0,1,3\n10,2\n", ["line 3", "column bs_2", "None"]),
        ("t_s,bs_1,bs_2\n0,1,3\n10,2,3,4\n", ["line 3", "more cells"]),
        ("t_s,bs_1,bs_2\n0,1,3\n10,2,3\n10,2,3\n", ["line 4", "times must rise"]),
        ("t_s,bs_1,bs_2\n0,1,3\n", ["two rows", "it has 1"]),
        ("t_s,bs_1,bs_1\n0,1,3\n10,1,3\n", ["a column twice", "bs_1"]),
        ("time,bs_1,bs_2\n0,1,3\n10,1,3\n", ["csv.time_column", "'t_s'", "time"]),
        ("", ["csv.time_column", "'t_s'"]),
    ],
)
def test_an_error_in_a_csv_names_file_and_line(tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "users.csv").write_text(text)
    message = error_of({"csv": {"file": "users.csv", "share": SHARE}}, tmp_path)
    for words in [str(tmp_path / "users.csv"), *said]:
        assert words in message


def test_a_csv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.csv", "binary.csv", "."):
        message = error_of({"csv": {"file": name, "share": SHARE}}, tmp_path)
        assert f"csv.file: cannot read {tmp_path / name}" in message


def test_a_csv_without_all_sites_says_which(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("t_s,bs_1,bs_7\n0,1,3\n10,1,3\n")
    message = error_of({"csv": {"file": "users.csv", "share": SHARE}}, tmp_path)
    assert "missing sites ['bs_2'], unknown ['bs_7']" in message


def test_an_error_in_the_settings_of_a_file_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(GOOD_CSV)
    message = error_of({"csv": {"file": "users.csv", "colour": "red"}}, tmp_path)
    assert "workload.csv.colour" in message and "'red'" in message
    assert "workload.csv.share: Field required" in message
    message = error_of({"testapp": {"files": {}, "share": SHARE}}, tmp_path)
    assert "workload.testapp.files" in message


def test_files_and_another_kind_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(GOOD_CSV)
    both = {"csv": {"file": "users.csv", "share": SHARE}, "poisson": POISSON}
    assert "give one kind of workload, not ['csv', 'poisson']" in error_of(both, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "settings: Field required"),
        ('{"settings": {}}', "settings.load_profiles: Field required"),
        ('{"settings": {"load_profiles": []}}', "settings.load_profiles: List should have at"),
        (
            '{"settings": {"load_profiles": [{"concurrent_users": 1, "request_interval": 0, '
            '"profile_duration": 10}]}}',
            "settings.load_profiles.0.request_interval: Input should be greater than 0 (value 0)",
        ),
        (
            '{"settings": {"load_profiles": [{"concurrent_users": -1, "request_interval": 1}]}}',
            "settings.load_profiles.0.concurrent_users: Input should be greater than or equal to 0",
        ),
    ],
)
def test_an_error_in_a_load_profile_names_file_and_field(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "p.json").write_text(text)
    message = error_of({"testapp": {"files": {"bs_1": "p.json"}, "share": SHARE}}, tmp_path)
    assert f"testapp.files.bs_1: {tmp_path / 'p.json'}: " in message and said in message


def test_a_long_broken_file_does_not_fill_the_message(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("x " * 10_000)
    assert len(error_of({"testapp": {"files": {"a": "p.json"}, "share": SHARE}}, tmp_path)) < 600


def test_an_absent_load_profile_is_named(tmp_path: Path) -> None:
    message = error_of({"testapp": {"files": {"bs_1": "no.json"}, "share": SHARE}}, tmp_path)
    assert f"testapp.files.bs_1: cannot read {tmp_path / 'no.json'}" in message


def test_a_csv_becomes_a_trace_averaged_over_the_control_interval(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(GOOD_CSV)
    settings = {"file": "users.csv", "requests_per_user_rps": 2, "share": SHARE}
    scenario = scenario_with({"csv": settings}, tmp_path)
    trace = scenario.workload.trace
    assert trace is not None and trace.interval_s == 300
    assert trace.requests_rps == {"bs_1": [3.0, 12.0], "bs_2": [7.0, 14.0]}
    assert load_scenario(scenario.document()) == scenario  # the file is needed no more


def test_rows_of_unequal_length_are_weighed_by_it(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("t_s,bs_1,bs_2\n0,10,0\n100,4,0\n400,1,0\n")
    scenario = scenario_with({"csv": {"file": "users.csv", "share": SHARE}}, tmp_path)
    trace = scenario.workload.trace
    assert trace is not None
    # 0-300: 100 s of 10 and 200 s of 4; 300-600: 100 s of 4 and 200 s of 1; the last row holds as
    # long as the one before, to 700, and the rest of 100 s is left out
    assert trace.requests_rps["bs_1"] == pytest.approx([6.0, 2.0])


def test_the_recorded_day_of_four_stations_plays_as_recorded(
    testapp_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "day.csv").symlink_to(testapp_data / "profile_a_24h.csv")
    share = load_scenario("four-stations").document()["workload"]["diurnal"]["share"]
    settings = {"file": "day.csv", "requests_per_user_rps": 6, "share": share}
    scenario = scenario_with({"csv": settings}, tmp_path, base="four-stations")
    with (tmp_path / "day.csv").open() as file:
        rows = list(csv.DictReader(file))
    users = np.array([[float(row[site.name]) for site in scenario.sites] for row in rows])
    per_minute = 6 * users.reshape(-1, 6, 4).mean(1)  # a row is 10 s, a step 60 s
    workload = Workload.of(scenario)
    assert workload.cycle_s == 86_400
    played = workload.mean_requests(60.0 * np.arange(len(per_minute), dtype=np.float64))
    assert played == pytest.approx(per_minute)


def test_the_recorded_hour_of_a_station_plays_as_recorded(
    testapp_data: Path, tmp_path: Path
) -> None:
    source = testapp_data / "bs_1_profile.first-hour.json"
    files = {site: str(source) for site in ("bs_1", "bs_2")}
    scenario = scenario_with({"testapp": {"files": files, "share": SHARE}}, tmp_path)
    profiles = json.loads(source.read_text())["settings"]["load_profiles"]
    assert {profile["profile_duration"] for profile in profiles} == {10}
    rates = [item["concurrent_users"] / item["request_interval"] for item in profiles]
    steps = len(rates) // 30  # a step is 300 s
    expected = np.array(rates[: 30 * steps]).reshape(steps, 30).mean(1)
    workload = Workload.of(scenario)
    played = workload.mean_requests(300.0 * np.arange(steps, dtype=np.float64))
    assert played == pytest.approx(np.stack([expected, expected], axis=1))
    faster = {"files": files, "requests_per_user_rps": 2, "share": SHARE}
    trace = scenario_with({"testapp": faster}, tmp_path).workload.trace
    assert trace is not None
    assert trace.requests_rps["bs_1"] == pytest.approx(20 * expected)
