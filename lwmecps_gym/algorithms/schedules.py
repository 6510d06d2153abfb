"""Schedules of values over a training, as RLlib takes them."""


def falling(begin: float, share: float, steps: int) -> list[list[float]]:
    """A value that falls linearly from `begin` to a share of it, over `steps` steps."""
    return [[0, begin], [steps, begin * share]]
