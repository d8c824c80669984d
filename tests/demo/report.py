"""Draws the demo's progress bar and prints its tables."""

import shutil
import sys
import textwrap

VIOLATIONS = (
    "second put",
    "use after put",
    "put into another pool",
    "put while a view lives",
    "write past the end",
    "lost lease",
    "forged handle",
    "get after close",
    "limit reached",
    "impossible size",
)


class Bar:
    """A progress bar on a terminal; a line per new step elsewhere."""

    def __init__(self, stream=sys.stderr):
        self.stream = stream
        self.terminal = stream.isatty()
        self.title = None

    def show(self, title, share):
        """Shows a step and how much of its work is done, 0 to 1."""
        if not self.terminal:
            if title != self.title:
                print(f"demo: {title}", file=self.stream, flush=True)
            self.title = title
            return
        width = min(shutil.get_terminal_size().columns, 100) - 36
        full = int(max(width, 10) * min(max(share, 0), 1))
        rest = max(width, 10) - full
        self.stream.write(f"\r\033[K{title[:26]:26} [{'#' * full}{'.' * rest}] {share * 100:3.0f} %")
        self.stream.flush()

    def clear(self):
        """Takes the bar away."""
        if self.terminal:
            self.stream.write("\r\033[K")
            self.stream.flush()


def table(rows):
    """Prints rows of text, the first being the heading, the first column aligned left and the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print()


def number(value):
    """Writes a whole number with its thousands apart."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def print_runs(results):
    """Prints one line per language: what was read, and time, page faults and peak memory of both ways side by side."""
    rows = [
        ["language", "files", "bytes", "digest", "s pool", "s plain", "faults pool", "faults plain", "MiB pool", "MiB plain"]
    ]
    for language in dict.fromkeys(language for language, _ in results):
        pool, plain = results.get((language, "pool"), {}), results.get((language, "plain"), {})
        either = pool or plain
        digests = sorted({r["digest"][:12] for r in (pool, plain) if "digest" in r})
        pair = [(r.get("seconds"), r.get("minor_faults"), r.get("peak_rss_kib")) for r in (pool, plain)]
        (pool_s, pool_f, pool_m), (plain_s, plain_f, plain_m) = pair
        rows.append(
            [
                language,
                number(either.get("files", "-")),
                number(either.get("bytes", "-")),
                "|".join(digests),
                *("-" if s is None else f"{s:.2f}" for s in (pool_s, plain_s)),
                *("-" if f is None else number(f) for f in (pool_f, plain_f)),
                *("-" if m is None else f"{m / 1024:.1f}" for m in (pool_m, plain_m)),
            ]
        )
    table(rows)


def print_stats(results):
    """Prints every statistics field, one column per language's pool."""
    pools = {language: result["stats"] for (language, mode), result in results.items() if mode == "pool" and "stats" in result}
    if not pools:
        return
    fields = dict.fromkeys(field for stats in pools.values() for field, value in stats.items() if isinstance(value, int))
    rows = [["statistics of the pool", *pools]]
    rows += [[field, *(number(stats.get(field, "-")) for stats in pools.values())] for field in fields]
    table(rows)


def print_violations(misuse):
    """Prints per language what its user sees for each violation."""
    for language, result in misuse.items():
        print(f"violations in {language}")
        for violation in result.get("violations", []):
            mark = "caught" if violation["caught"] is True else "NOT CAUGHT"
            print(f"  {violation['name']}: {mark}, {violation['code']}")
            message = " ".join(str(violation["message"]).split())
            print(textwrap.fill(message, 116, initial_indent=" " * 6, subsequent_indent=" " * 6))
        print()
