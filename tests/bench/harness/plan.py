"""Says what is measured: the works, their sizes in a full and in a quick run, and for how long."""

from __future__ import annotations

import os
from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Work:
    """One kind of work. Contenders that do not list it are not asked."""

    name: str
    text: str
    full: tuple[int, ...]
    quick: tuple[int, ...]
    # How many threads are at work: with one, a program that says so of itself too is pinned to a core.
    threads: int = 1
    # Each size in a process of its own: what is measured happens once in a process.
    alone: bool = False
    # How the cells of its table are to be read.
    unit: str = "ns"
    # Whether sizes are bytes that are worth saying.
    sized: bool = True


ROUNDS = {"full": 7, "quick": 3}
# Milliseconds for which one size is measured in one round, after a warm-up that takes about half of that.
MS = {"full": 10, "quick": 5}
# A workload's operations are long, and its programs measure more of them.
WORKLOAD_MS = {"full": 250, "quick": 250}
# What a run may take in all beside its set-up; one that would get late makes fewer rounds of everything, and says so.
LIMIT_SECONDS = {"full": 60 * int(os.environ.get("MINUTES") or 75), "quick": 160}
# Seconds that a resting program is watched in the work `rss`.
IDLE_SECONDS = {"full": 30, "quick": 1}

# Groups of programs that start in a few milliseconds: each size of theirs is a program run of its own, beside those of the
# others' that have the same.
FAST = ("Rust", "C and C++", "Go")

# As many programs rest side by side, at most, as there is memory for a gigabyte and a half each.
RESTING_TOGETHER = 14

_ALL = (512, KIB, 4 * KIB, 4 * KIB + 1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)
_CLASSES = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)

WORKS = (
    Work("pair", "get and put of one buffer, nothing written", _ALL, (KIB, 4 * KIB, 64 * KIB, MIB, 64 * MIB)),
    Work("pairidle", "get and put of one buffer while 16 others of its size lie idle, as after a burst", (KIB, 4 * KIB, 64 * KIB), (4 * KIB,)),
    Work("depth256", "256 buffers taken, then all given back, nothing written; per buffer", (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB), (KIB, 4 * KIB)),
    Work("held256", "get and put of one buffer while 256 others are held", (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB), (4 * KIB,)),
    Work("ends", "get, first and last byte written, put", (KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB), ()),
    Work("pages", "get, one byte of every page written, put", (4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB), (64 * KIB, 64 * MIB)),
    Work("full", "get, every byte written, put", (KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB), (4 * KIB, MIB)),
    Work("burst1", "1 live buffer, every page written, given back", (64 * KIB, MIB), ()),
    Work("burst8", "8 live buffers, every page written, all given back; per buffer", (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB), ()),
    Work("burst32", "32 live buffers, every page written, all given back; per buffer", (4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB), (64 * KIB, MIB)),
    Work("burst128", "128 live buffers, every page written, all given back; per buffer", (64 * KIB, MIB), ()),
    Work("mixed64k", "64 live buffers of a recorded trace's sizes up to 64 KiB, a random one replaced, first byte written", (64 * KIB,), (64 * KIB,)),
    Work("mixed1m", "64 live buffers of a recorded trace's sizes up to 1 MiB, a random one replaced, first byte written", (MIB,), (MIB,)),
    Work("replay", "the acts of a recorded trace by one thread, first byte written; per get", (0,), (0,), sized=False),
    Work("twothreads", "get and put on two threads at once; per pair and thread", _CLASSES, (KIB, 64 * KIB), threads=2),
    Work("pc", "one thread gets and writes the first byte, another puts, 256 in between; per buffer", (KIB, 4 * KIB, 64 * KIB, MIB), (KIB,), threads=2),
    Work("pcqueue", "the bare queue of the work pc with a pointer in it", (8,), (8,), threads=2, sized=False),
    Work("idle64", "get and put while 64 other threads that used the pool sleep", (KIB, 64 * KIB), ()),
    Work("clear0", "nothing dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB, 16 * MIB)),
    Work("clear64", "64 bytes dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB, 16 * MIB)),
    Work("clear4k", "4 KiB dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), ()),
    Work("clearall", "all dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB,)),
    Work("modes", "get and put of one buffer by how closely the pool looks, nothing written", (64 * KIB,), (64 * KIB,)),
    Work("first", "the first get of a process, with the making of the pool", (KIB,), (), alone=True),
    Work("with", "a `with` block over a buffer, nothing written", (512, KIB, 4 * KIB, 64 * KIB, MIB), (KIB,)),
    Work("view", "a memoryview made and dropped", (KIB,), (KIB,)),
    Work("array", "get, seen as a NumPy array, put", (KIB, 64 * KIB, MIB), ()),
    Work("arraymethod", "get, lease.array(), put", (KIB,), ()),
    Work("fill8", "8 live buffers filled by readinto, all given back; per buffer", (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB), (64 * KIB, MIB)),
    Work("metrics", "statistics of a pool with nine classes and 64 threads, read and printed", (0,), (0,), sized=False),
    Work("rss", "resident memory: before, after a burst of 1 GiB, and while resting", (MIB,), (MIB,), alone=True, unit="MiB"),
)

_BINDINGS = (
    "pair", "ends", "pages", "full", "burst8", "burst32", "fill8", "mixed1m", "twothreads", "clear64", "clearall", "rss", "first",
    "metrics", "with", "view", "array", "turn",
)
# Programs for which there is no time for everything, and what they are asked then; ONLY=work asks for any.
WORKS_OF = {
    "full": {
        "Rust, no LTO": ("pair", "depth256"),
        "Python": _BINDINGS,
        "Node 22": _BINDINGS,
        "Node 20": ("pair", "full", "turn"),
        "Node 24": ("pair", "full", "turn"),
    },
    "quick": {
        "Rust, no LTO": ("pair",),
        "C and C++": ("pair", "pages", "burst32", "mixed1m", "twothreads", "pc", "clear64", "rss"),
        "Go": ("pair", "full", "twothreads", "pc"),
    },
}
# Peers that are watched while they rest: one of each kind, since each takes half a minute.
RESTING = {
    "C and C++": ("millpond", "tbbmalloc", "pmr-sync", "boost-pool"),
    "": (
        "millpond", "millpond-maintain", "glibc", "glibc-tuned", "mimalloc", "jemalloc", "snmalloc", "tcmalloc", "vec-stack", "zeropool",
        "ancestor", "make", "bytearray", "numpy.empty", "bytearray list", "Buffer.alloc", "Buffer.allocUnsafe", "array pool",
    ),
}


# Sizes of programs that start slowly and take long to warm up, where the work has more.
SIZES_OF = {
    "Python": {"pair": (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB)},
    "Node": {"pair": (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB), "full": (KIB, 4 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB)},
}
# Peers that are there from a size on: below it they do what another row shows.
FROM = {
    ("millpond-cache", "pair"): MIB,
    ("millpond-cache", "depth256"): 16 * KIB,
    ("millpond-cache", "held256"): 16 * KIB,
    ("millpond-cache", "twothreads"): MIB,
    ("locked-list", "pair"): MIB,
    ("locked-list", "twothreads"): MIB,
    **{(peer, work): MIB for peer in ("pmr-locked-list", "pmr-locked-list+spin") for work in ("twothreads", "pc")},
}
# Works that show something of one peer alone.
PEERS_OF = {"metrics": ("millpond",)}

# Where a full run counts instructions too.
STEPPED = {
    "program": "Rust, fat LTO",
    "works": ("mixed64k", "mixed1m"),
    "peers": ("millpond-noclear", "vec-stack", "vec-stack+record", "vec-stack+record+pages", "vec-stack+record+pages+books", "mimalloc", "snmalloc", "tcmalloc"),
}


def rounds(profile: str, kind: str, work: str) -> int:
    """In how many rounds a run measures this: in all, but for resting programs, whose memory does not depend on what else runs."""
    return 1 if work == "rss" or (profile == "quick" and kind == "workload") else ROUNDS[profile]


def is_stepped(profile: str, program: str, work: str, peer: str) -> bool:
    return profile == "full" and program == STEPPED["program"] and work in STEPPED["works"] and peer in STEPPED["peers"]


def sizes_of(program: str, work: Work, profile: str) -> tuple[int, ...]:
    """The sizes of a work for a program."""
    chosen = next((works.get(work.name) for name, works in SIZES_OF.items() if program.startswith(name)), None)
    return work.quick if profile == "quick" else chosen or work.full


def is_planned(profile: str, program: str, work: str) -> bool:
    """Whether a run asks the program for this work without being told to."""
    chosen = next((works for name, works in WORKS_OF[profile].items() if program.startswith(name)), None)
    return chosen is None or work in chosen


def rests(program: str, peer: str) -> bool:
    """Whether the peer is one of those that the work `rss` watches."""
    return peer in next(peers for name, peers in RESTING.items() if program.startswith(name))


BY_NAME = {work.name: work for work in WORKS}


def work_of(name: str, sizes: list[int]) -> Work:
    """The work of that name; one that the plan does not know has its program's sizes, in a quick run the first."""
    known = BY_NAME.get(name)
    return known or Work(name, name, tuple(sizes), tuple(sizes[:1]))


def size_text(size: int) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    if size > KIB and (size - 1) % KIB == 0:
        return f"{(size - 1) // KIB} KiB+1"
    return f"{size} B" if size else "-"
