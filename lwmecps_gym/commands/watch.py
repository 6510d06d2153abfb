"""`lwmecps watch`: a policy at work, live in the terminal, as a picture, or as an animation."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwmecps_gym.commands.terminal import ScenarioOption, Seed, err
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.errors import InvalidInputError

if TYPE_CHECKING:
    from lwmecps_gym.algorithms.policy import Policy
    from lwmecps_gym.envs.rendering import Scene
    from lwmecps_gym.envs.scenario import Scenario

MOST_FRAMES = 97
"""Frames of an animation: of a day, one each quarter of an hour."""
GIF_COLOURS = 128


def watch(
    scenario: ScenarioOption = "four-stations",
    policy: Annotated[
        str, typer.Option(help="A heuristic, or MODEL_ID[:VERSION or ALIAS].")
    ] = "greedy_cost",
    seed: Seed = 1,
    start: Annotated[float, typer.Option(min=0, max=24, help="Hour of the day to begin at.")] = 0.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to play; default, and most: an episode.")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0, help="Steps (of a GIF: frames) per second; 0: as fast as it goes."),
    ] = 10.0,
    save: Annotated[
        Path | None,
        typer.Option(help="Show nothing; write the end as FILE.png, or all of it as FILE.gif."),
    ] = None,
) -> None:
    """Watch a policy at work, step by step, until Ctrl-C or the end of the episode.

    From midnight on, it plays the first day that `evaluate` plays with the same seed.
    """
    from lwmecps_gym.algorithms.roster import find_policies
    from lwmecps_gym.envs.rendering.terminal import LiveView
    from lwmecps_gym.envs.scenario import load_scenario

    if save is not None and save.suffix not in (".gif", ".png"):
        raise InvalidInputError(f"--save {str(save)!r}: want a file that ends in .gif or .png")
    loaded = load_scenario(scenario)
    (player,) = find_policies([policy], loaded, read_settings(), seed)
    last = min(steps or loaded.episode_steps, loaded.episode_steps)
    if save is None:
        view = LiveView(speed or math.inf)
        with suppress(KeyboardInterrupt):
            for scene in scenes(loaded, player, seed, start, range(last + 1)):
                view.show(scene)
        view.close()
        return
    with err.status("playing ..."):
        frames = min(MOST_FRAMES, last + 1) if save.suffix == ".gif" else 1
        shown = [last - last * k // max(frames - 1, 1) for k in reversed(range(frames))]
        write(save, loaded, scenes(loaded, player, seed, start, shown), speed)
    err.print(f"picture: {save}", soft_wrap=True, highlight=False)


def scenes(
    scenario: "Scenario", policy: "Policy", seed: int, start_h: float, shown: "range | list[int]"
) -> Iterator["Scene"]:
    """Play an episode, and give what there is to see after the steps `shown`, in rising order."""
    import numpy as np

    from lwmecps_gym.envs.rendering import Played, scene_of
    from lwmecps_gym.envs.simulator import ClusterModel

    services, nodes = (
        [item.name for item in items] for items in (scenario.services, scenario.nodes)
    )
    model = ClusterModel(scenario, 1, moves=policy.actions.moves)
    model.reset({0: np.random.default_rng([seed, 0])}, start_h * 3600)
    policy.reset(1)
    played, steps = None, 0
    for wanted in shown:
        while steps < wanted:
            actions = policy.act(model.state())
            words = policy.actions.describe(int(actions[0]), services, nodes)
            played = Played(model.step(actions), [words])
            steps += 1
        yield scene_of(scenario, model.state(), played=played)


def write(file: Path, scenario: "Scenario", shown: Iterator["Scene"], speed: float) -> None:
    """Write scenes as a PNG, or as a GIF of `speed` frames per second.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    from PIL import Image

    from lwmecps_gym.envs.rendering.picture import Picture

    picture = Picture(scenario)
    frames = [
        Image.fromarray(picture.show(scene)).quantize(GIF_COLOURS, dither=Image.Dither.NONE)
        for scene in shown
    ]
    animated: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": 1000 / (speed or 100),
        "loop": 0,
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        frames[0].save(file, optimize=True, **animated if file.suffix == ".gif" else {})
    except OSError as error:
        raise InvalidInputError(f"picture {file}: cannot be written: {error}") from error
