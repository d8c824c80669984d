"""Finds the programs that measure: each module below sets its own up and lists them."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from .run import Contender, describe

# Each has contenders(bench_dir, quick), which builds what is needed below bench_dir and returns dicts:
# {"name", "group", "argv", "env", "kind": "micro" or "workload", "threads"}, with "only": {"peers", "works"} where a quick
# run has no time for all, or {"name", "group", "missing": why}.
MODULES = ("native", "bindings")


def find(here: Path, bench_dir: Path, quick: bool) -> tuple[list[Contender], dict[str, str]]:
    """Returns the programs, and what is missing with the reason."""
    found: list[Contender] = []
    missing: dict[str, str] = {}
    sys.path.insert(0, str(here))
    for module in MODULES:
        try:
            listed: list[dict[str, Any]] = importlib.import_module(module).contenders(bench_dir, quick)
        # Whatever goes wrong with some of the programs, the others are measured.
        except Exception as error:
            traceback.print_exc()
            missing[module] = f"its set-up failed: {error!r}"
            continue
        for entry in listed:
            if "missing" in entry:
                missing[entry["name"]] = str(entry["missing"])
                continue
            contender = Contender(
                entry["name"], entry["group"], list(map(str, entry["argv"])), dict(entry.get("env", {})), entry.get("kind", "micro"), entry.get("threads", 1)
            )
            failed = describe(contender)
            if failed:
                missing[contender.name] = failed
                continue
            if chosen := entry.get("only"):
                contender.peers = [peer for peer in contender.peers if peer in chosen["peers"]]
                contender.works = {name: sizes for name, sizes in contender.works.items() if name in chosen["works"]}
            found.append(contender)
    return found, missing
