"""Compiled loops of the networks: what torch does in many passes over the memory, in one.

All arrays are float32 and have the batch as their first axis, but for masks, which are int8.
"""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.compiled.jit import compiled, entry, summing_entry

Floats = NDArray[np.float32]

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)
"""1.5 * 2**23: added to a number, it leaves the nearest integer in the lowest bits."""
_LEAST = np.float32(-87.0)
"""Below, an exponential is 0 for all that it is used for."""
_C6, _C5, _C4, _C3 = np.float32(1 / 720), np.float32(1 / 120), np.float32(1 / 24), np.float32(1 / 6)
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)


@compiled
def exponential(x: np.float32) -> np.float32:
    """exp(x) for x from -87 to 0, exact to 1e-7 of itself; see `envs.compiled.sojourn`."""
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _HALF) * r
    p = (p + _ONE) * r + _ONE
    power = np.int32((np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23))
    return p * power.view(np.float32)


@compiled
def share(score: np.float32, top: np.float32) -> np.float32:
    """exp(score - top), 0 for the score of an illegal action."""
    below = score - top
    return exponential(max(below, _LEAST)) if below > _LEAST else _ZERO


@entry
def bias_tanh(y: Floats, bias: Floats) -> None:
    """Make y [B, D] tanh(y + bias), to 1e-6."""
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            x = y[i, j] + bias[j]
            e = exponential(max(-_TWO * abs(x), _LEAST))
            y[i, j] = np.copysign((_ONE - e) / (_ONE + e), x)


@entry
def tanh_backward(gradient: Floats, y: Floats) -> None:
    """Take a gradient [B, D] with respect to y = tanh(x) to one with respect to x."""
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            gradient[i, j] *= _ONE - y[i, j] * y[i, j]


@entry
def choose_where(mask: NDArray[np.int8], values: Floats, other: float, out: Floats) -> None:
    """Write values [B, A] where the mask is set, and `other` elsewhere."""
    otherwise = np.float32(other)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j] if mask[i, j] != 0 else otherwise


@summing_entry
def dueling(
    mask: NDArray[np.int8], advantages: Floats, values: Floats, other: float, out: Floats
) -> None:
    """Write values [B, 1] + centred advantages [B, A] where the mask is set, else `other`."""
    otherwise = np.float32(other)
    for i in range(advantages.shape[0]):
        total, legal = _ZERO, _ZERO
        for j in range(advantages.shape[1]):
            total += advantages[i, j] if mask[i, j] != 0 else _ZERO
            legal += _ONE if mask[i, j] != 0 else _ZERO
        shift = values[i, 0] - total / legal
        for j in range(advantages.shape[1]):
            out[i, j] = advantages[i, j] + shift if mask[i, j] != 0 else otherwise


@summing_entry
def dueling_backward(
    mask: NDArray[np.int8], gradient: Floats, by_advantages: Floats, by_values: Floats
) -> None:
    """Take a gradient [B, A] with respect to what `dueling` wrote to those of what it was given."""
    for i in range(gradient.shape[0]):
        total, legal = _ZERO, _ZERO
        for j in range(gradient.shape[1]):
            total += gradient[i, j] if mask[i, j] != 0 else _ZERO
            legal += _ONE if mask[i, j] != 0 else _ZERO
        by_values[i, 0] = total
        centre = total / legal
        for j in range(gradient.shape[1]):
            by_advantages[i, j] = gradient[i, j] - centre if mask[i, j] != 0 else _ZERO


@summing_entry
def surrogate(
    scores: Floats,
    actions: NDArray[np.int64],
    logp: Floats,
    advantages: Floats,
    clip: float,
    entropy_coeff: float,
    gradient: Floats,
) -> tuple[float, float]:
    """The clipped surrogate loss of PPO and the entropy, means over B.

    Args:
        scores: of the actions, [B, A]; very low for illegal ones.
        actions: that were chosen, [B].
        logp: logarithms of their probabilities then, [B].
        advantages: [B].
        clip: how far a ratio of probabilities counts.
        entropy_coeff: weight of the entropy.
        gradient: becomes that of surrogate - entropy_coeff * entropy by the scores, [B, A].
    """
    batch, count = scores.shape
    low, high = np.float32(1 - clip), np.float32(1 + clip)
    bonus = np.float32(entropy_coeff)
    loss, entropies = np.float64(0), np.float64(0)
    for i in range(batch):
        top = scores[i, 0]
        for j in range(count):
            top = max(top, scores[i, j])
        total = weighted = _ZERO
        for j in range(count):
            e = share(scores[i, j], top)
            gradient[i, j] = e
            total += e
            weighted += e * max(scores[i, j] - top, _LEAST)
        log_total = np.float32(np.log(total))
        entropy = log_total - weighted / total
        ratio = np.float32(np.exp(scores[i, actions[i]] - top - log_total - logp[i]))
        plain = advantages[i] * ratio
        clipped = advantages[i] * min(max(ratio, low), high)
        loss -= min(plain, clipped)
        entropies += entropy
        pull = plain if plain <= clipped else _ZERO
        for j in range(count):
            log_p = max(scores[i, j] - top, _LEAST) - log_total
            p = gradient[i, j] / total
            gradient[i, j] = p * (bonus * (log_p + entropy) + pull) / np.float32(batch)
        gradient[i, actions[i]] -= pull / np.float32(batch)
    return float(loss) / batch, float(entropies) / batch


@summing_entry
def draw(
    scores: Floats, uniform: Floats, shares: Floats, actions: NDArray[np.int64], logp: Floats
) -> None:
    """Draw one action by each row of scores [B, A], and tell the logarithm of its probability.

    An action is where the sum of the probabilities exceeds a uniform number below 1, [B], so that
    one without probability is never drawn. `shares` [A] is there to work in.
    """
    for i in range(scores.shape[0]):
        top = scores[i, 0]
        for j in range(scores.shape[1]):
            top = max(top, scores[i, j])
        total = _ZERO
        for j in range(scores.shape[1]):
            shares[j] = share(scores[i, j], top)
            total += shares[j]
        rest = uniform[i] * total
        chosen = 0
        for j in range(scores.shape[1]):
            if shares[j] > _ZERO:
                chosen = j
                rest -= shares[j]
                if rest < _ZERO:
                    break
        actions[i] = chosen
        logp[i] = scores[i, chosen] - top - np.float32(np.log(total))
