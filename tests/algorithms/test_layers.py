"""The layers compute what torch's own compute, forward and backward."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from lwmecps_gym.algorithms.layers import MANY, Mlp, Tanh, draw, dueling, surrogate, where_set

FEW_AND_MANY = pytest.mark.parametrize("rows", [MANY - 1, 5 * MANY])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@FEW_AND_MANY
def test_tanh_and_its_gradient_are_those_of_torch(rows: int) -> None:
    x = torch.linspace(-100, 100, rows * 7).reshape(rows, 7).requires_grad_()
    gradients = []
    for tanh in (Tanh(), nn.Tanh()):
        y = tanh(x)
        torch.testing.assert_close(y, torch.tanh(x), rtol=0, atol=1e-6)
        gradients.append(torch.autograd.grad(y.sum(), x)[0])
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


@FEW_AND_MANY
@pytest.mark.parametrize("sizes", [(3, 2), (5, 8, 4), (9, 16, 8, 1)])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_layers_give_the_values_and_gradients_of_torch(
    rows: int, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    linears = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    layers = [part for linear in linears for part in (linear, nn.Tanh())][:-1]
    ours, torchs = Mlp(*layers), nn.Sequential(*layers)
    x, weight = random(rows, *shape, sizes[0]).requires_grad_(), random(rows, *shape, sizes[-1])
    found = []
    for network in (ours, torchs):
        y = network(x)
        found.append((y, *torch.autograd.grad((y * weight).sum(), [x, *network.parameters()])))
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@FEW_AND_MANY
@pytest.mark.parametrize("other", [-torch.inf, -1e30])
def test_values_stand_where_the_mask_is_set_and_gradients_reach_them_alone(
    rows: int, other: float
) -> None:
    mask, values = (random(rows, 5) > 0).to(torch.int8), random(rows, 5, seed=1).requires_grad_()
    chosen = where_set(mask, values, other)
    assert torch.equal(chosen, torch.where(mask != 0, values, other))
    weight = random(rows, 5, seed=2)
    chosen.backward(weight)
    assert values.grad is not None
    assert torch.equal(values.grad, torch.where(mask != 0, weight, 0.0))


@FEW_AND_MANY
def test_dueling_values_are_centred_over_what_the_mask_names_and_so_are_their_gradients(
    rows: int,
) -> None:
    mask = (random(rows, 5) > 0).to(torch.int8)
    mask[:, 0] = 1
    given = [random(rows, 5, seed=1).requires_grad_(), random(rows, 1, seed=2).requires_grad_()]
    advantages, values = given
    centre = (advantages * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    expected = torch.where(mask != 0, advantages - centre + values, -torch.inf)
    joined = dueling(mask, advantages, values, -torch.inf)
    torch.testing.assert_close(joined, expected)
    weight = random(rows, 5, seed=3)
    for found, wanted in zip(
        torch.autograd.grad(joined, given, weight),
        torch.autograd.grad(expected, given, weight),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


def test_the_surrogate_and_its_gradient_are_those_of_the_equations() -> None:
    batch, count, clip, coeff = 400, 9, 0.2, 0.03
    legal = random(batch, count) > -0.5
    legal[:, 0] = True
    scores = where_set(legal, 3 * random(batch, count, seed=1), -1e30).requires_grad_()
    actions, _ = draw(scores.detach())
    then = torch.log_softmax(scores.detach() + 0.3 * random(batch, count, seed=2), 1)
    logp = then.gather(1, actions[:, None]).squeeze(1)
    advantages = random(batch, seed=3)

    every = torch.log_softmax(scores, 1)
    ratio = torch.exp(every.gather(1, actions[:, None]).squeeze(1) - logp)
    clipped = advantages * ratio.clamp(1 - clip, 1 + clip)
    assert (clipped < advantages * ratio).any()
    assert (clipped > advantages * ratio).any()
    policy = -torch.minimum(advantages * ratio, clipped).mean()
    entropy = -(every.exp() * every).sum(1).mean()
    expected = policy - coeff * entropy

    loss, found_policy, found_entropy = surrogate(scores, actions, logp, advantages, clip, coeff)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert found_policy == pytest.approx(policy.item(), abs=1e-5)
    assert found_entropy == pytest.approx(entropy.item(), rel=1e-5)
    gradients = [
        torch.autograd.grad(each, scores, retain_graph=True)[0] for each in (loss, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-7)


def test_actions_are_drawn_as_their_probabilities_say_and_illegal_ones_never() -> None:
    torch.manual_seed(2)
    rows = 100_000
    scores = torch.tensor([0.0, -torch.inf, 1.0, -1e30, 2.0]).repeat(rows, 1)
    actions, logp = draw(scores)
    every = torch.log_softmax(scores[0], 0)
    torch.testing.assert_close(logp, every[actions], rtol=0, atol=1e-5)
    share = torch.bincount(actions, minlength=5) / rows
    assert share[1] == share[3] == 0
    spread = (every.exp() * (1 - every.exp()) / rows) ** 0.5
    assert ((share - every.exp()).abs() <= 4 * spread).all()
