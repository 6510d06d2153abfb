"""Rollouts of a vector environment as arrays, and their advantages; no Ray needed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.cluster import Bools, Floats, Ints


@dataclass(frozen=True)
class Rollout:
    """T steps of N environments with NEXT_STEP autoreset.

    Attributes:
        observations: [T + 1, N, ...], one array or a dict of them; the last is what followed.
        actions: [T, N].
        logp: logarithms of the probabilities with which the actions were chosen, [T, N]; None where
            the module gives the actions themselves.
        rewards: [T, N].
        terminated: the episode ended for good, [T, N].
        truncated: the episode ended for its length, [T, N].
        resetting: nothing was played, a new episode began, [T, N].
    """

    observations: Any
    actions: Ints
    logp: NDArray[np.float32] | None
    rewards: Floats
    terminated: Bools
    truncated: Bools
    resetting: Bools


def advantages(rollout: Rollout, values: Floats, gamma: float, lambda_: float) -> Floats:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), [T, N].

    A truncated episode, and the end of the rollout, go on with the value of the observation that
    followed; a terminated one with 0. The steps of resets have advantage 0 and pass nothing on.

    Args:
        rollout: what was played.
        values: of its observations, [T + 1, N].
        gamma: discount factor.
        lambda_: decay of the estimates' weights.
    """
    goes_on = ~(rollout.terminated | rollout.truncated | rollout.resetting)
    deltas = rollout.rewards + gamma * values[1:] * ~rollout.terminated - values[:-1]
    deltas[rollout.resetting] = 0.0
    decay = gamma * lambda_ * goes_on
    result = np.empty_like(deltas)
    following = np.zeros(deltas.shape[1])
    for t in range(len(deltas) - 1, -1, -1):
        following = deltas[t] + decay[t] * following
        result[t] = following
    return result
