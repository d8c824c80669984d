#!/usr/bin/env python3
"""Does millpond's main job in five languages and compares them: `make demo [DIR=...]`.

Every regular file of DIR is read into a buffer of its size, hashed, and handed to a second thread that gives the buffer
back: once with pooled buffers, once with the language's plain allocation. Then each program breaks every ownership rule
it can. Exits 0 only if all digests agree, every pool's statistics reconcile and every violation was caught.

Without DIR it reads the Python standard library of this machine, without site-packages and __pycache__ (both may change
meanwhile). Symbolic links are left out, and files that cannot be read, which are counted.
"""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path

import build
import report

# Seconds after which a program counts as hanging.
TIMEOUT = 1800


def regular_files(root, skip):
    """Returns the relative paths (bytes, sorted) of all regular files under root, and how many could not be used."""
    found, unusable = [], 0
    for directory, names, files in os.walk(os.fsencode(root)):
        names[:] = [name for name in names if os.fsdecode(name) not in skip]
        for name in files:
            path = os.path.join(directory, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            relative = os.path.relpath(path, os.fsencode(root))
            if b"\n" in relative or not os.access(path, os.R_OK):
                unusable += 1
            else:
                found.append(relative)
    return sorted(found), unusable


def reference(root, paths, bar):
    """Computes files, bytes and digest without millpond; reading everything once also warms the page cache for all."""
    total, size = hashlib.sha256(), 0
    for number, path in enumerate(paths, 1):
        with open(os.path.join(os.fsencode(root), path), "rb") as file:
            content = file.read()
        total.update(path + b"\0" + len(content).to_bytes(8, "little") + hashlib.sha256(content).digest())
        size += len(content)
        bar.show("reading once", number / len(paths))
    return {"files": len(paths), "bytes": size, "digest": total.hexdigest()}


class Failed(Exception):
    """A program did not do its work."""


def last_json(language, mode, output):
    """Returns the object on the last line of a program's output."""
    lines = [line for line in output.splitlines() if line.strip()]
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise Failed(f"{language} {mode}: the last line is no JSON object: {lines[-1:]}") from None


def run(language, command, mode, arguments, bar, done, runs):
    """Runs one program in one mode and shows its progress."""
    title = f"{language}, {mode}"
    bar.show(title, done / runs)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as other:
        with subprocess.Popen(
            [*command, mode, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "MILLPOND_PROGRESS": "1"},
        ) as process:
            watchdog = threading.Timer(TIMEOUT, process.kill)
            watchdog.start()
            for line in process.stderr:
                if line.startswith("P "):
                    _, now, total = line.split()
                    bar.show(title, (done + int(now) / max(int(total), 1)) / runs)
                else:
                    other.write(line)
            status = process.wait()
            watchdog.cancel()
        output.seek(0)
        other.seek(0)
        if status != 0:
            raise Failed(f"{language} {mode}: exit status {status}\n{other.read().strip()}")
        return last_json(language, mode, output.read())


def judge(expected, results, misuse):
    """Returns a sentence for everything that is not as promised."""
    faults = []
    for (language, mode), result in [*results.items(), *(((language, "misuse"), r) for language, r in misuse.items())]:
        if (result.get("language"), result.get("mode", mode)) != (language, mode):
            faults.append(f"{language} {mode}: the program says it is {result.get('language')} {result.get('mode')}")
    for (language, mode), result in results.items():
        for field in ("files", "bytes", "digest"):
            if result.get(field) != expected[field]:
                faults.append(f"{language} {mode}: {field} is {result.get(field)}, not {expected[field]}")
        if mode == "pool" and not reconciles(result):
            faults.append(f"{language}: the pool's statistics do not reconcile")
    for language, result in misuse.items():
        names = [violation["name"] for violation in result.get("violations", [])]
        for name in report.VIOLATIONS:
            if names.count(name) != 1:
                faults.append(f"{language}: the violation {name!r} is listed {names.count(name)} times")
        faults += [
            f"{language}: {violation['name']} was not caught: {violation['message']}"
            for violation in result.get("violations", [])
            if violation["caught"] is not True or not violation["message"]
        ]
        if result.get("reconciled") is not True:
            faults.append(f"{language}: statistics do not reconcile after the violations")
    return faults


def reconciles(result):
    """Recomputes both equations from the statistics that were printed; the program's own word must agree."""
    stats = result.get("stats", {})
    try:
        leases = stats["puts"] + stats["in_use"] + stats["detached"] + stats["leaked"]
        buffers = stats["in_use"] + stats["retained_buffers"]
        equal = stats["gets"] == leases and stats["created"] - stats["destroyed"] == buffers
        return equal and stats["gets"] >= result["files"] and stats["in_use"] == 0 and result["reconciled"] is True
    except KeyError:
        return False


def main():
    """Builds, runs, prints, judges."""
    if len(sys.argv) > 2:
        print("usage: demo.py [DIR]", file=sys.stderr)
        return 2
    default = len(sys.argv) < 2
    root = Path(sysconfig.get_paths()["stdlib"] if default else sys.argv[1]).resolve()
    if not root.is_dir():
        print(f"demo: {root} is no directory", file=sys.stderr)
        return 2
    bar = report.Bar()
    try:
        programs = build.build_all(bar)
    except build.BuildFailed as failed:
        bar.clear()
        print(f"demo: {failed}", file=sys.stderr)
        return 1
    skip = {"site-packages", "dist-packages", "__pycache__"} if default else set()
    paths, unusable = regular_files(root, skip)
    if not paths:
        print(f"demo: {root} holds no file that can be read", file=sys.stderr)
        return 2
    results, misuse, broken = {}, {}, []
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch, "list")
        listing.write_bytes(b"\n".join(paths) + b"\n")
        expected = reference(root, paths, bar)
        jobs = [(language, mode) for language in programs for mode in ("pool", "plain", "misuse")]
        for done, (language, mode) in enumerate(jobs):
            arguments = [] if mode == "misuse" else [str(root), str(listing)]
            try:
                result = run(language, programs[language], mode, arguments, bar, done, len(jobs))
            except Failed as failed:
                broken.append(str(failed))
            else:
                (misuse if mode == "misuse" else results)[language if mode == "misuse" else (language, mode)] = result
    bar.clear()
    print(f"{root}: {expected['files']} files, {expected['bytes']} bytes; left out as unreadable: {unusable}\n")
    report.print_runs(results)
    report.print_stats(results)
    report.print_violations(misuse)
    faults = broken + judge(expected, results, misuse)
    for fault in faults:
        print(f"FAILED: {fault}")
    caught = sum(v["caught"] is True for r in misuse.values() for v in r.get("violations", []))
    print(
        f"{len(programs)} languages, {len({r.get('digest') for r in results.values()})} digest(s),"
        f" {caught} violations caught, {len(faults)} faults"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
