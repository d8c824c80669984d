"""Turns the samples of all rounds into one row for each contender, work, peer and size."""

from __future__ import annotations

from statistics import median
from typing import Any

from .run import Contender, Results, Row

# Whatever else a program reports is kept; these are taken as medians.
FIGURES = ("ns", "cpu_ns", "faults", "peak_rss_kib", "settled_rss_kib")

# Of these each round's is kept too, under these names.
SAMPLED = {"ns": "samples", "alone_ratio": "alone_samples"}


def rows(results: Results, contenders: list[Contender]) -> list[Row]:
    """One row each, with the ratio to the same program's millpond in the same rounds."""
    by_name = {contender.name: contender for contender in contenders}
    table = []
    for (name, work, peer, size), samples in results.samples.items():
        contender = by_name[name]
        row: Row = {"contender": name, "group": contender.group, "kind": contender.kind, "work": work, "peer": peer, "size": size}
        good = [sample for sample in samples if "ns" in sample or "rss_kib" in sample]
        if not good:
            row |= {key: samples[-1][key] for key in ("skip", "error") if key in samples[-1]}
        else:
            row |= {"rounds": len(good), **merged(good)}
            failed = [sample["error"] for sample in samples if "error" in sample]
            if failed:
                row["failed_rounds"] = f"{len(failed)}: {failed[-1]}"
            row |= ratio(good, results.samples.get((name, work, "millpond", size), []))
        table.append(row)
    return table


def merged(samples: list[Row]) -> Row:
    """The medians of the figures, the spread of the time, and the last of everything else."""
    row: Row = {}
    for key in {key: None for sample in samples for key in sample}:
        values = [sample[key] for sample in samples if sample.get(key) is not None]
        if key in ("peer", "work", "size", "round") or not values:
            continue
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        row[key] = median(values) if numbers else values[-1]
        if key == "ns" and numbers:
            row |= {"ns_min": min(values), "ns_max": max(values)}
        if key in SAMPLED and numbers:
            row[SAMPLED[key]] = {sample["round"]: sample[key] for sample in samples if sample.get(key) is not None}
    return row


def ratio(samples: list[Row], own: list[Row]) -> dict[str, Any]:
    """How many times millpond's time it is, round by round: above 1 millpond is faster."""
    base = {sample["round"]: sample["ns"] for sample in own if sample.get("ns")}
    pairs = [(sample["ns"], base[sample["round"]]) for sample in samples if sample.get("ns") and sample["round"] in base]
    if not pairs:
        return {}
    ratios = [theirs / ours for theirs, ours in pairs]
    return {"ratio": median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def digests(table: list[Row]) -> list[str]:
    """Says which peers of a workload computed something else than the others."""
    seen: dict[tuple[str, str, int], dict[str, list[str]]] = {}
    for row in table:
        if "digest" in row:
            seen.setdefault((row["contender"], row["work"], row["size"]), {}).setdefault(str(row["digest"]), []).append(row["peer"])
    return [f"{contender}, {work}, {size}: peers computed different results: {found}" for (contender, work, size), found in seen.items() if len(found) > 1]
