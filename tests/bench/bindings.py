"""The contenders in Python and Node and the real workloads, for bench.py: sets them up and says how they are started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# What a quick run has time for; peers and works of the programs' own lists.
QUICK: dict[str, dict[str, list[str]]] = {
    "Python": {
        "peers": ["millpond", "millpond-noclear", "bytearray", "bytearray, glibc-tuned", "numpy.empty", "bytearray list"],
        "works": ["pair", "with", "view", "full", "fill8", "clear64"],
    },
    "Node": {
        "peers": ["millpond", "millpond-noclear", "Buffer.alloc", "Buffer.allocUnsafe", "array pool"],
        "works": ["pair", "full", "turn"],
    },
    "messages": {"peers": ["millpond", "StreamReader"], "works": ["uvloop"]},
    "frames": {"peers": ["millpond", "new arrays"], "works": ["frames-numpy"]},
    "Node I/O": {"peers": ["millpond", "streams", "array pool"], "works": ["fs"]},
    "upload": {"peers": ["millpond", "Vec"], "works": ["upload"]},
    "pmr": {"peers": ["millpond", "new_delete_resource", "synchronized_pool_resource"], "works": ["pmr-documents"]},
}
# In a quick run one version of Node stands for all; the real I/O is measured with this one always.
NODE = "22"


def _answer(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _missing(bench_dir: Path, part: str) -> str:
    """Returns why the set-up of a part failed, or an empty text."""
    why = bench_dir / "missing" / part
    return why.read_text().strip() if why.exists() else ""


def _program(name: str, group: str, argv: list[Any], kind: str, threads: int, quick: bool, **more: Any) -> dict[str, Any]:
    program = {"name": name, "group": group, "argv": list(map(str, argv)), "env": {}, "kind": kind, "threads": threads, **more}
    chosen = next((only for start, only in QUICK.items() if group == start or name.startswith(start)), None)
    return program | ({"only": chosen} if quick and chosen else {})


def _nodes(bench_dir: Path) -> dict[str, Path | str]:
    """Returns Node's versions: the machine's own, and those of the set-up."""
    found: dict[str, Path | str] = {}
    own = _answer(["node", "--version"]).lstrip("v")
    if own:
        found[own.split(".")[0]] = "node"
    for major in ("22", "24"):
        binary = bench_dir / "node" / "tools" / "node_modules" / f"node{major}" / "bin" / "node"
        if major not in found:
            found[major] = binary
    return found


def contenders(bench_dir: Path, quick: bool) -> list[dict[str, Any]]:
    """Sets everything up below `bench_dir` and returns the programs: their command, or why they are missing."""
    bench_dir = bench_dir.resolve()
    subprocess.run(["bash", HERE / "setup.sh", bench_dir], check=True)
    python = bench_dir / "venv" / "bin" / "python"
    listed: list[dict[str, Any]] = []

    def add(part: str, program: dict[str, Any]) -> None:
        why = _missing(bench_dir, part)
        listed.append({"name": program["name"], "group": program["group"], "missing": why} if why else program)

    version = _answer([str(python), "-c", "import platform; print(platform.python_version())"])
    add("python", _program(f"Python {version}".strip(), "Python", [python, HERE / "python" / "contender.py"], "micro", 1, quick))
    node_env = {"env": {"BENCH_DIR": str(bench_dir)}}
    for major, binary in sorted(_nodes(bench_dir).items()):
        if quick and major != NODE:
            continue
        exact = _answer([str(binary), "--version"]).lstrip("v")
        if not exact:
            listed.append({"name": f"Node {major}", "group": f"Node {major}", "missing": "its binary, from npm, does not run here"})
            continue
        add("node", _program(f"Node {exact}", f"Node {major}", [binary, HERE / "node" / "contender.mjs"], "micro", 1, quick, **node_env))
        if major == NODE:
            add("node", _program(f"Node I/O {exact}", "Node I/O", [binary, HERE / "workloads" / "io.mjs"], "workload", 2, quick, **node_env))
    workloads = HERE / "workloads"
    add("python", _program("messages", "messages", [python, workloads / "messages.py"], "workload", 2, quick))
    add("python", _program("frames", "frames", [python, workloads / "frames.py"], "workload", 1, quick))
    add("upload", _program("upload", "upload", [bench_dir / "upload" / "release" / "upload"], "workload", 2, quick))
    add("pmr", _program("pmr", "pmr", [bench_dir / "pmr"], "workload", 2, quick))
    return listed


if __name__ == "__main__":
    target = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parents[1] / "target")
    for one in contenders(target / "bench", quick=False):
        print(one)
