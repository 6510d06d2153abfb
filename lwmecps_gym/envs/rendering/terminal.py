"""The view in a terminal: nodes, sites and services as bars, at the width and height there is."""

import time
import weakref
from io import StringIO

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lwmecps_gym.envs.cluster import Floats, Ints
from lwmecps_gym.envs.rendering.bars import Bar, Item, Section, Strip
from lwmecps_gym.envs.rendering.scene import Scene, colours

TEXT_SIZE = (100, 60)
"""Width and height of a scene as text, characters."""


class LiveView:
    """Shows each scene in the place of the one before, and waits to keep the pace.

    Where the output is no terminal, each scene is one line, and the last one is shown in full when
    the view is closed. It is closed at the latest when it is forgotten or the program ends.

    Args:
        fps: scenes per second in a terminal, at most.
        console: where to; standard output unless given.
    """

    def __init__(self, fps: float, console: Console | None = None) -> None:
        self._interval_s = 1 / fps
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._finish = weakref.finalize(self, _end, self._live)
        self._shown_at = -np.inf

    def show(self, scene: Scene) -> None:
        """Show a scene; in a terminal, once the one before has had its time."""
        if not self._live.is_started:
            self._live.start()
        if self._console.is_terminal:
            time.sleep(max(0.0, self._shown_at + self._interval_s - time.monotonic()))
            self._shown_at = time.monotonic()
        else:
            self._console.print(in_one_line(scene), highlight=False, soft_wrap=True)
        self._live.update(Screen(scene), refresh=True)

    def close(self) -> None:
        """Leave the last scene where it is, and give the terminal back."""
        self._finish()


def _end(live: Live) -> None:
    if live.is_started:
        live.stop()
        if not live.console.is_terminal:  # where Rich leaves the last line open
            live.console.line()


class TextView:
    """Scenes as text with ANSI colours."""

    def show(self, scene: Scene) -> str:
        """Draw the scene, 100 characters wide."""
        width, height = TEXT_SIZE
        console = Console(
            file=StringIO(), width=width, height=height, force_terminal=True,
            color_system="truecolor", legacy_windows=False,
        )  # fmt: skip
        with console.capture() as captured:
            console.print(Screen(scene))
        return captured.get()

    def close(self) -> None:
        """Nothing is held."""


class Screen:
    """A scene on a screen: the time and the cost above, then nodes, sites and services."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; what does not fit the height takes less room."""
        width = options.max_width
        yield _headline(self._scene)
        yield _cost(self._scene)
        nodes, services, sites = sections = _sections(self._scene)
        room = console.height - 4 - 2 * len(sections) - 1
        least = [section.least(width) for section in sections]
        rows: dict[str, int] = {}
        for position, section in enumerate(sections):
            rows[section.title] = room - sum(least[position + 1 :])
            room -= section.rows(width, rows[section.title])
        tables = [s.table(width, rows[s.title]) for s in (nodes, sites, services)]
        for table in tables:
            yield Text()
            yield table


def in_one_line(scene: Scene) -> str:
    """Time, cost, latency and the last action."""
    if not scene.terms:
        return f"{scene.clock}  {scene.scenario.name} begins"
    return (
        f"{scene.clock}  cost {scene.cost:.3f}  latency {scene.mean_latency_ms:.1f} ms  "
        f"violated {scene.violated:.1%}  {scene.action}"
    )


def _headline(scene: Scene) -> Table:
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_row(
        Text(scene.scenario.name, "bold"),
        Bar([(scene.hour / 24, "cyan", True)]),
        Text(scene.clock, "bold"),
    )
    return table


def _cost(scene: Scene) -> Group:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(Text("cost", "bold"), *scene.terms, "violated")
    figures = [f"{value:.3f}" for value in scene.terms.values()]
    table.add_row(Text(f"{scene.cost:.3f}", "bold"), *figures, f"{scene.violated:.1%}")
    last = Text(f"last: {scene.action}", no_wrap=True, overflow="ellipsis")
    return Group(table, last) if scene.terms else Group(Text("no step yet"), Text(), Text())


def _sections(scene: Scene) -> tuple[Section, Section, Section]:
    """Nodes, services and sites; the first to be shown in detail comes first."""
    scenario, hues = scene.scenario, colours(len(scene.request))
    names = [service.name for service in scenario.services]
    ready, starting = scene.cpu_share(scene.ready), scene.cpu_share(scene.starting)
    used = (ready + starting).sum(0)
    nodes = [
        Item(
            node.name,
            "" if scene.up[n] else "bold reverse",
            Bar([
                part
                for s, hue in enumerate(hues)
                for part in ((ready[s, n], hue, True), (starting[s, n], hue, False))
            ]),
            f"{used[n]:.0%}" if scene.up[n] else "down",
            _pods(scene.ready[:, n], scene.starting[:, n], names, hues),
        )
        for n, node in enumerate(scenario.nodes)
    ]  # fmt: skip
    limit = max(
        float(scene.slo_ms.max()),
        float(scene.site_latency_ms.max()),
        float(scene.service_latency_ms.max()),
    )
    mean = scene.mean_latency_ms
    sites = [
        Item(
            site.name,
            "",
            Bar([(scene.site_latency_ms[u] / limit, "cyan", True)], mean / limit),
            f"{scene.site_latency_ms[u]:.0f}",
            _requests(scene.demand[:, u], names, hues),
        )
        for u, site in enumerate(scenario.sites)
    ]
    services = [
        Item(
            name,
            f"bold {hues[s]}",
            Bar(
                [(scene.service_latency_ms[s] / limit, hues[s], True)],
                float(scene.slo_ms[s]) / limit,
            ),
            f"{scene.service_latency_ms[s]:.0f}",
            Text(f"SLO {scene.slo_ms[s]:.0f} ms, {_count(scene.ready[s], scene.starting[s])} pods"),
        )
        for s, name in enumerate(names)
    ]
    late = scene.service_latency_ms / limit
    return (
        Section("node", "CPU", "pods (ready+starting)", nodes, Strip(used, ~scene.up)),
        Section("service", "ms", "", services, _levels(late)),
        Section("site", "ms", "requests/s", sites, _levels(scene.site_latency_ms / limit)),
    )


def _levels(values: Floats) -> Strip:
    return Strip(values, np.zeros(len(values), dtype=bool))


def _pods(ready: Ints, starting: Ints, names: list[str], hues: list[str]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for s in np.flatnonzero(ready + starting):
        line.append(f"{names[s]} {_count(ready[s], starting[s])}  ", hues[s])
    return line


def _count(ready: Ints, starting: Ints) -> str:
    coming = int(np.sum(starting))
    return f"{np.sum(ready)}" + (f"+{coming}" if coming else "")


def _requests(demand: Floats, names: list[str], hues: list[str]) -> Text:
    line = Text(f"{demand.sum():.0f}  ", no_wrap=True, overflow="ellipsis")
    for s in np.flatnonzero(demand):
        line.append(f"{names[s]} {demand[s]:.0f}  ", hues[s])
    return line
