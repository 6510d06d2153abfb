"""A family is several clusters of different sizes, side by side in one vector environment."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.base import PlacementVectorEnv
from lwmecps_gym.envs.environments import V3_DEFAULTS
from lwmecps_gym.envs.family import ScenarioFamily
from lwmecps_gym.envs.family_env import FamilyVectorEnv
from lwmecps_gym.envs.generate import draw_members, edge_scenario
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.errors import InvalidInputError, ScenarioError

FAMILY = {"nodes": [2, 4], "services": [1, 2], "count": 5, "episode_steps": 6}
SCENARIO = load_scenario({"family": FAMILY})


def env(num_envs: int = 10, **options: Any) -> FamilyVectorEnv:
    made = make_vector_env("lwmecps-v3", num_envs, scenario=SCENARIO, **options)
    assert isinstance(made, FamilyVectorEnv)
    return made


def test_a_file_with_a_family_alone_is_a_scenario_as_large_as_its_largest_member(
    tmp_path: Path,
) -> None:
    file = tmp_path / "family.yaml"
    file.write_text("family: {nodes: [2, 4], services: [1, 2], count: 5, episode_steps: 6}")
    scenario = load_scenario(file)
    assert scenario == SCENARIO == load_scenario(SCENARIO.document())
    assert scenario.name == "family-2-4x1-2-0"
    assert (len(scenario.nodes), len(scenario.services), scenario.episode_steps) == (4, 1, 6)


def test_one_number_stands_for_both_bounds() -> None:
    family = ScenarioFamily.model_validate({"nodes": 3, "services": 2})
    assert (family.nodes, family.services) == ((3, 3), (2, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [4, 2]}, "family.*nodes: the lower bound 4 is above 2"),
        ({"nodes": [0, 2]}, "family.nodes.0: .*greater than or equal to 1"),
        ({"nodes": "many"}, "family.nodes"),
        ({"control_interval_s": [90, 60]}, "control_interval_s: the lower bound 90.0 is above 60"),
        ({"control_interval_s": 0}, "family.control_interval_s.0: .*greater than or equal to 1"),
        ({"size": 3}, "family.size: Extra inputs"),
    ],
)
def test_a_wrong_family_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario({"family": FAMILY | change})


def test_members_go_through_the_sizes_and_a_seed_repeats_them() -> None:
    family = ScenarioFamily.model_validate(FAMILY)
    members = draw_members(family)
    assert list(family.sizes()) == [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2)]
    assert [(len(m.nodes), len(m.services)) for m in members] == list(family.sizes())
    assert members == draw_members(family)
    assert members != draw_members(family.model_copy(update={"seed": 1}))
    assert all(member.randomise.node_cpu for member in members)


def test_members_spread_their_decisions_from_the_shortest_interval_to_the_longest() -> None:
    family = ScenarioFamily.model_validate(FAMILY | {"control_interval_s": [60, 960]})
    members = draw_members(family)
    assert sorted(m.control_interval_s for m in members) == [60, 120, 240, 480, 960]
    plain = draw_members(ScenarioFamily.model_validate(FAMILY))
    for member, same in zip(members, plain, strict=True):
        assert member == same.model_copy(update={"control_interval_s": member.control_interval_s})


def test_every_member_plays_as_it_does_alone_padded_to_the_largest() -> None:
    family = env(10, random_start=True)
    assert [each.num_envs for each in family.envs] == [2] * 5
    alone = [
        PlacementVectorEnv(
            "lwmecps-v3", 2, scenario=member, max_nodes=4, max_services=2, random_start=True,
            **V3_DEFAULTS,
        )
        for member in draw_members(ScenarioFamily.model_validate(FAMILY))
    ]  # fmt: skip
    observation, _ = family.reset(seed=5)
    parts = [single.reset(seed=5 + 2 * i)[0] for i, single in enumerate(alone)]
    family.action_space.seed(1)
    for _ in range(15):  # beyond the end of episodes
        for name, values in observation.items():
            assert np.array_equal(values, np.concatenate([part[name] for part in parts]))
        actions = family.action_space.sample()
        observation, reward, terminated, truncated, info = family.step(actions)
        steps = [single.step(own) for single, own in zip(alone, np.split(actions, 5), strict=True)]
        parts = [step[0] for step in steps]
        assert np.array_equal(reward, np.concatenate([step[1] for step in steps]))
        assert not terminated.any()
        assert np.array_equal(truncated, np.concatenate([step[3] for step in steps]))
        assert np.array_equal(
            info["migrations"], np.concatenate([step[4]["migrations"] for step in steps])
        )


def test_what_is_padding_is_never_legal() -> None:
    observation, _ = env(5, moves=False).reset(seed=0)
    places = observation["action_mask"][:, 1:9].reshape(5, 2, 4)
    assert not places[0, 1].any() and not places[0, :, 2:].any()  # one service on two nodes
    assert places[0, 0, :2].any()


def test_with_fewer_clusters_than_members_the_first_ones_play() -> None:
    few = env(2)
    assert [len(each.scenario.nodes) for each in few.envs] == [2, 3]
    assert few.single_observation_space == env(10).single_observation_space
    uneven = env(7)
    assert [each.num_envs for each in uneven.envs] == [2, 2, 1, 1, 1]


def test_gymnasium_makes_it_too() -> None:
    made = gym.make_vec("lwmecps-v3", num_envs=5, scenario={"family": FAMILY})
    observation, _ = made.reset(seed=0)
    assert made.observation_space.contains(observation)


def test_every_cluster_is_shown_at_its_own_size() -> None:
    family = env(5, render_mode="ansi")
    family.reset(seed=0)
    shown = family.render()
    assert shown is not None and len(shown) == 5
    for text, member in zip(
        shown, draw_members(ScenarioFamily.model_validate(FAMILY)), strict=True
    ):
        assert [f"node-{n}" in text for n in range(4)] == [n < len(member.nodes) for n in range(4)]
    with pytest.raises(InvalidInputError, match="render_mode: 'human' is none of"):
        env(5, render_mode="human")


def test_a_reset_takes_a_time_of_the_day_but_no_placement() -> None:
    family = env(5)
    observation, _ = family.reset(options={"start_s": 21_600})
    assert observation["clock"] == pytest.approx(np.tile([1, 0], (5, 1)), abs=1e-6)
    with pytest.raises(InvalidInputError, match=r"\['placement'\] are not start_s"):
        family.reset(options={"placement": [[1]]})


def test_a_scenario_without_a_family_makes_none() -> None:
    with pytest.raises(InvalidInputError, match="tiny has no family"):
        FamilyVectorEnv(load_scenario("tiny"))


def test_edge_scenarios_are_repeated_by_their_seed_and_are_as_dense_at_any_size() -> None:
    assert edge_scenario(5, 2, seed=3) == edge_scenario(5, 2, seed=3)
    assert edge_scenario(5, 2, seed=3) != edge_scenario(5, 2, seed=4)

    def spread(nodes: int) -> float:
        return float(np.ptp([node.lat for node in edge_scenario(nodes, 1).nodes if node.lat]))

    assert spread(400) / spread(100) == pytest.approx(2, rel=0.05)
