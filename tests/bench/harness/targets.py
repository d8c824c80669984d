"""Holds the figures to the targets they were made for: each has a verdict, or says that nothing was measured for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

from .plan import KIB, MIB, size_text
from .run import Row

LTO, PLAIN, C, GO, DPDK = "Rust, fat LTO", "Rust, no LTO", "C and C++, shared library", "Go", "C and C++, DPDK"
SMALL = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB)
# The versions of Node that are held to what was asked for.
NODE_FROM = 22
# What is at the end of a target that the pool is held to beyond what was asked of it.
MORE = " (more than was asked for)"
# Where a row stands: program, work, peer, size.
Key = tuple[str, str, str, int]


class Figure(NamedTuple):
    """A figure that is held to a target, and the rows that it is made of."""

    label: str
    value: float | None
    own: Key | None = None
    peer: Key | None = None
    # The same of a pool that was told what the work needs, and in what words.
    told: float | None = None
    words: str = ""
    key: str = "ns"
    # Whether the value is the peer's over millpond's, and not the other way round.
    is_lead: bool = False


# The peers that are told what their work holds, and what they are told.
CACHE = "thread_cache_bytes for it"
TOLD = {
    "millpond": (("millpond-cache", CACHE), ("millpond-sized", "classes, limits and a thread cache for it")),
    "millpond-noclear": (("millpond-cache-noclear", CACHE),),
    "millpond-pmr-noclear": (("millpond-pmr-cache-noclear", CACHE),),
}
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
        """One row's time over another's: round by round, of the rounds that both were in."""
        one, other = self.get(*above), self.get(*below)
        if one is None or other is None or not one.get(key) or not other.get(key):
            return None
        if key == "ns" and (common := one["samples"].keys() & other["samples"].keys()):
            return median(one["samples"][number] / other["samples"][number] for number in common)
        return one[key] / other[key]

    def against(self, label: str, own: Key, peer: Key | None = None, is_lead: bool = False, key: str = "ns") -> Figure:
        """A row of millpond's, or its ratio to a peer's; and the same of the pool that was told what the work needs."""

        def of(own: Key) -> float | None:
            if peer is None:
                return self.value(key, *own)
            return self.over(peer, own, key) if is_lead else self.over(own, peer, key)

        program, work, name, size = own
        told = ((of((program, work, other, size)), words) for other, words in TOLD.get(name, ()))
        value, words = next(((value, words) for value, words in told if value is not None), (None, ""))
        return Figure(label, of(own), own, peer, value, words, key, is_lead)

    def programs(self, group: str) -> list[str]:
        return [name for name, of in self.groups.items() if of.startswith(group)]


class Verdict(NamedTuple):
    """A line of the table, and what it was judged by."""

    what: str
    target: str
    verdict: str
    reached: str
    # The figures that miss, told or not, and what a good one is.
    missed: list[Figure]
    good: Callable[[float], bool]
    unit: str
    figures: dict[str, float]

    @property
    def is_asked(self) -> bool:
        return not self.what.endswith(MORE)


def judge(what: str, target: str, figures: Iterable[Figure], good: Callable[[float], bool], worst: Callable[..., Any], unit: str = "x", also: str = "") -> Verdict:
    """One line of the table: the worst figure decides, and those that miss are named. A pool with defaults is judged first."""
    known = [(figure, figure.value) for figure in figures if figure.value is not None]
    if not known:
        return Verdict(what, target, "unmeasured", also or "nothing measured for it in this run", [], good, unit, {})
    missed = [figure for figure, value in known if not good(value)]
    helped = [figure for figure in missed if figure.told is not None and good(figure.told)]
    lost = [figure for figure in missed if figure not in helped]

    def listed(texts: list[str]) -> str:
        return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")

    # The target itself is near 1, 3 or 100 of something: three digits tell whether it is reached.
    parts = []
    if lost:
        parts.append("missed by " + listed([f"{figure.label} {figure.value:.3g}{unit}" for figure in lost]))
    for words in dict.fromkeys(figure.words for figure in helped):
        with_it = [f"{figure.label} {figure.told:.3g}{unit}, without {figure.value:.3g}{unit}" for figure in helped if figure.words == words]
        parts.append(f"met with {words}: " + listed(with_it))
    if not missed:
        label, value = worst(((figure.label, value) for figure, value in known), key=lambda one: one[1])
        parts.append(f"worst {label} {value:.3g}{unit}")
    verdict = "missed" if lost else "met, told" if helped else "met"
    return Verdict(what, target, verdict, "; ".join([*parts, *([also] if also else [])]), missed, good, unit, {figure.label: value for figure, value in known})


def at_most(what: str, limit: float, figures: Iterable[Figure], unit: str = "x", also: str = "") -> Verdict:
    return judge(what, f"<= {limit:g}{unit}", figures, lambda value: value <= limit, max, unit, also)


def at_least(what: str, limit: float, figures: Iterable[Figure], unit: str = "x", also: str = "") -> Verdict:
    return judge(what, f">= {limit:g}{unit}", figures, lambda value: value >= limit, min, unit, also)


def verdicts(found: Found) -> list[Verdict]:
    """All lines: what was asked for comes first."""
    return sorted([*rust(found), *native(found), *memory(found), *bindings(found)], key=lambda verdict: not verdict.is_asked)


def rust(found: Found) -> list[Verdict]:
    def pair(contender: str, peer: str, sizes: Iterable[int]) -> list[Figure]:
        return [found.against(f"{peer} {size_text(size)}", (contender, "pair", "millpond", size), (contender, "pair", peer, size)) for size in sizes]

    def ahead(peers: Iterable[str], sizes: Iterable[int], own: str = "millpond", work: str = "pair", contender: str = LTO) -> list[Figure]:
        return [
            found.against(f"{peer} {size_text(size)}", (LTO, work, own, size), (contender, work, peer, size), is_lead=True) for peer in peers for size in sizes
        ]

    def live(peers: Iterable[str], largest: Iterable[tuple[str, int]]) -> list[Figure]:
        return [found.against(f"{peer} {work}", (LTO, work, "millpond-noclear", size), (LTO, work, peer, size), is_lead=True) for work, size in largest for peer in peers]

    def beside(work: str, sizes: Iterable[int]) -> list[Figure]:
        return [found.against(size_text(size), (LTO, work, "millpond", size)) for size in sizes]

    sizes = sorted({size for contender, work, _, size in found.rows if contender == LTO and work == "pair" and size >= KIB})
    asked, more = [size for size in sizes if size <= 256 * KIB], [size for size in sizes if size > 256 * KIB]
    heap = ("glibc", "jemalloc", "mimalloc", "snmalloc", "tcmalloc")
    mixed_peers = ("glibc", "glibc-tuned", "mimalloc", "jemalloc", "tcmalloc", *POOL_CRATES)
    mixed = [("mixed64k", 64 * KIB), ("mixed1m", MIB)]
    crossing = (KIB, 4 * KIB)
    return [
        at_most("Rust get+put, 512 B to 256 KiB, fat LTO, over a bare thread-local stack", 1.2, pair(LTO, "vec-stack", SMALL)),
        at_most("the same without LTO", 1.5, pair(PLAIN, "vec-stack", SMALL)),
        at_least("the pool crate with statistics over Rust get+put, 1 to 256 KiB", 1, ahead(["zeropool-stats"], asked)),
        at_least("glibc, jemalloc, mimalloc, snmalloc, tcmalloc over the same", 1, ahead(heap, asked)),
        at_least("the pool crates without statistics over Rust get+put, 1 to 256 KiB" + MORE, 1, ahead(POOL_CRATES, asked)),
        at_least("the pool crate with statistics and those five allocators over Rust get+put, from 1 MiB on" + MORE, 1, ahead(["zeropool-stats", *heap], more)),
        at_least("the pool crates without statistics over Rust get+put, from 1 MiB on" + MORE, 1, ahead(POOL_CRATES, more)),
        at_most("Rust get+put while 256 others are held", 8, beside("held256", SMALL), " ns"),
        at_most("Rust, 256 taken, then all given back, for each" + MORE, 8, beside("depth256", SMALL), " ns"),
        two_threads(found),
        at_most("producer/consumer 1 and 4 KiB, not clearing, over the bare queue", 1.5, [
            found.against(size_text(size), (LTO, "pc", "millpond-noclear", size), (LTO, "pcqueue", "queue", 8)) for size in crossing
        ]),
        at_least("snmalloc and DPDK's mempool over producer/consumer, not clearing", 1, [
            *ahead(["snmalloc"], crossing, "millpond-noclear", "pc"), *ahead(["dpdk"], crossing, "millpond-noclear", "pc", DPDK)
        ]),
        at_least("snmalloc over mixed sizes, 64 live, not clearing", 1, live(["snmalloc"], mixed)),
        at_least("every other peer over mixed sizes, 64 live, not clearing", 2, live(mixed_peers, mixed)),
    ]


def two_threads(found: Found) -> Verdict:
    """Each thread over itself alone, and what becomes of threads that share nothing in the same rounds."""
    limit = 1.05

    def samples(peer: str, size: int) -> dict[int, float]:
        row = found.get(LTO, "twothreads", peer, size)
        return {} if row is None else row.get("alone_samples", {})

    both_miss, kept, rounds = [], [], 0
    for size in SMALL:
        own, floor = samples("millpond", size), samples("registers only", size)
        if not own or not floor or median(own.values()) <= limit:
            continue
        if median(floor.values()) > limit:
            both_miss.append(f"{size_text(size)} {median(floor.values()):.3g}x")
        apart = [own[number] for number in own.keys() & floor.keys() if floor[number] <= limit]
        rounds += len(own.keys() & floor.keys())
        kept += apart
    also = []
    if both_miss:
        also.append(f"the machine misses it there too: threads that only compute in registers {', '.join(both_miss)}")
    if kept:
        also.append(f"in the rounds in which such threads do not slow each other there ({len(kept)} of {rounds}), median {median(kept):.3g}x")
    figures = [found.against(size_text(size), (LTO, "twothreads", "millpond", size), key="alone_ratio") for size in SMALL]
    return at_most("two threads, each over one alone", limit, figures, also="; ".join(also))


def native(found: Found) -> list[Verdict]:
    def go(work: str, peer: str, sizes: Iterable[int]) -> list[Figure]:
        return [found.against(size_text(size), (LTO, work, "millpond", size), (GO, work, peer, size), is_lead=True) for size in sizes]

    def standard(work: str, own: str = "millpond-pmr-noclear") -> list[Figure]:
        return [found.against(size_text(size), (C, work, own, size), (C, work, "pmr-sync", size), is_lead=True) for size in everything]

    def against_malloc(size: int) -> list[Figure]:
        return [found.against(size_text(size), (C, "pair", "millpond", size), (C, "pair", "glibc", size))]

    def clearing(work: str) -> str:
        parts = [f"{figure.label} {figure.value:.2f}x" for figure in standard(work, "millpond-pmr") if figure.value is not None]
        return f"when it clears each block whole: {', '.join(parts)}" if parts else ""

    def without_context() -> str:
        """Why there is no such context: what it was to spare, the ordinary call does without too, or nearly."""
        over = against_malloc(KIB)[0].value
        if over is None:
            return ""
        return "there is no such context" + (": the ordinary call reaches about what it was to" if over <= 1.2 else "")

    everything = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)
    full = [f"{size_text(size)} {ratio:.2f}x" for size in SMALL[1:4] if (ratio := found.over((GO, "full", "ancestor", size), (LTO, "full", "millpond", size)))]
    return [
        at_most("C get+put, race-proof, 4 KiB over malloc+free", 0.55, against_malloc(4 * KIB)),
        at_most("C get+put, race-proof, 1 KiB over malloc+free", 1.2, against_malloc(KIB)),
        at_most("the same ordinary call, held to what one with an explicit per-thread context was to reach", 1.1, against_malloc(KIB), also=without_context()),
        at_least("std::pmr::synchronized_pool_resource over millpond's memory_resource, not clearing, two threads", 3, standard("twothreads"), also=clearing("twothreads")),
        at_least("the same from thread to thread", 3, standard("pc"), also=clearing("pc")),
        at_least("the ancestors' design in Go over Rust get+put, up to 16 KiB", 3, go("pair", "ancestor", SMALL[:4]),
                 also=f"fully written, which both clear: {', '.join(full)}" if full else ""),
        at_least("the same on two threads, without clearing, every size", 3, go("twothreads", "ancestor-noclear", everything)),
    ]


def memory(found: Found) -> list[Verdict]:
    burst = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
    huge = 64 * MIB
    rested = []
    for (contender, work, peer, size), row in found.rows.items():
        if work == "rss" and peer == "millpond" and "retained_limit_kib" in row and row["rss_kib"][-1][0] >= 30:
            allowed = (row["rss_kib"][0][1] + row["retained_limit_kib"]) * 1.05
            rested.append(Figure(f"{contender} {size_text(size)}", row["rss_kib"][-1][1] / allowed))

    def lead(work: str, peer: str, sizes: Iterable[int], own: str = "millpond-noclear") -> list[Figure]:
        return [found.against(size_text(size), (LTO, work, own, size), (LTO, work, peer, size), is_lead=True) for size in sizes]

    return [
        at_least("glibc over 32 live touched buffers of 64 KiB to 4 MiB, not clearing", 100, lead("burst32", "glibc", burst)),
        at_least("mimalloc over the same", 1.5, lead("burst32", "mimalloc", burst)),
        at_most("64 MiB, every page touched: page faults", 0, [found.against("64 MiB", (LTO, "pages", "millpond", huge), key="faults")], ""),
        at_least("glibc over the same, millpond clearing", 8, lead("pages", "glibc", [huge], "millpond")),
        at_least("glibc over the same, millpond not clearing", 100, lead("pages", "glibc", [huge])),
        at_most("64 KiB and 16 MiB with 64 B dirtied over the undirtied pair", 3, [
            found.against(size_text(size), (LTO, "clear64", "millpond", size), (LTO, "clear0", "millpond", size)) for size in (64 * KIB, 16 * MIB)
        ]),
        at_most("metrics page, 64 threads, nine classes", 50_000, [found.against("the page", (LTO, "metrics", "millpond", 0))], " ns"),
        at_most("resident 30 s after a burst of 1 GiB, over before + retained limit + 5 %", 1, rested),
    ]


def bindings(found: Found) -> list[Verdict]:
    def over(work: str, peer: str, sizes: Iterable[int], group: str = "Python", is_lead: bool = False, key: str = "ns") -> list[Figure]:
        return [
            found.against(f"{program} {size_text(size)}", (program, work, "millpond", size), (program, work, peer, size), is_lead, key)
            for program in found.programs(group)
            for size in sizes
        ]

    frames = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)

    def node(what: str, limit: float, work: str, peer: str, sizes: Iterable[int], key: str = "ns") -> list[Verdict]:
        """A line for the versions that were asked for, and one for those before them."""
        new, old = (
            [figure for group in sorted(set(found.groups.values())) if re.fullmatch(r"Node \d+", group) and is_new(group) is wanted for figure in over(work, peer, sizes, group, True, key)]
            for wanted in (True, False)
        )
        older = [at_least(f"Node before {NODE_FROM}: {what}{MORE}", limit, old)] if old else []
        return [at_least(f"Node >= {NODE_FROM}: {what}", limit, new), *older]

    def is_new(group: str) -> bool:
        return int(group.split()[1]) >= NODE_FROM

    every = sorted({size for contender, work, _, size in found.rows if work == "pair" and found.groups[contender].startswith("Node")})
    middle = [size for size in every if 4 * KIB <= size <= 16 * KIB]
    return [
        at_most("Python get+put, 1 KiB over bytearray", 0.35, over("pair", "bytearray", [KIB])),
        at_most("Python `with`, 1 KiB over bytearray", 1.1, over("with", "bytearray", [KIB])),
        at_most("Python memoryview over bytearray's", 1.05, over("view", "bytearray", [KIB])),
        at_least("bytearray over Python bursts of 8, filled by readinto", 3, over("fill8", "bytearray", frames, is_lead=True)),
        at_least("numpy.empty over the same", 1.5, over("fill8", "numpy.empty", frames, is_lead=True)),
        *node("Buffer.alloc over get+put, detaching and clearing, every size", 1, "pair", "Buffer.alloc", every),
        *node("allocUnsafe over get+put, detaching and clearing, 4 to 16 KiB", 1, "pair", "Buffer.allocUnsafe", middle),
        *node("allocUnsafe over get+put by CPU, filled, 64 KiB to 1 MiB", 1, "full", "Buffer.allocUnsafe", frames[:3], "cpu_ns"),
        *node("allocUnsafe's p99 turn of the event loop over millpond's, 256 KiB", 4, "turn", "Buffer.allocUnsafe", [256 * KIB], "p99_us"),
    ]
