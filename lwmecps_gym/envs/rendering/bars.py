"""What the terminal view is built of: bars, and one character per item where there are many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lwmecps_gym.envs.cluster import Bools, Floats

LEVELS = "▁▂▃▄▅▆▇█"
STRIP_ROWS = 4
"""Lines that a strip takes at most."""
MIN_COLUMN = 25
"""Characters that an item's column needs at least."""
MIN_BAR = 14
"""Characters of it that are left to the bar and the figure."""
MIN_DETAIL = 70
"""Characters of a line from which on details are told."""


@dataclass(frozen=True)
class Bar:
    """A bar as wide as it may be.

    Attributes:
        parts: share of the full width, colour, and whether it is solid, from left to right.
        mark: share of the width at which a line stands, if one does.
    """

    parts: Sequence[tuple[float, str, bool]]
    mark: float | None = None

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Any width from four characters on."""
        return Measurement(min(4, options.max_width), options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; where the terminal knows only ASCII, in ASCII."""
        solid, loose, rest, line = "#=.|" if options.ascii_only else "█▒·│"
        width = options.max_width
        text, until = Text(no_wrap=True, end=""), 0.0
        for share, colour, is_solid in self.parts:
            begin, until = until, min(1.0, until + share)
            cells = round(until * width) - round(begin * width)
            text.append((solid if is_solid else loose) * cells, colour)
        text.append(rest * (width - len(text)), "dim")
        if self.mark is not None:
            at = min(width - 1, int(self.mark * width))
            text = Text.assemble(text[:at], (line, "bold"), text[at + 1 :], no_wrap=True, end="")
        yield text


@dataclass(frozen=True)
class Strip:
    """One character per item, or per group of neighbours, as high as the highest of them.

    Attributes:
        levels: 0 .. 1, [K].
        lost: items that are shown as a cross, [K].
    """

    levels: Floats
    lost: Bools

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; where the terminal knows only ASCII, with digits."""
        symbols, cross = ("01234567", "x") if options.ascii_only else (LEVELS, "×")
        groups = min(len(self.levels), STRIP_ROWS * options.max_width)
        text = Text(end="", overflow="fold")
        for levels, lost in zip(
            np.array_split(self.levels, groups), np.array_split(self.lost, groups), strict=True
        ):
            level = int(np.clip(levels.max() * len(symbols), 0, len(symbols) - 1))
            text.append(*(cross, "bold reverse") if lost.any() else (symbols[level], ""))
        yield text


@dataclass(frozen=True)
class Item:
    """A line of a section: its name, its bar, a figure, and what more there is to say."""

    name: str
    style: str
    bar: Bar
    figure: str
    detail: Text


@dataclass(frozen=True)
class Section:
    """Items under a title, in as many columns as it takes, or as a strip.

    Attributes:
        title: what they are.
        figure: what the figures are.
        detail: what the details are.
        items: in order.
        strip: the same in one character each.
    """

    title: str
    figure: str
    detail: str
    items: Sequence[Item]
    strip: Strip

    def least(self, width: int) -> int:
        """Rows under the title that it takes as a strip."""
        return min(STRIP_ROWS, -(-len(self.items) // width), len(self.items))

    def columns(self, width: int, rows: int) -> int:
        """Fewest columns in which the items take no more than `rows`; 0: only a strip does."""
        needed = -(-len(self.items) // max(rows, 1))
        return needed if needed <= max(1, width // MIN_COLUMN) and rows > 0 else 0

    def rows(self, width: int, rows: int) -> int:
        """Rows under the title that it takes of the `rows` there are."""
        columns = self.columns(width, rows)
        return -(-len(self.items) // columns) if columns else self.least(width)

    def table(self, width: int, rows: int) -> Table:
        """Lay the section out on `width` characters and `rows` under the title."""
        columns = self.columns(width, rows)
        if not columns:
            table = Table.grid(expand=True)
            table.add_row(Text(f"{self.title}: {len(self.items)}", "bold", no_wrap=True))
            table.add_row(self.strip)
            return table
        detailed = columns == 1 and width >= MIN_DETAIL
        table = Table(box=None, pad_edge=False, expand=True, padding=(0, min(columns, 2), 0, 0))
        longest = max(len(item.name) for item in self.items)
        name_width = min(max(longest, len(self.title)), max(4, width // columns - MIN_BAR))
        for _ in range(columns):
            table.add_column(self.title, width=name_width, no_wrap=True)
            table.add_column("", ratio=1)
            table.add_column(self.figure, justify="right", no_wrap=True, min_width=4)
        if detailed:
            table.add_column(self.detail, no_wrap=True, ratio=1)
        height = -(-len(self.items) // columns)
        for row in range(height):
            cells: list[Text | Bar] = []
            for item in self.items[row::height]:
                cells += [Text(item.name, item.style), item.bar, Text(item.figure)]
                if detailed:
                    cells.append(item.detail)
            table.add_row(*cells)
        return table
