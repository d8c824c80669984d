"""Measures millpond beside what a program would take instead, in every language, in one interleaved run.

    bench.py [--quick] [--only WORD] [--keep] [--list] [--trace FILE]

WORD chooses programs or works whose name contains it; several are joined by commas: "Rust", "pair,pc", "Python".
Everything built and everything written is below target/bench: out/bench.txt, bench.json, advice.md and charts. --keep copies
the tables and the charts to tests/bench/results. --trace replays a trace of your own program, as MILLPOND_TRACE=FILE records it, instead of
the one that is committed: `--only replay --trace FILE` shows what each peer would cost you. Ratios of one run are what counts: the nanoseconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import advice, charts, contenders, floors, machine, plan, results, tables, targets
from harness.run import Contender, Results, Turn, run_round

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BENCH = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "bench"


def wanted(word: str, *names: str) -> bool:
    """Whether one of the words, if there are any, is in one of the names."""
    words = [part.strip().lower() for part in word.split(",") if part.strip()]
    return not words or any(part in name.lower() for part in words for name in names)


def starts_fast(program: Contender) -> bool:
    """Whether a process for each size costs next to nothing."""
    return program.kind == "micro" and program.group in plan.FAST


def plan_of(programs: list[Contender], profile: str, only: str) -> list[tuple[plan.Work, list[Turn]]]:
    """What is run, work by work, the programs and peers in turns."""
    named = [work.name for work in plan.WORKS]
    named += [name for name in dict.fromkeys(name for program in programs for name in program.works) if name not in named]
    # A word that is the name of a work chooses that one, not each that contains it.
    words = [part.strip() for part in only.split(",")]
    exact = [word for word in words if word in named]
    others = ",".join(word for word in words if word not in exact)
    planned = []
    for name in named:
        turns = []
        for program in programs:
            chosen = not only or (name in exact and (not others or wanted(others, program.name, program.group)))
            if not chosen and not (not exact and wanted(only, name, program.name, program.group)) or name not in program.works:
                continue
            # A work that is asked for by name is measured by all that have it.
            if name not in exact and not plan.is_planned(profile, program.name, name):
                continue
            work = plan.work_of(name, program.works[name])
            asked = plan.sizes_of(program.name, work, profile)
            # In a quick run a work that was named has a size all the same.
            asked = asked or (work.full[:1] if name in exact else ())
            sizes = [size for size in asked if size in program.works[name]]
            peers = [peer for peer in program.peers if name in program.only.get(peer, [name]) and (name != "rss" or plan.rests(program.name, peer)) and peer in plan.PEERS_OF.get(name, [peer])]
            ms = plan.IDLE_SECONDS[profile] * 1000 if name == "rss" else plan.MS[profile]
            if program.kind == "workload":
                ms = plan.WORKLOAD_MS[profile]
            for peer in peers:
                measured = [size for size in sizes if size >= plan.FROM.get((peer, name), 0)]
                groups = [[size] for size in measured] if work.alone or starts_fast(program) else [measured] if measured else []
                rounds, stepped = plan.rounds(profile, program.kind, name), plan.is_stepped(profile, program.name, name, peer)
                turns += [Turn(program, peer, work, group, ms, rounds, is_stepped=stepped) for group in groups]
        if turns:
            # All that has one size in the same seconds: a machine that others use too is at times half as fast.
            fast, slow = ([turn for turn in turns if starts_fast(turn.contender) is wanted] for wanted in (True, False))
            planned.append((turns[0].work, sorted(fast, key=lambda turn: turn.sizes) + slow))
    return planned


def rounds_of(collected: Results) -> dict[str, list[int]]:
    """In how many rounds each work's rows were: the most, and the least where some were in fewer."""
    found: dict[str, set[int]] = {}
    for (_, work, _, _), samples in collected.samples.items():
        if good := sum("ns" in sample or "rss_kib" in sample for sample in samples):
            found.setdefault(work, set()).add(good)
    return {work: sorted({max(counts), min(counts)}, reverse=True) for work, counts in found.items()}


def seconds_of(turns: list[Turn]) -> float:
    """About how long one round of a work's turns takes."""
    return sum(turn.seconds for turn in turns) / (plan.RESTING_TOGETHER if turns and turns[0].work.name == "rss" else 1)


def round_of(planned: list[tuple[plan.Work, list[Turn]]], number: int, collected: Results) -> list[list[Turn]]:
    """What takes part in the round of that number and has something to say, work by work."""
    chosen = ([turn for turn in turns if number < turn.rounds and not (number and collected.is_settled(turn))] for _, turns in planned)
    return [turns for turns in chosen if turns]


def measured(planned: list[tuple[plan.Work, list[Turn]]], profile: str, collected: Results) -> int:
    """Runs round by round, each through all works, while there is time. Returns how many rounds there were."""
    begun, limit, rounds = time.monotonic(), plan.LIMIT_SECONDS[profile], plan.ROUNDS[profile]
    core = (os.cpu_count() or 1) - 1
    for number in range(rounds):
        works = round_of(planned, number, collected)
        expected, spent = sum(map(seconds_of, works)), time.monotonic() - begun
        if number and spent + expected > limit:
            print(f"bench: round {number + 1} of {rounds} would take {expected:.0f} s, and {max(limit - spent, 0):.0f} s are left: that was all", flush=True)
            return number
        print(f"bench: round {number + 1} of {rounds}, {sum(map(len, works))} programs, about {expected:.0f} s:", end="", flush=True)
        for turns in works:
            start = time.monotonic()
            run_round(turns, number, core, collected)
            print(f" {turns[0].work.name} {time.monotonic() - start:.0f}", end="", flush=True)
        print(f"; {time.monotonic() - begun:.0f} s so far", flush=True)
    return rounds


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="fewer sizes and rounds, under three minutes")
    options.add_argument("--only", default="", metavar="WORD", help="only programs or works whose name contains it")
    options.add_argument("--keep", action="store_true", help="copy what came out to tests/bench/results")
    options.add_argument("--list", action="store_true", help="build, list programs, peers and works, measure nothing")
    options.add_argument("--trace", type=Path, default=HERE / "trace.csv", metavar="FILE", help="the trace whose sizes and acts are used")
    asked = options.parse_args()
    if not asked.trace.is_file():
        options.error(f"{asked.trace} is no file")
    os.environ["BENCH_TRACE"] = str(asked.trace.resolve())
    profile = "quick" if asked.quick else "full"

    BENCH.mkdir(parents=True, exist_ok=True)
    print(f"bench: setting up below {BENCH.name}/ (the first time this downloads and compiles for some minutes)", flush=True)
    programs, missing = contenders.find(HERE, BENCH, asked.quick)
    for name, why in missing.items():
        print(f"missing: {name}: {why}", flush=True)
    if asked.list:
        for program in programs:
            print(f"{program.name}: {', '.join(program.peers)}\n    {', '.join(program.works)}")
        return 0

    planned = plan_of(programs, profile, asked.only)
    if not planned:
        print(f"bench: nothing is named like {asked.only!r}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    head = machine.header(ROOT, profile)
    head["load_before"] = machine.load()
    print(f"bench: {plan.ROUNDS[profile]} rounds, at most {plan.LIMIT_SECONDS[profile] / 60:.3g} min", flush=True)
    if head["load_before"] > 0.5:
        print(f"bench: WARNING: the load is {head['load_before']}: something else runs, and figures suffer", flush=True)
    collected = Results()
    count = measured(planned, profile, collected)
    head |= {"load_after": machine.load(), "seconds": round(time.monotonic() - begun), "rounds": count, "rounds_of": rounds_of(collected)}

    rows = results.rows(collected, programs)
    found = targets.Found(rows)
    verdicts = targets.verdicts(found)
    outcome = {
        "header": head,
        "missing": missing | {f"{program.name}: {peer}": why for program in programs for peer, why in program.missing.items()},
        "versions": {program.name: program.versions for program in programs},
        "settings": {program.name: program.settings for program in programs if program.settings},
        "different": results.digests(rows),
        "targets": [{key: getattr(verdict, key) for key in ("what", "is_asked", "target", "reached", "verdict", "figures")} for verdict in verdicts],
        "decided": floors.section(found, verdicts),
        "rows": rows,
    }
    write(outcome, programs, asked.keep)
    return 1 if outcome["different"] else 0


def as_json(outcome: dict) -> str:
    """A line for each row and each target, and no digits that mean nothing."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.5g}")
        if isinstance(value, dict):
            return {key: short(inner) for key, inner in value.items()}
        return [short(inner) for inner in value] if isinstance(value, list) else value

    parts = []
    for key, value in outcome.items():
        lines = ",\n".join(json.dumps(short(one)) for one in value) if isinstance(value, list) else None
        parts.append(f"{json.dumps(key)}: " + (f"[\n{lines}\n]" if lines is not None else json.dumps(short(value))))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write(outcome: dict, programs: list[Contender], keep: bool) -> None:
    """Text, JSON and charts; the text is also shown."""
    out = BENCH / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    advised = advice.table(outcome["rows"])
    shown = [*tables.heading(outcome), *tables.report(outcome["rows"], programs), *tables.closing(outcome), "", *advised]
    (out / "bench.json").write_text(as_json(outcome))
    (out / "advice.md").write_text("\n".join(advised) + "\n")
    python = BENCH / "venv" / "bin" / "python"
    drawn = subprocess.run([python if python.exists() else sys.executable, charts.__file__, out / "bench.json", out], capture_output=True, text=True)
    if drawn.returncode != 0:
        shown.append(f"missing: charts: {drawn.stderr.strip().splitlines()[-1] if drawn.stderr.strip() else 'the program that draws them failed'}")
    (out / "bench.txt").write_text("\n".join([*shown, "", "Every row: median [least .. most] of the rounds", *tables.details(outcome["rows"])]) + "\n")
    print("\n".join(shown), flush=True)
    if keep:
        kept = HERE / "results"
        shutil.rmtree(kept, ignore_errors=True)
        # The tables and the charts: the rounds of every row stay where they came out.
        shutil.copytree(out, kept, ignore=shutil.ignore_patterns("bench.json", "bench.txt"))
        (kept / "bench.txt").write_text("\n".join(line.rstrip() for line in shown) + "\n")
        print(f"bench: kept in {kept.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
