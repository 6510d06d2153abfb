"""Views of a cluster: live in a terminal, as text, and as a picture.

A view draws a `Scene`, which is made only when something is to be drawn. Matplotlib and Rich are
imported by the first view that needs them.
"""

from typing import Any, Protocol

from lwmecps_gym.envs.rendering.scene import Played, Scene, scene_of
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

__all__ = ["RENDER_FPS", "Played", "Scene", "View", "check_render_mode", "make_view", "scene_of"]

RENDER_FPS = 10
"""Steps per second of a live view and of a video, unless another pace is asked for."""


class View(Protocol):
    """Something that draws scenes of one scenario."""

    def show(self, scene: Scene) -> Any:
        """Draw; returns what `render` of an environment in this mode returns."""
        ...

    def close(self) -> None:
        """Release what is held; closing again does nothing."""
        ...


def check_render_mode(mode: str | None, modes: list[str]) -> str | None:
    """Return the mode if it is unset or one of `modes`.

    Raises:
        InvalidInputError: it is not.
    """
    if mode is not None and mode not in modes:
        raise InvalidInputError(f"render_mode: {mode!r} is none of {modes}")
    return mode


def make_view(mode: str, scenario: Scenario, fps: float = RENDER_FPS) -> View:
    """Make the view of a render mode: "human", "ansi" or "rgb_array".

    Args:
        mode: which.
        scenario: what is drawn.
        fps: scenes per second that a live view shows at most.
    """
    if mode == "rgb_array":
        from lwmecps_gym.envs.rendering.picture import Picture

        return Picture(scenario)
    from lwmecps_gym.envs.rendering.terminal import LiveView, TextView

    return LiveView(fps) if mode == "human" else TextView()
