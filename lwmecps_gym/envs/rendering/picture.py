"""The view as a picture, drawn by Matplotlib's Agg without pyplot, whose state is global."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.container import Container
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lwmecps_gym.envs.cluster import Floats, Ints
from lwmecps_gym.envs.performance import COST_TERMS
from lwmecps_gym.envs.rendering.scene import Scene, colours
from lwmecps_gym.envs.scenario import Scenario

WIDTH, HEIGHT, DPI = 960, 640, 100
"""Size of a picture in pixels, and pixels per inch."""
INK, PALE, NEUTRAL = "#222222", "#DDDDDD", "#6B7A8F"
PLACES = (
    (0.06, 0.895, 0.91, 0.018),
    (0.06, 0.57, 0.60, 0.25),
    (0.06, 0.31, 0.60, 0.12),
    (0.06, 0.115, 0.60, 0.13),
    (0.77, 0.45, 0.20, 0.37),
    (0.77, 0.115, 0.20, 0.24),
)
"""Left, bottom, width and height of: the day, nodes, demand, latency of sites; services, cost."""
LOWER = (0.06, 0.505, 0.60, 0.315)
"""Place of the nodes where their names need little room."""
BAR = 0.8
"""Width of a bar, of the distance between two."""
MOST_LABELS = 26
"""Names that fit under a row of bars."""
MOST_SLOS = 1.5
"""Latencies are drawn up to so many times the largest SLO; beyond, only the figure tells."""
LONGEST_NAME = 12
LETTERS = 90
"""Letters that fit under a row of bars."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "text.color": INK,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.size": 0,
    "ytick.major.size": 2,
    "hatch.linewidth": 0.8,
}


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw as told here, whatever the user's settings; they are back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


class Picture:
    """Draws scenes of one scenario as arrays [640, 960, 3] of uint8.

    Scales only grow from scene to scene, so that a video does not jump.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._hues = colours(len(scenario.services))
        self._limits: dict[str, float] = {}
        self._drawn: list[Artist | Container] = []
        with _own_style():
            self._lay_out(scenario)

    def _lay_out(self, scenario: Scenario) -> None:
        """Draw what stays: axes, names and titles."""
        nodes, services, sites = (
            [_short(item.name) for item in items]
            for items in (scenario.nodes, scenario.services, scenario.sites)
        )
        self._figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._figure.text(0.06, 0.955, scenario.name, size=12, weight="bold")
        self._day, self._nodes, self._demand, self._site, self._service, self._cost = (
            self._figure.add_axes(place) for place in PLACES
        )
        self._day.set(xlim=(0, 24), ylim=(0, 1), yticks=[], xticks=range(0, 25, 3))
        self._day.tick_params(pad=1, labelsize=7)
        self._nodes.set(title="nodes: share of the CPU (hatched: pods that start)", ylim=(0, 1.1))
        self._nodes.set(yticks=[0, 0.5, 1], yticklabels=["0", "50 %", "100 %"])
        self._nodes.axhline(1, color=INK, lw=1)
        self._demand.set(title="sites: requests/s")
        self._site.set(title="sites: mean latency, ms")
        _name(self._site, sites)
        _name(self._demand, [""] * len(sites))
        if not _name(self._nodes, nodes):
            self._nodes.set_position(LOWER)
        self._service.set(title="services: latency, ms (line: SLO)")
        _name_rows(self._service, services)
        self._service.scatter(
            [-0.035] * len(services), range(len(services)), marker="s", s=22, c=self._hues,
            clip_on=False, transform=self._service.get_yaxis_transform(),
        )  # fmt: skip
        self._service.tick_params(axis="y", pad=9)
        _name_rows(self._cost, list(COST_TERMS))

    def show(self, scene: Scene) -> NDArray[np.uint8]:
        """Draw a scene, [H, W, 3]."""
        while self._drawn:
            self._drawn.pop().remove()
        with _own_style():
            self._head(scene)
            self._draw_nodes(scene)
            self._draw_sites(scene)
            self._draw_services(scene)
            self._draw_cost(scene)
            self._canvas.draw()
        pixels: NDArray[np.uint8] = np.asarray(self._canvas.buffer_rgba())
        return pixels[..., :3].copy()

    def close(self) -> None:
        """Nothing is held but memory."""

    def _head(self, scene: Scene) -> None:
        write = self._figure.text
        self._drawn += [
            write(0.97, 0.955, scene.clock, size=12, weight="bold", ha="right"),
            write(0.06, 0.928, scene.action or "no step yet"),
            write(0.97, 0.928, f"{scene.violated:.1%} of the requests failed or late", ha="right"),
            self._day.barh([0.5], [scene.hour], height=1, color=NEUTRAL),
        ]

    def _draw_nodes(self, scene: Scene) -> None:
        axes, count = self._nodes, len(scene.up)
        bottom, unit = np.zeros(count), scene.request[:, None] / scene.capacity
        line = {"lw": 0.7 if count <= MOST_LABELS else 0.0, "edgecolor": "white"}
        for s, hue in enumerate(self._hues):
            for replicas, look in (
                (scene.ready[s], {"facecolor": hue} | line),
                (scene.starting[s], {"facecolor": "white", "edgecolor": hue, "hatch": "//////"}),
            ):
                self._add(axes, *_pods(bottom, unit[s], replicas), **look)
                bottom = bottom + replicas * unit[s]
        lost = np.flatnonzero(~scene.up)
        self._add(
            axes, np.zeros(len(lost)), np.ones(len(lost)), lost,
            facecolor=PALE, edgecolor=INK, hatch="xx", lw=0.5, zorder=0.5,
        )  # fmt: skip
        if count > MOST_LABELS:
            self._drawn.append(axes.scatter(lost, [1.06] * len(lost), c=INK, marker="x", s=16))
        else:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            self._drawn += [axes.text(float(n), 0.5, "down", ha="center", bbox=box) for n in lost]

    def _draw_sites(self, scene: Scene) -> None:
        bottom = np.zeros(scene.demand.shape[1])
        for demand, hue in zip(scene.demand, self._hues, strict=True):
            self._add(self._demand, bottom, bottom + demand, facecolor=hue)
            bottom = bottom + demand
        self._demand.set_ylim(0, self._limit("demand", bottom))
        axes, latency, mean = self._site, scene.site_latency_ms, scene.mean_latency_ms
        limit = self._limit("latency", latency, MOST_SLOS * float(scene.slo_ms.max()))
        self._add(axes, np.zeros(len(latency)), latency, facecolor=NEUTRAL)
        axes.set_ylim(0, limit)
        self._drawn += [
            axes.axhline(min(mean, limit), color=INK, lw=1, ls="--"),
            axes.text(
                1.005, min(mean, limit), f"mean\n{mean:.0f}", va="center",
                transform=axes.get_yaxis_transform(),
            ),
        ]  # fmt: skip
        if len(latency) <= MOST_LABELS:
            inside = latency > 0.25 * limit  # at its foot, where the mean is not in the way
            self._drawn += [
                axes.text(
                    float(u), 0.03 * limit if inside[u] else value, f"{value:.0f}", size=7,
                    ha="center", va="bottom", color="white" if inside[u] else INK,
                )
                for u, value in enumerate(latency)
            ]  # fmt: skip

    def _draw_services(self, scene: Scene) -> None:
        axes, latency, slo = self._service, scene.service_latency_ms, scene.slo_ms
        rows = np.arange(len(latency))
        wanted = np.append(latency, 1.1 * slo)
        limit = self._limit("service", wanted, MOST_SLOS * float(slo.max()))
        self._drawn += [
            axes.barh(rows, latency, height=BAR, color=self._hues),
            axes.vlines(slo, rows - 0.48, rows + 0.48, color=INK, lw=1.6),
        ]
        self._drawn += [
            axes.text(1.02 * limit, float(row), f"{latency[row]:.0f}", va="center", size=7)
            for row in np.flatnonzero(latency > limit)
        ]
        axes.set_xlim(0, limit)

    def _draw_cost(self, scene: Scene) -> None:
        axes = self._cost
        if not scene.terms:
            axes.set_title("cost of the last step")
            return
        axes.set_title(f"cost of the last step: {scene.cost:.3f}")
        values = list(scene.terms.values())
        limit = self._limit("cost", np.array(values))
        self._drawn.append(axes.barh(range(len(values)), values, height=BAR, color=NEUTRAL))
        self._drawn += [
            axes.text(value + 0.02 * limit, row, f"{value:.3f}", va="center")
            for row, value in enumerate(values)
        ]
        axes.set_xlim(0, 1.3 * limit)

    def _add(
        self, axes: Axes, bottom: Floats, top: Floats, at: Ints | None = None, **look: Any
    ) -> None:
        """Add bars from `bottom` to `top` [K], which stand at `at` [K], else at 0, 1, ..."""
        x = np.arange(len(bottom)) if at is None else at
        left, right = x - BAR / 2, x + BAR / 2
        corners = np.stack([left, bottom, left, top, right, top, right, bottom], axis=-1)
        boxes = corners.reshape(-1, 4, 2)[top > bottom]
        if len(boxes):
            self._drawn.append(axes.add_collection(PolyCollection(list(boxes), **{"lw": 0} | look)))

    def _limit(self, name: str, values: Floats, most: float = np.inf) -> float:
        """Upper end of a scale, a round number or `most`; never less than it was."""
        wanted = max(float(values.max()), 1e-3)
        size = 10.0 ** np.floor(np.log10(wanted))
        steps = np.array([1, 1.5, 2, 3, 4, 5, 6, 8, 10]) * size
        found = float(steps[np.searchsorted(steps, wanted)])
        self._limits[name] = max(min(found, most), self._limits.get(name, 0.0))
        return self._limits[name]


def _pods(bottom: Floats, height: Floats, count: Ints) -> tuple[Floats, Floats, Ints]:
    """Ends and places of `count` pods on each node, [K], stacked from `bottom` [N]; all [N]."""
    at = np.repeat(np.arange(len(count)), count)
    below = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    start = bottom[at] + below * height[at]
    return start, start + height[at], at


def _short(name: str) -> str:
    """Shorten in the middle: the names of nodes differ at their ends."""
    return name if len(name) <= LONGEST_NAME else f"{name[:4]}…{name[5 - LONGEST_NAME :]}"


def _name(axes: Axes, names: Sequence[str]) -> bool:
    """Write names under bars, as many as there is room for; says whether they stand upright."""
    ticks = range(0, len(names), -(-len(names) // MOST_LABELS))
    upright = max(len(name) for name in names) * len(ticks) > LETTERS
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(ticks, names[:: ticks.step], rotation=90 if upright else 0)
    axes.grid(axis="y", color=PALE, lw=0.6)
    return upright


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names beside rows."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8 if len(names) < 16 else 6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, lw=0.6)
