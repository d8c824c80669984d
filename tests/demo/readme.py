#!/usr/bin/env python3
"""Runs the C, C++, Python and JavaScript examples of README.md as they stand, in what the demo built and installed.

The Rust example is a documentation test of the crate millpond-tests.
"""

import subprocess
import sys
from pathlib import Path

import build

EXAMPLES = {"c": "c", "cpp": "cpp", "python": "py", "js": "mjs"}


def blocks(text):
    """Returns the code blocks of a Markdown text as (language, code)."""
    found, language, lines = [], None, []
    for line in text.splitlines():
        if language is None and line.startswith("```"):
            language, lines = line[3:].strip(), []
        elif line.startswith("```"):
            found.append((language, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
    return found


def program(scratch, language, path):
    """Returns the command that runs one example."""
    if language == "c":
        return build.native(scratch, ["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"], path)
    if language == "cpp":
        return build.native(scratch, ["c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"], path)
    return [str(scratch / "venv/bin/python") if language == "python" else "node", str(path)]


def main():
    """Runs every example; each has to end well and print something."""
    scratch = build.target_directory() / "demo"
    found = blocks((build.ROOT / "README.md").read_text(encoding="utf-8"))
    failed = run = 0
    for language, ending in EXAMPLES.items():
        codes = [code for found_language, code in found if found_language == language]
        if not codes:
            print(f"FAILED: README.md has no example in {language}")
            failed += 1
        for number, code in enumerate(codes, 1):
            # Beside the installed Node package, so that its name is found.
            path = scratch / "node" / f"readme_{language}_{number}.{ending}"
            path.write_text(code, encoding="utf-8")
            run += 1
            try:
                command = program(scratch, language, path)
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
            except (build.BuildFailed, subprocess.TimeoutExpired) as error:
                print(f"FAILED: README.md {language} {number}: {error}")
                failed += 1
                continue
            if done.returncode != 0 or not done.stdout.strip() or done.stderr.strip():
                print(f"FAILED: README.md {language} {number}: status {done.returncode}\n{done.stdout}{done.stderr}")
                failed += 1
    print(f"README.md: {run} examples run, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
