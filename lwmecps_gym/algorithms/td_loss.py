"""The loss of deep Q-learning, its errors and its gradients in one pass over arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.cluster import Ints
from lwmecps_gym.envs.compiled.jit import entry

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class TDLoss:
    """Mean of the Huber losses of B transitions, each times its weight.

    Attributes:
        loss: the mean.
        gradients: of the mean by the action values, [B, A].
        errors: how far the values of the actions taken are from their targets, [B].
        values: of the actions taken, [B].
    """

    loss: float
    gradients: Singles
    errors: Singles
    values: Singles


def td_loss(
    values: Singles,
    judged: Singles,
    following: Singles,
    actions: Ints,
    rewards: Singles,
    discounts: Singles,
    weights: Singles,
) -> TDLoss:
    """Loss of Q(s, a) against r + discount * Q'(s', a'), where a' is best as judged.

    Double Q-learning (van Hasselt et al. 2016) judges by the network that learns, plain Q-learning
    by the target network Q' itself.

    Args:
        values: Q(s), [B, A].
        judged: action values of s' by which a' is chosen, [B, A].
        following: Q'(s'), [B, A].
        actions: [B].
        rewards: [B].
        discounts: of what follows, 0 where nothing does, [B].
        weights: [B].
    """
    gradients = np.zeros_like(values)
    errors, chosen = np.empty_like(rewards), np.empty_like(rewards)
    loss = _td_loss(
        values, judged, following, actions, rewards, discounts, weights, gradients, errors, chosen
    )
    return TDLoss(loss, gradients, errors, chosen)


@entry
def _td_loss(
    values: Singles,
    judged: Singles,
    following: Singles,
    actions: Ints,
    rewards: Singles,
    discounts: Singles,
    weights: Singles,
    gradients: Singles,
    errors: Singles,
    chosen: Singles,
) -> float:
    count, loss = len(actions), 0.0
    for b in range(count):
        best = 0
        for a in range(1, values.shape[1]):
            if judged[b, a] > judged[b, best]:
                best = a
        target = rewards[b]
        if discounts[b] > 0:
            target += discounts[b] * following[b, best]
        chosen[b] = values[b, actions[b]]
        error = chosen[b] - target
        errors[b] = abs(error)
        share = weights[b] / count
        loss += share * (error * error / 2 if errors[b] < 1 else errors[b] - np.float32(0.5))
        gradients[b, actions[b]] = share * min(max(error, np.float32(-1)), np.float32(1))
    return loss
