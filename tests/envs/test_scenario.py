"""A scenario is read from a name, a file or an object, and every error says what to put right."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lwmecps_gym.envs.cluster import rtt_matrix
from lwmecps_gym.envs.scenario import load_scenario, packaged_scenarios
from lwmecps_gym.platform.errors import NotFoundError, ScenarioError

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    return load_scenario("tiny").document()


def error_of(source: str | Path | Document) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def with_item(document: Document, part: str, **fields: Any) -> Document:
    """The document with fields of its first node, service or site changed."""
    first, *others = document[part]
    return document | {part: [first | fields, *others]}


def test_packaged_scenarios_are_listed_and_load_by_name() -> None:
    assert set(packaged_scenarios()) >= {"four-stations", "tiny"}
    for name in packaged_scenarios():
        assert load_scenario(name).name == name


def test_four_stations_competes_for_cpu_and_tiny_is_tiny() -> None:
    four, tiny = load_scenario("four-stations"), load_scenario("tiny")
    assert [node.cpu for node in four.nodes] == [1.2, 1.2, 1.0, 0.75]
    assert (len(four.services), len(tiny.services), len(tiny.nodes)) == (3, 1, 2)


@pytest.mark.parametrize("name", packaged_scenarios())
def test_a_document_is_the_whole_scenario(name: str) -> None:
    scenario = load_scenario(name)
    again = load_scenario(json.loads(json.dumps(scenario.document())))
    assert again == scenario


def test_json_and_yaml_say_the_same(document: Document, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(document))
    assert load_scenario(tmp_path / "a.json") == load_scenario(str(tmp_path / "a.yaml"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"'five-stations'.*four-stations.*tiny"):
        load_scenario("five-stations")


def test_a_name_that_no_file_can_have_is_not_found() -> None:
    for name in ("x" * 5000, "a\0b", ""):
        with pytest.raises(NotFoundError):
            load_scenario(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nodse": []}, ["nodse", "Extra inputs"]),
        ({"colour": "red"}, ["colour", "'red'"]),
        ({"episode_steps": 0}, ["episode_steps", "greater than or equal to 1", "0"]),
        ({"control_interval_s": -60}, ["control_interval_s", "-60"]),
        ({"control_interval_s": float("nan")}, ["control_interval_s", "finite", "nan"]),
        ({"routing": "nearest"}, ["routing", "'prefer-close' or 'random'", "'nearest'"]),
        ({"queue": "fifo"}, ["queue", "'shared' or 'split'", "'fifo'"]),
        ({"utilisation_cap": 1}, ["utilisation_cap", "less than 1", "1"]),
        ({"name": "a b"}, ["name", "'a b'"]),
        ({"nodes": []}, ["nodes", "at least 1"]),
        ({"weights": {"latency": -1}}, ["weights.latency", "-1"]),
        ({"failures": {"node_mtbf_s": 100}}, ["failures", "node_mttr_s must be above 0"]),
        ({"randomise": {"rtt": [2, 1]}}, ["randomise", "rtt", "2.0", "1.0"]),
    ],
)
def test_an_error_names_field_and_value(
    document: Document, changes: Document, said: list[str]
) -> None:
    message = error_of(document | changes)
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("nodes", {"cpu": -1}, ["nodes.0.cpu", "greater than 0", "-1"]),
        ("nodes", {"cpu": "much"}, ["nodes.0.cpu", "'much'"]),
        ("nodes", {"gpu": 1}, ["nodes.0.gpu", "1"]),
        ("nodes", {"lat": 52.5}, ["nodes.0", "both lat and lon"]),
        ("nodes", {"lat": 91, "lon": 0}, ["nodes.0.lat", "91"]),
        ("nodes", {"max_pods": 1.5}, ["nodes.0.max_pods", "1.5"]),
        ("services", {"rate_rps": 0}, ["services.0.rate_rps", "0"]),
        ("services", {"min_replicas": 4}, ["services.0", "min_replicas 4", "max_replicas 3"]),
        ("sites", {"rtt_ms": {"bs_1": 2, "bs_2": -3}}, ["sites.0.rtt_ms.bs_2", "-3"]),
        ("sites", {"rtt_ms": {"bs_1": 2, "bs_9": 3, "bs_2": 1}}, ["sites.bs_1.rtt_ms", "bs_9"]),
        ("sites", {"rtt_ms": {"bs_1": 2}}, ["sites.bs_1", "no round-trip time to node bs_2"]),
        ("nodes", {"name": "bs_2"}, ["nodes", "unique", "bs_2"]),
        ("sites", {"name": "bs_2"}, ["sites", "unique", "bs_2"]),
    ],
)
def test_an_error_in_an_item_names_the_item(
    document: Document, part: str, fields: Document, said: list[str]
) -> None:
    message = error_of(with_item(document, part, **fields))
    for words in said:
        assert words in message


def test_services_of_one_name_are_refused(document: Document) -> None:
    assert "['video']" in error_of(document | {"services": document["services"] * 2})


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu": 1.1},
        {"min_replicas": 3, "cpu": 0.6},
        {"min_replicas": 3, "cpu": 0.1, "memory_mib": 600},
        {"min_replicas": 3, "cpu": 0.1, "tx_mbps": 501},
        {"min_replicas": 21, "max_replicas": 30, "cpu": 0.01, "memory_mib": 1},
    ],
    ids=["cpu of one node", "cpu of all nodes", "memory", "network", "pods"],
)
def test_a_minimum_of_replicas_that_does_not_fit_is_refused(
    document: Document, fields: Document
) -> None:
    message = error_of(with_item(document, "services", **fields))
    assert "services.video.min_replicas" in message and "do not fit the nodes" in message


def test_a_minimum_of_replicas_that_just_fits_is_accepted(document: Document) -> None:
    just = {"min_replicas": 10, "max_replicas": 10, "cpu": 0.2, "memory_mib": 200, "tx_mbps": 200}
    load_scenario(with_item(document, "services", **just))


def test_the_minimum_must_fit_the_smallest_cluster_that_can_be_drawn(document: Document) -> None:
    message = error_of(document | {"randomise": {"node_cpu": [0.4, 2]}})
    assert "services.video.min_replicas" in message
    assert "randomise.node_cpu at 0.4" in message


def test_several_errors_are_all_told(document: Document) -> None:
    message = error_of(document | {"episode_steps": -1, "timeout_ms": "x"})
    assert "episode_steps" in message and "timeout_ms" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "not valid YAML"),
        ("name: [", "not valid YAML"),
        ("since: 2024-13-45", "not valid YAML"),
        ("1" * 5000, "not valid YAML"),
        ("[" * 20_000, "not valid YAML"),
        ("- 1", "this is list"),
        ("", "this is NoneType"),
        ("just words", "this is str"),
        ("{1: 2}", "name: Field required"),
    ],
)
def test_a_file_that_is_no_scenario_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    message = error_of(file)
    assert message.startswith(str(file)) and said in message


def test_broken_json_and_broken_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": }')
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    assert re.search(r"a\.json: not valid YAML or JSON.*column 10", error_of(tmp_path / "a.json"))
    assert "a.yaml: not valid YAML or JSON" in error_of(tmp_path / "a.yaml")


def test_one_service_of_a_scenario_keeps_its_demand() -> None:
    four = load_scenario("four-stations")
    alone = four.only("video")
    assert [service.name for service in alone.services] == ["video"]
    assert alone.workload == four.workload
    with pytest.raises(NotFoundError, match=r"'vidoe'.*'video'"):
        four.only("vidoe")


LONDON, PARIS, BERLIN, MUNICH = (
    {"lat": 51.5074, "lon": -0.1278},
    {"lat": 48.8566, "lon": 2.3522},
    {"lat": 52.5200, "lon": 13.4050},
    {"lat": 48.1351, "lon": 11.5820},
)


@pytest.mark.parametrize(
    ("site", "node", "distance_km"),
    [(LONDON, PARIS, 343.6), (BERLIN, MUNICH, 504.2), (LONDON, LONDON, 0)],
)
def test_round_trips_follow_the_great_circle(
    document: Document, site: Document, node: Document, distance_km: float
) -> None:
    placed = with_item(document, "sites", rtt_ms={"bs_2": 30}, **site) | {"rtt_base_ms": 3}
    scenario = load_scenario(with_item(placed, "nodes", **node) | {"ms_per_km": 0.1})
    rtt = rtt_matrix(scenario)
    assert rtt[0, 0] == pytest.approx(3 + 0.1 * distance_km, abs=0.05)
    assert rtt[0, 1] == 30  # what is given wins
    assert np.array_equal(rtt[1], [30, 2])
