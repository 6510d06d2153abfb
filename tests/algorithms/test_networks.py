"""Networks score actions from observations as the environments give them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lwmecps_gym.algorithms.networks import (
    NetworkConfig,
    ScoreNetwork,
    flat_size,
    flatten,
    to_tensors,
)
from lwmecps_gym.envs import make_vector_env


def network(inputs: int = 3, outputs: int = 4, dueling: bool = False) -> ScoreNetwork:
    torch.manual_seed(0)
    return ScoreNetwork(
        NetworkConfig(inputs=inputs, outputs=outputs, hidden=(8, 8), dueling=dueling)
    )


def observed(mask: list[list[int]]) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "observations": torch.randn(len(mask), 3),
        "action_mask": torch.tensor(mask, dtype=torch.int8),
    }


@pytest.mark.parametrize("dueling", [False, True])
def test_illegal_actions_score_what_is_asked_and_legal_ones_do_not_change(dueling: bool) -> None:
    net = network(dueling=dueling)
    scores = net(observed([[1, 0, 1, 1], [0, 1, 1, 0]]))
    assert (scores == -torch.inf).tolist() == [
        [False, True, False, False],
        [True, False, False, True],
    ]
    finite = net(observed([[1, 0, 1, 1], [0, 1, 1, 0]]), illegal=-9.0)
    assert torch.equal(finite == -9.0, scores == -torch.inf)
    assert torch.equal(finite[finite != -9.0], scores[scores != -torch.inf])


def test_without_a_mask_every_action_is_scored() -> None:
    assert torch.isfinite(network()(torch.randn(5, 3))).all()


def test_a_dueling_network_centres_advantages_over_the_legal_actions_alone() -> None:
    net = network(dueling=True)
    seen = observed([[1, 0, 1, 1]])
    hidden = net.body(flatten(seen))
    advantage, value = net.advantage(hidden)[0], net.value(hidden)[0]
    centred = advantage - advantage[[0, 2, 3]].mean() + value
    scores = net(seen)[0]
    assert torch.allclose(scores[[0, 2, 3]], centred[[0, 2, 3]])
    assert scores[[0, 2, 3]].mean().item() == pytest.approx(value.item(), abs=1e-6)
    unmasked = net(seen["observations"])[0]
    assert unmasked.mean().item() == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("env_id", ["lwmecps-v1", "lwmecps-v2", "lwmecps-v3"])
def test_an_observation_flattens_to_all_it_holds_but_the_mask(env_id: str) -> None:
    env = make_vector_env(env_id, 3, scenario="tiny")
    observations, _ = env.reset(seed=0)
    flat = flatten(to_tensors(observations))
    assert flat.dtype == torch.float32
    assert flat.shape == (3, flat_size(env.single_observation_space))
    if isinstance(observations, dict):
        parts = [observations[name] for name in sorted(observations) if name != "action_mask"]
        np.testing.assert_array_equal(flat, np.concatenate([p.reshape(3, -1) for p in parts], 1))
    else:
        np.testing.assert_array_equal(flat, observations)


def test_an_untrained_policy_network_is_close_to_even_and_a_seed_repeats_it() -> None:
    scores = network()(torch.randn(50, 3))
    assert scores.abs().max() < 0.1
    again = network().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network().state_dict().items())
