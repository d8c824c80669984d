"""Tells on what, with what and when something was measured."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any


def said(*argv: str) -> str:
    """The first line that a command prints, or ""."""
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.strip().splitlines()[0].strip() if out.strip() else ""


def field(path: str, name: str) -> str:
    try:
        found = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", Path(path).read_text(), re.M)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def load() -> float:
    return round(os.getloadavg()[0], 2)


def header(root: Path, profile: str) -> dict[str, Any]:
    git = ("git", "-C", str(root))
    caches = [text(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size") for index in (0, 2, 3)]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": said(*git, "rev-parse", "--short=12", "HEAD") or "unknown",
        "changed_files": len(subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout.splitlines()),
        "run": profile,
        "machine": f"{field('/proc/cpuinfo', 'model name') or platform.processor()}, {platform.machine()}"
        + (", virtual" if " hypervisor" in field("/proc/cpuinfo", "flags") else ""),
        "cores": os.cpu_count(),
        "caches": "L1d {}, L2 {}, L3 {}".format(*caches),
        "memory_mib": int(field("/proc/meminfo", "MemTotal").split()[0]) >> 10,
        "kernel": platform.release(),
        "huge_pages": text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "libc": " ".join(platform.libc_ver()),
        "versions": {
            "rustc": said("rustc", "--version"),
            "cc": said(os.environ.get("CC", "cc"), "--version"),
            "go": said("go", "version"),
            "python": f"CPython {platform.python_version()} (runs the benchmark)",
            "node": said("node", "--version"),
        },
    }
