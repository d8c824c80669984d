"""Writes the results as text: a table for each work and program, and a line for each row with its spread."""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import plan
from .run import Contender, Row

# Of these a workload's table has columns, where its rows have them.
COLUMNS = {
    "ns": "ns", "cpu_ns": "CPU ns", "faults": "faults", "peak_rss_kib": "peak MiB", "settled_rss_kib": "settled MiB", "p99_us": "p99 us",
    "gc_minor": "gc minor", "gc_major": "gc major", "gc_ms": "gc ms",
}


def duration(ns: float) -> str:
    """Four digits or fewer and a unit."""
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= scale:
            return f"{ns / scale:.3g} {unit}" if ns / scale < 1000 else f"{ns / scale:.0f} {unit}"
    return f"{ns:.2f}" if ns < 10 else f"{ns:.1f}"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if "error" in row:
        return "FAILED"
    if "skip" in row:
        return "skip"
    if "rss_kib" in row:
        return " ".join(f"{kib >> 10}" for _, kib in row["rss_kib"])
    if "ns" not in row:
        return "-"
    shown = duration(row["ns"])
    if row["peer"] != "millpond" and "ratio" in row:
        shown += f" {times(row['ratio'])}"
    return shown


def table(work: plan.Work, contender: Contender, rows: list[Row]) -> list[str]:
    """One row for each peer, one column for each size."""
    sizes = list(dict.fromkeys(sorted(row["size"] for row in rows)))
    by = {(row["peer"], row["size"]): row for row in rows}
    peers = [peer for peer in contender.peers if any((peer, size) in by for size in sizes)]
    # A peer that skips this work at every size is said below the table.
    absent = {peer for peer in peers if all("skip" in by[peer, size] or "error" in by[peer, size] for size in sizes if (peer, size) in by)}
    shown = [peer for peer in peers if peer not in absent]
    cells = [["", *(plan.size_text(size) if work.sized else "" for size in sizes)]]
    cells += [[peer, *(cell(by.get((peer, size))) for size in sizes)] for peer in shown]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [f"  {contender.name}"]
    lines += ["    " + row[0].ljust(widths[0]) + "".join(value.rjust(width + 3) for value, width in zip(row[1:], widths[1:])) for row in cells if shown]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        why = f"FAILED: {row['error']}" if "error" in row else row.get("skip")
        if why:
            at = "" if row["peer"] in absent else f" {plan.size_text(row['size'])}"
            named = reasons.setdefault(why, [])
            if row["peer"] + at not in named:
                named.append(row["peer"] + at)
    lines += [f"    {why}: {', '.join(named)}" for why, named in reasons.items()]
    return lines


def workload(contender: Contender, rows: list[Row]) -> list[str]:
    """One row for each peer and size, one column for each figure."""
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    cells = [["", "size", *(COLUMNS[key] for key in keys), "ratio"]]
    notes = []
    for row in rows:
        if "error" in row or "skip" in row:
            notes.append(f"    {row['peer']} {plan.size_text(row['size'])}: {row.get('skip') or 'FAILED: ' + row['error']}")
            continue
        cells.append([row["peer"], plan.size_text(row["size"]), *(figure(key, row.get(key)) for key in keys), times(row["ratio"]) if "ratio" in row else ""])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [f"  {contender.name}"]
    lines += ["    " + row[0].ljust(widths[0]) + "".join(value.rjust(width + 3) for value, width in zip(row[1:], widths[1:])) for row in cells]
    return lines + notes


def figure(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key in ("ns", "cpu_ns"):
        return duration(value)
    if key.endswith("_rss_kib"):
        return f"{value / 1024:.0f}"
    return f"{value:.4g}"


def heading(outcome: dict[str, Any]) -> list[str]:
    head = outcome["header"]
    busy = max(head["load_before"], head["load_after"]) > 0.5
    lines = [
        f"millpond benchmark ({head['run']}), {head['date']}, commit {head['commit']}" + (f" and {head['changed_files']} changed files" if head["changed_files"] else ""),
        f"{head['machine']}, {head['cores']} cores, {head['caches']}, {head['memory_mib']} MiB",
        f"Linux {head['kernel']}, {head['libc']}, huge pages {head['huge_pages']}",
        ", ".join(text for text in head["versions"].values() if text),
        f"load {head['load_before']} before, {head['load_after']} after" + (": WARNING, something else ran; read the ratios" if busy else ""),
        f"measured in {head['seconds']} s, {head['rounds']} rounds through all works" + rounds(head["rounds_of"], head["rounds"]),
    ]
    lines += [f"{name}: " + ", ".join(f"{what} {version}" for what, version in versions.items()) for name, versions in outcome["versions"].items() if versions]
    said: dict[tuple[str, str], list[str]] = {}
    for name, settings in outcome["settings"].items():
        for setting in settings.items():
            said.setdefault(setting, []).append(name)
    lines += [f"{peer} ({'; '.join(names)}): {text}" for (peer, text), names in said.items()]
    return lines


def rounds(of: dict[str, list[int]], most: int) -> str:
    """Which works were not in all rounds; where rows of one differ, the most and the least."""
    named: dict[str, list[str]] = {}
    for work, counts in of.items():
        if counts != [most]:
            named.setdefault(" or ".join(map(str, counts)), []).append(work)
    listed = sorted(named.items(), key=lambda item: [-int(count) for count in item[0].split(" or ")])
    return "".join(f"; {counts} of {', '.join(works)}" for counts, works in listed)


def targets(title: str, chosen: list[dict[str, Any]]) -> list[str]:
    """A line for each target, and how many there are of each verdict."""
    if not chosen:
        return []
    count = Counter(target["verdict"] for target in chosen)
    known = [f"{count[verdict]} {verdict}" for verdict in ("met", "met, told", "missed", "unmeasured") if count[verdict]]
    width = max(len(target["what"]) for target in chosen)
    return ["", f"{title}: {'; '.join(known)}", *(f"  {target['verdict']:<10} {target['what']:<{width}}  {target['target']}; {target['reached']}" for target in chosen)]


def closing(outcome: dict[str, Any]) -> list[str]:
    lines = [""]
    lines += [f"missing: {name}: {why}" for name, why in outcome["missing"].items()]
    lines += [f"DIFFERENT RESULTS: {text}" for text in outcome["different"]]
    if outcome["targets"]:
        lines += targets("Targets of this run", [target for target in outcome["targets"] if target["is_asked"]])
        lines += targets("Held to more than was asked for", [target for target in outcome["targets"] if not target["is_asked"]])
    return lines + outcome["decided"]


def report(table_rows: list[Row], contenders: list[Contender]) -> list[str]:
    """All tables, in the order of the plan; works that the plan does not know come last."""
    names = [work.name for work in plan.WORKS]
    names += [name for name in dict.fromkeys(row["work"] for row in table_rows) if name not in names]
    lines = []
    for name in names:
        of_work = [row for row in table_rows if row["work"] == name]
        if not of_work:
            continue
        work = plan.work_of(name, sorted({row["size"] for row in of_work}))
        title = f"{name}: {work.text}" if work.text != name else name
        lines += ["", f"{title}; {unit(work)}" if of_work[0]["kind"] == "micro" else title]
        for contender in contenders:
            rows = [row for row in of_work if row["contender"] == contender.name]
            if rows:
                lines += workload(contender, rows) if contender.kind == "workload" else table(work, contender, rows)
    return lines


def unit(work: plan.Work) -> str:
    if work.name == "rss":
        return "MiB before, after the burst, and after each time of rest"
    return "ns unless another unit is said, and how many times millpond's"


def details(table_rows: list[Row]) -> list[str]:
    """A line for each row: what the tables leave out."""
    lines = []
    for row in table_rows:
        if "ns" not in row:
            continue
        parts = [f"{row['contender']} | {row['work']} | {row['peer']} | {row['size']} | {duration(row['ns'])} [{duration(row['ns_min'])} .. {duration(row['ns_max'])}]"]
        if "ratio" in row:
            parts.append(f"{times(row['ratio'])} [{times(row['ratio_min'])} .. {times(row['ratio_max'])}]")
        parts += [f"{COLUMNS[key]} {figure(key, row[key])}" for key in ("cpu_ns", "faults", "peak_rss_kib", "settled_rss_kib") if row.get(key) is not None]
        parts.append(f"{row['rounds']} rounds")
        lines.append(" | ".join(parts))
    return lines
