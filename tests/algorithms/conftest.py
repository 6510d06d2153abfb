"""What the tests of the algorithms share."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As in a training's actor: more threads only wait for each other on networks this small."""
    torch.set_num_threads(1)
