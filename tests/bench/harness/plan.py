"""Says what is measured: the works, their sizes in a full and in a quick run, and for how long."""

from __future__ import annotations

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
MS = {"full": 15, "quick": 5}
# The same for a workload, whose operations are long.
WORKLOAD_MS = {"full": 1000, "quick": 300}
# What a run may take in all; a full run that gets late makes fewer rounds, and says so.
LIMIT_SECONDS = {"full": 25 * 60, "quick": 3 * 60}
# Seconds that a resting program is watched in the work `rss`.
IDLE_SECONDS = {"full": 30, "quick": 5}

_ALL = (512, KIB, 4 * KIB, 4 * KIB + 1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)
_CLASSES = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)

WORKS = (
    Work("pair", "get and put of one buffer, nothing written", _ALL, (KIB, 4 * KIB, 64 * KIB, MIB, 64 * MIB)),
    Work("depth256", "256 buffers taken, then all given back, nothing written; per buffer", (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB), (KIB, 4 * KIB)),
    Work("held256", "get and put of one buffer while 256 others are held", (512, KIB, 4 * KIB, 64 * KIB), (4 * KIB,)),
    Work("ends", "get, first and last byte written, put", (KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB), (4 * KIB, 64 * KIB)),
    Work("pages", "get, one byte of every page written, put", (4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB), (64 * KIB, 64 * MIB)),
    Work("full", "get, every byte written, put", (KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB), (4 * KIB, MIB)),
    Work("burst1", "1 live buffer, every page written, given back", (64 * KIB, MIB), ()),
    Work("burst8", "8 live buffers, every page written, all given back; per buffer", (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB), ()),
    Work("burst32", "32 live buffers, every page written, all given back; per buffer", (4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB), (64 * KIB, MIB)),
    Work("burst128", "128 live buffers, every page written, all given back; per buffer", (64 * KIB, MIB), ()),
    Work("mixed64k", "64 live buffers of mixed sizes up to 64 KiB, a random one replaced, first byte written", (64 * KIB,), (64 * KIB,)),
    Work("mixed1m", "64 live buffers of mixed sizes up to 1 MiB, a random one replaced, first byte written", (MIB,), (MIB,)),
    Work("twothreads", "get and put on two threads at once; per pair and thread", _CLASSES, (KIB, 64 * KIB), threads=2),
    Work("pc", "one thread gets and writes the first byte, another puts, 256 in between; per buffer", (KIB, 4 * KIB, 64 * KIB, MIB), (KIB,), threads=2),
    Work("pcqueue", "the bare queue of the work pc with a pointer in it", (8,), (8,), threads=2, sized=False),
    Work("idle64", "get and put while 64 other threads that used the pool sleep", (KIB, 64 * KIB), (KIB,)),
    Work("clear0", "nothing dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB,)),
    Work("clear64", "64 bytes dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB,)),
    Work("clear4k", "4 KiB dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB,)),
    Work("clearall", "all dirtied, clearing on", (4 * KIB, 64 * KIB, MIB, 16 * MIB), (64 * KIB,)),
    Work("modes", "get and put of one buffer by how closely the pool looks, nothing written", (64 * KIB,), (64 * KIB,)),
    Work("first", "the first get of a process, with the making of the pool", (KIB, MIB), (KIB,), alone=True),
    Work("metrics", "statistics of a pool with nine classes and 64 threads, read and printed", (0,), (0,), sized=False),
    Work("rss", "resident memory: before, after a burst of 1 GiB, and while resting", (64 * KIB, MIB), (MIB,), alone=True, unit="MiB"),
)
BY_NAME = {work.name: work for work in WORKS}


def work_of(name: str, sizes: list[int]) -> Work:
    """The work of that name; one that the plan does not know is measured at the sizes that its contender lists."""
    known = BY_NAME.get(name)
    return known or Work(name, name, tuple(sizes), tuple(sizes[:1]))


def size_text(size: int) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    if size > KIB and (size - 1) % KIB == 0:
        return f"{(size - 1) // KIB} KiB+1"
    return f"{size} B" if size else "-"
