"""Random legal actions, drawn as fast as the environments step."""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.compiled.jit import entry


@entry
def draw_legal(
    mask: NDArray[np.int8], state: NDArray[np.uint64], actions: NDArray[np.int64]
) -> None:
    """Write one legal action per row of `mask` [B, A], each as likely as the others.

    Numbers are drawn until one is legal (0 always is). `state` [1], not 0, is that of the generator
    xorshift64 (Marsaglia: Xorshift RNGs, Journal of Statistical Software 8(14), 2003).
    """
    x = state[0]
    count = np.uint64(mask.shape[1])
    for b in range(len(mask)):
        action = np.int64(0)
        while True:
            x ^= x << np.uint64(13)
            x ^= x >> np.uint64(7)
            x ^= x << np.uint64(17)
            action = np.int64((x >> np.uint64(32)) * count >> np.uint64(32))
            if mask[b, action] != 0:
                break
        actions[b] = action
    state[0] = x
