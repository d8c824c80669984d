"""Draws a run: charts.py BENCH.json FOLDER. Needs matplotlib; bench.py runs it with the interpreter that has it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

KIB, MIB = 1 << 10, 1 << 20
# millpond is black and stands out; the others keep their colour in all charts.
OWN = {"millpond": ("black", "-"), "millpond-noclear": ("black", "--"), "millpond-pmr": ("black", "-."), "millpond-maintain": ("dimgray", "-.")}
OWN |= {"millpond-cache": ("black", ":"), "millpond-cache-noclear": ("dimgray", ":"), "millpond-pmr-cache-noclear": ("dimgray", ":")}
TIME_WORKS = {"pair": "get and put, nothing written", "ends": "first and last byte written", "pages": "every page written", "full": "fully written"}


def size_text(size: float) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size:g} B"


class Painter:
    def __init__(self, outcome: dict[str, Any], folder: Path) -> None:
        import matplotlib

        matplotlib.use("svg")
        # Text as text, and the same ids in each run: a chart that is made again differs only where figures do.
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "millpond", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
        import matplotlib.pyplot as plt

        self.plt, self.folder, self.rows = plt, folder, outcome["rows"]
        head = outcome["header"]
        self.note = f"{head['machine']}, {head['cores']} cores, Linux {head['kernel']}, {head['date']}, commit {head['commit']}"
        # No rivals, but what some promise costs at the least.
        self.floors = {peer for settings in outcome["settings"].values() for peer, text in settings.items() if text.startswith("floor:")}
        names = [peer for peer in dict.fromkeys(row["peer"] for row in self.rows) if peer not in OWN and peer not in self.floors]
        colours = [plt.get_cmap("tab20")(index % 20) for index in range(len(names))]
        self.colours = dict(zip(names, colours))

    def style(self, peer: str) -> dict[str, Any]:
        if peer in OWN:
            colour, line = OWN[peer]
            return {"color": colour, "linestyle": line, "linewidth": 2.2, "zorder": 5}
        if peer in self.floors:
            return {"color": "gray", "linestyle": ":", "linewidth": 1.1}
        return {"color": self.colours[peer], "linewidth": 1.1}

    def of(self, work: str, contender: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["work"] == work and (contender is None or row["contender"] == contender)]

    def save(self, figure: Any, name: str) -> None:
        figure.text(0.01, 0.005, self.note, fontsize=6, color="gray")
        figure.savefig(self.folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        self.plt.close(figure)

    def lines(self, axes: Any, rows: list[dict[str, Any]]) -> None:
        """Time by size, one line for each peer, both axes logarithmic."""
        for peer in dict.fromkeys(row["peer"] for row in rows):
            points = sorted((row["size"], row["ns"]) for row in rows if row["peer"] == peer)
            axes.plot([size for size, _ in points], [ns for _, ns in points], marker="o", markersize=3, label=peer, **self.style(peer))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda size, _: size_text(size))
        axes.set_ylabel("ns")

    def by_size(self) -> None:
        """A chart for each program, a panel for each work with several sizes."""
        for contender in dict.fromkeys(row["contender"] for row in self.rows if row["kind"] == "micro"):
            panels = {}
            for work, text in TIME_WORKS.items():
                rows = [row for row in self.of(work, contender) if "ns" in row]
                if len({row["size"] for row in rows}) > 1:
                    panels[text] = rows
            if not panels:
                continue
            figure, grid = self.plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.6), squeeze=False)
            for axes, (text, rows) in zip(grid[0], panels.items()):
                self.lines(axes, rows)
                axes.set_title(text)
            handles = {label: handle for axes in grid[0] for handle, label in zip(*axes.get_legend_handles_labels())}
            figure.legend(handles.values(), handles.keys(), loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
            figure.suptitle(contender)
            figure.tight_layout()
            self.save(figure, "time-" + re.sub("[^a-z0-9]+", "-", contender.lower().replace("+", "p")))

    def bars(self, name: str, work: str, title: str, sizes: tuple[int, ...]) -> None:
        """Peers side by side, the fastest first, a panel for each program and size."""
        cells = [
            (contender, size, sorted((row for row in self.of(work, contender) if row["size"] == size and "ns" in row), key=lambda row: row["ns"]))
            for contender in dict.fromkeys(row["contender"] for row in self.of(work))
            for size in sizes
        ]
        cells = [cell for cell in cells if len(cell[2]) > 1]
        if not cells:
            return
        across = min(4, len(cells))
        down = -(-len(cells) // across)
        figure, grid = self.plt.subplots(down, across, figsize=(4.2 * across, 0.6 + 3.4 * down), squeeze=False)
        for axes, (contender, size, rows) in zip(grid.flat, cells):
            where = range(len(rows))
            # A program's own least round may be above the median over the runs, which is of another quantity.
            spread = [[max(0, row["ns"] - row["ns_min"]) for row in rows], [max(0, row["ns_max"] - row["ns"]) for row in rows]]
            colours = ["black" if row["peer"].startswith("millpond") else "steelblue" for row in rows]
            axes.barh(where, [row["ns"] for row in rows], color=colours, xerr=spread, error_kw={"elinewidth": 0.8, "ecolor": "gray"})
            axes.set_yticks(list(where), [row["peer"] for row in rows], fontsize=7)
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.set_xlabel("ns")
            axes.set_title(f"{contender}, {size_text(size)}", fontsize=8)
        for axes in list(grid.flat)[len(cells):]:
            axes.set_visible(False)
        figure.suptitle(title)
        figure.tight_layout()
        self.save(figure, name)

    def resident(self) -> None:
        """Resident memory over time: before the burst, after it, and while the program rests."""
        rows = [row for row in self.of("rss") if "rss_kib" in row]
        contenders = list(dict.fromkeys((row["contender"], row["size"]) for row in rows))
        if not contenders:
            return
        figure, grid = self.plt.subplots(1, len(contenders), figsize=(4.6 * len(contenders), 4.2), squeeze=False, sharey=True)
        for axes, (contender, size) in zip(grid[0], contenders):
            for row in rows:
                if (row["contender"], row["size"]) == (contender, size):
                    axes.plot([at for at, _ in row["rss_kib"]], [kib / 1024 for _, kib in row["rss_kib"]], marker="o", markersize=3, label=row["peer"], **self.style(row["peer"]))
            axes.set_title(f"{contender}, {size_text(size)}", fontsize=8)
            axes.set_xlabel("seconds after a burst of 1 GiB (left: before it)")
            axes.legend(fontsize=6)
        grid[0][0].set_ylabel("resident MiB")
        figure.tight_layout()
        self.save(figure, "resident")


def main() -> None:
    painter = Painter(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    painter.by_size()
    painter.bars("burst", "burst32", "32 live buffers, every page written, all given back; per buffer", (64 * KIB, MIB))
    painter.bars("producer-consumer", "pc", "One thread gets, another puts; per buffer", (KIB, 64 * KIB))
    painter.bars("two-threads", "twothreads", "Two threads at once; per pair and thread", (KIB, 64 * KIB))
    painter.resident()


if __name__ == "__main__":
    main()
