"""Holds the figures to the targets they were made for: each has a verdict, or says that nothing was measured for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from .plan import KIB, MIB, size_text
from .run import Row

LTO, PLAIN, C, GO, DPDK = "Rust, fat LTO", "Rust, no LTO", "C and C++, shared library", "Go", "C and C++, DPDK"
SMALL = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB)
# A figure: where it was taken, what it is, and what it must be at most or at least.
Figure = tuple[str, float | None]
POOL_CRATES = ("arrayqueue", "object-pool", "lockfree-object-pool", "opool", "opool-local", "zeropool", "sharded-slab", "bytesmut")


class Found:
    """The rows of a run by what they are of."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = {(row["contender"], row["work"], row["peer"], row["size"]): row for row in rows if "ns" in row}
        self.groups = {row["contender"]: row["group"] for row in self.rows.values()}

    def get(self, contender: str, work: str, peer: str, size: int) -> Row | None:
        return self.rows.get((contender, work, peer, size))

    def value(self, key: str, contender: str, work: str, peer: str, size: int) -> float | None:
        row = self.get(contender, work, peer, size)
        return None if row is None else row.get(key)

    def over(self, above: tuple[str, str, str, int], below: tuple[str, str, str, int], key: str = "ns") -> float | None:
        """One row's time over another's: round by round where both have rounds."""
        one, other = self.get(*above), self.get(*below)
        if one is None or other is None or not one.get(key) or not other.get(key):
            return None
        if key == "ns" and one["rounds"] == other["rounds"]:
            return median(mine / theirs for mine, theirs in zip(one["samples"], other["samples"]))
        return one[key] / other[key]

    def programs(self, group: str) -> list[str]:
        return [name for name, of in self.groups.items() if of.startswith(group)]


def judge(what: str, target: str, figures: Iterable[Figure], good: Callable[[float], bool], worst: Callable[..., Any], unit: str = "x", also: str = "") -> dict[str, Any]:
    """One line of the table: the worst figure decides, and those that miss are named."""
    known = [(label, value) for label, value in figures if value is not None]
    if not known:
        return {"what": what, "target": target, "reached": also or "nothing measured for it in this run", "verdict": "unmeasured", "figures": {}}
    missed = [(label, value) for label, value in known if not good(value)]
    # The target itself is near 1, 3 or 100 of something: three digits tell whether it is reached.
    text = [f"{label} {value:.3g}{unit}" for label, value in (missed or [worst(known, key=lambda figure: figure[1])])]
    reached = ("missed by " if missed else "worst ") + ", ".join(text[:6]) + (f" and {len(text) - 6} more" if len(text) > 6 else "")
    return {"what": what, "target": target, "reached": reached + (f"; {also}" if also else ""), "verdict": "missed" if missed else "met", "figures": dict(known)}


def at_most(what: str, limit: float, figures: Iterable[Figure], unit: str = "x", also: str = "") -> dict[str, Any]:
    return judge(what, f"<= {limit:g}{unit}", figures, lambda value: value <= limit, max, unit, also)


def at_least(what: str, limit: float, figures: Iterable[Figure], unit: str = "x", also: str = "") -> dict[str, Any]:
    return judge(what, f">= {limit:g}{unit}", figures, lambda value: value >= limit, min, unit, also)


def verdicts(rows: list[Row]) -> list[dict[str, Any]]:
    found = Found(rows)
    return [*rust(found), *native(found), *memory(found), *bindings(found)]


def rust(found: Found) -> list[dict[str, Any]]:
    def pair(contender: str, peer: str, sizes: Iterable[int], own: str = "millpond", work: str = "pair") -> list[Figure]:
        return [(f"{peer} {size_text(size)}", found.over((contender, work, own, size), (contender, work, peer, size))) for size in sizes]

    def ahead(peers: Iterable[str], sizes: Iterable[int], own: str = "millpond", work: str = "pair") -> list[Figure]:
        return [(f"{peer} {size_text(size)}", found.over((LTO, work, peer, size), (LTO, work, own, size))) for peer in peers for size in sizes]

    sizes = sorted({size for contender, work, _, size in found.rows if contender == LTO and work == "pair" and size >= KIB})
    heap = ("glibc", "jemalloc", "mimalloc", "snmalloc", "tcmalloc")
    mixed_peers = ("glibc", "glibc-tuned", "mimalloc", "jemalloc", "tcmalloc", *POOL_CRATES)
    mixed = [("mixed64k", 64 * KIB), ("mixed1m", MIB)]
    pc = [("millpond-noclear", KIB), ("millpond-noclear", 4 * KIB)]
    return [
        at_most("Rust get+put, 512 B to 256 KiB, fat LTO, over a bare thread-local stack", 1.2, pair(LTO, "vec-stack", SMALL)),
        at_most("the same without LTO", 1.5, pair(PLAIN, "vec-stack", SMALL)),
        at_least("the pool crate with statistics over Rust get+put, every size from 1 KiB", 1, ahead(["zeropool-stats"], sizes)),
        at_least("the pool crates without statistics over the same (more than was asked for)", 1, ahead(POOL_CRATES, sizes)),
        at_least("glibc, jemalloc, mimalloc, snmalloc, tcmalloc over Rust get+put, every size from 1 KiB", 1, ahead(heap, sizes)),
        at_most("256 taken, then all given back; a pair while 256 are held", 8, [
            (f"{work} {size_text(size)}", found.value("ns", LTO, work, "millpond", size)) for work in ("depth256", "held256") for size in SMALL
        ], " ns"),
        at_most("two threads, each over one alone", 1.05, [(size_text(size), found.value("alone_ratio", LTO, "twothreads", "millpond", size)) for size in SMALL]),
        at_most("producer/consumer 1 and 4 KiB, not clearing, over the bare queue", 1.5, [
            (size_text(size), found.over((LTO, "pc", peer, size), (LTO, "pcqueue", "queue", 8))) for peer, size in pc
        ]),
        at_least("snmalloc and DPDK's mempool over producer/consumer, not clearing", 1, [
            *((f"snmalloc {size_text(size)}", found.over((LTO, "pc", "snmalloc", size), (LTO, "pc", peer, size))) for peer, size in pc),
            *((f"dpdk {size_text(size)}", found.over((DPDK, "pc", "dpdk", size), (LTO, "pc", peer, size))) for peer, size in pc),
        ]),
        at_least("snmalloc over mixed sizes, 64 live, not clearing", 1, [
            (work, found.over((LTO, work, "snmalloc", size), (LTO, work, "millpond-noclear", size))) for work, size in mixed
        ]),
        at_least("every other peer over mixed sizes, 64 live, not clearing", 2, [
            (f"{peer} {work}", found.over((LTO, work, peer, size), (LTO, work, "millpond-noclear", size))) for work, size in mixed for peer in mixed_peers
        ]),
    ]


def native(found: Found) -> list[dict[str, Any]]:
    def go(work: str, peer: str, sizes: Iterable[int]) -> list[Figure]:
        return [(size_text(size), found.over((GO, work, peer, size), (LTO, work, "millpond", size))) for size in sizes]

    def standard(work: str, own: str = "millpond-pmr-noclear") -> list[Figure]:
        return [(size_text(size), found.over((C, work, "pmr-sync", size), (C, work, own, size))) for size in everything]

    def clearing(work: str) -> str:
        parts = [f"{size} {ratio:.2f}x" for size, ratio in standard(work, "millpond-pmr") if ratio is not None]
        return f"when it clears each block whole: {', '.join(parts)}" if parts else ""

    everything = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)
    full = [f"{size_text(size)} {ratio:.2f}x" for size in SMALL[1:4] if (ratio := found.over((GO, "full", "ancestor", size), (LTO, "full", "millpond", size)))]
    return [
        at_most("C get+put, race-proof, 4 KiB over malloc+free", 0.55, [("4 KiB", found.over((C, "pair", "millpond", 4 * KIB), (C, "pair", "glibc", 4 * KIB)))]),
        at_most("C get+put, race-proof, 1 KiB over malloc+free", 1.2, [("1 KiB", found.over((C, "pair", "millpond", KIB), (C, "pair", "glibc", KIB)))]),
        # Asked for with an explicit per-thread context. There is none: what it would spare, the plain calls do without too.
        at_most("the same, held to what an explicit per-thread context was to reach", 1.1, [
            ("1 KiB", found.over((C, "pair", "millpond", KIB), (C, "pair", "glibc", KIB)))
        ]),
        at_least("std::pmr::synchronized_pool_resource over millpond's memory_resource, not clearing, two threads", 3, standard("twothreads"), also=clearing("twothreads")),
        at_least("the same from thread to thread", 3, standard("pc"), also=clearing("pc")),
        at_least("the ancestors' design in Go over Rust get+put, up to 16 KiB", 3, go("pair", "ancestor", SMALL[:4]),
                 also=f"fully written, which both clear: {', '.join(full)}" if full else ""),
        at_least("the same on two threads, without clearing, every size", 3, go("twothreads", "ancestor-noclear", everything)),
    ]


def memory(found: Found) -> list[dict[str, Any]]:
    burst = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
    huge = 64 * MIB
    rested = []
    for (contender, work, peer, size), row in found.rows.items():
        if work == "rss" and peer == "millpond" and "retained_limit_kib" in row and row["rss_kib"][-1][0] >= 30:
            allowed = (row["rss_kib"][0][1] + row["retained_limit_kib"]) * 1.05
            rested.append((f"{contender} {size_text(size)}", row["rss_kib"][-1][1] / allowed))
    return [
        at_least("glibc over 32 live touched buffers of 64 KiB to 4 MiB, not clearing", 100, [
            (size_text(size), found.over((LTO, "burst32", "glibc", size), (LTO, "burst32", "millpond-noclear", size))) for size in burst
        ]),
        at_least("mimalloc over the same", 1.5, [
            (size_text(size), found.over((LTO, "burst32", "mimalloc", size), (LTO, "burst32", "millpond-noclear", size))) for size in burst
        ]),
        at_most("64 MiB, every page touched: page faults", 0, [("64 MiB", found.value("faults", LTO, "pages", "millpond", huge))], ""),
        at_least("glibc over the same, millpond clearing", 8, [("64 MiB", found.over((LTO, "pages", "glibc", huge), (LTO, "pages", "millpond", huge)))]),
        at_least("glibc over the same, millpond not clearing", 100, [("64 MiB", found.over((LTO, "pages", "glibc", huge), (LTO, "pages", "millpond-noclear", huge)))]),
        at_most("64 KiB and 16 MiB with 64 B dirtied over the undirtied pair", 3, [
            (size_text(size), found.over((LTO, "clear64", "millpond", size), (LTO, "clear0", "millpond", size))) for size in (64 * KIB, 16 * MIB)
        ]),
        at_most("metrics page, 64 threads, nine classes", 50_000, [("the page", found.value("ns", LTO, "metrics", "millpond", 0))], " ns"),
        at_most("resident 30 s after a burst of 1 GiB, over before + retained limit + 5 %", 1, rested),
    ]


def bindings(found: Found) -> list[dict[str, Any]]:
    def ratios(group: str, work: str, above: str, below: str, sizes: Iterable[int], key: str = "ns") -> list[Figure]:
        return [
            (f"{program} {size_text(size)}", found.over((program, work, above, size), (program, work, below, size), key)) for program in found.programs(group) for size in sizes
        ]

    frames = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)
    every = sorted({size for contender, work, _, size in found.rows if work == "pair" and found.groups[contender].startswith("Node")})
    middle = [size for size in every if 4 * KIB <= size <= 16 * KIB]
    return [
        at_most("Python get+put, 1 KiB over bytearray", 0.35, ratios("Python", "pair", "millpond", "bytearray", [KIB])),
        at_most("Python `with`, 1 KiB over bytearray", 1.1, ratios("Python", "with", "millpond", "bytearray", [KIB])),
        at_most("Python memoryview over bytearray's", 1.05, ratios("Python", "view", "millpond", "bytearray", [KIB])),
        at_least("bytearray over Python bursts of 8, filled by readinto", 3, ratios("Python", "fill8", "bytearray", "millpond", frames)),
        at_least("numpy.empty over the same", 1.5, ratios("Python", "fill8", "numpy.empty", "millpond", frames)),
        at_least("Node Buffer.alloc over get+put, detaching and clearing, every size", 1, ratios("Node", "pair", "Buffer.alloc", "millpond", every)),
        at_least("Node allocUnsafe over the same, 4 to 16 KiB", 1, ratios("Node", "pair", "Buffer.allocUnsafe", "millpond", middle)),
        at_least("Node allocUnsafe over the same by CPU, filled, 64 KiB to 1 MiB", 1, ratios("Node", "full", "Buffer.allocUnsafe", "millpond", frames[:3], "cpu_ns")),
        at_least("Node allocUnsafe's p99 turn of the event loop over millpond's, 256 KiB", 4, ratios("Node", "turn", "Buffer.allocUnsafe", "millpond", [256 * KIB], "p99_us")),
    ]
