#!/usr/bin/env python3
"""Prints the scenarios of this directory one step per line, or checks them (--check). The format: README.md."""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGUAGES = ("rust", "c", "python", "node")
SIZES = {
    "SIZE_MAX": 2**64 - 1,
    "SIZE_MAX-63": 2**64 - 64,
    "ISIZE_MAX": 2**63 - 1,
    "ISIZE_MAX+1": 2**63,
    "ISIZE_MAX-4095": 2**63 - 4096,
}
BAD = {f"bad:{v}" for v in ("negative", "nan", "infinite", "fraction", "string", "null", "object")}
ERR = {"expect": str, "says": str}
GET = {"pool": str, "lease": str, "len": "size", **ERR}
RANGE = {"lease": str, "byte": int, "at": int, "count": int, "expect": str}
BITS = {"as": str, "xor": "bits", "add": "bits"}
# Verb to (fields it must have, every field it may have with its type).
VERBS = {
    "pool": ("pool", {"pool": str, "options": dict, **ERR}),
    "get": ("pool lease len", GET),
    "try_get": ("pool lease len", GET),
    "get_timeout": ("pool lease len ms", {**GET, "ms": int}),
    "put": ("lease", {"lease": str, "pool": str, "used": "size", **ERR}),
    "scope_end": ("lease", {"lease": str, "expect": str}),
    "scope_raise": ("lease", {"lease": str}),
    "len": ("lease is", {"lease": str, "is": "size"}),
    "capacity": ("lease is", {"lease": str, "is": "size"}),
    "aligned": ("lease to", {"lease": str, "to": int}),
    "write": ("lease byte", RANGE),
    "read": ("lease byte", RANGE),
    "overrun": ("lease by", {"lease": str, "by": int}),
    "view": ("lease view", {"lease": str, "view": str, "expect": str}),
    "loose_view": ("lease view", {"lease": str, "view": str}),
    "freeze": ("lease view", {"lease": str, "view": str, "expect": str}),
    "clone_view": ("view as", {"view": str, "as": str}),
    "drop_view": ("view", {"view": str}),
    "view_dead": ("view", {"view": str}),
    "view_never": ("view byte", {"view": str, "byte": int}),
    "pin": ("lease", {"lease": str, "expect": str}),
    "unpin": ("lease", {"lease": str, "expect": str}),
    "transfer": ("lease", {"lease": str}),
    "lose": ("lease", {"lease": str}),
    "detach": ("lease owned", {"lease": str, "owned": str, "expect": str}),
    "owned_read": ("owned byte", {"owned": str, "byte": int}),
    "drop_owned": ("owned", {"owned": str}),
    "writer": ("pool writer capacity", {"pool": str, "writer": str, "capacity": "size", "expect": str}),
    "append": ("writer byte count", {"writer": str, "byte": int, "count": int, "expect": str}),
    "finish": ("writer lease", {"writer": str, "lease": str}),
    "leaks": ("pool count", {"pool": str, "count": int, "len": int}),
    "stats": ("pool", {"pool": str, "is": dict, "at_least": dict, "at_most": dict, "classes": dict}),
    "class_sizes": ("pool is", {"pool": str, "is": list}),
    "trim": ("pool", {"pool": str, "at_least": int, "expect": str}),
    "maintain": ("pool", {"pool": str}),
    "close": ("pool", {"pool": str, "expect": str}),
    "free_pool": ("pool", {"pool": str}),
    "forge": ("lease as", {"lease": str, **BITS}),
    "forge_pool": ("pool as", {"pool": str, **BITS}),
    "thread": ("steps", {"steps": list}),
    "threads": ("count times steps", {"count": int, "times": int, "steps": list}),
    "later": ("ms steps", {"ms": int, "steps": list}),
    "race_put": ("lease threads", {"lease": str, "threads": int}),
    "repeat": ("times steps", {"times": int, "steps": list}),
    "fork": ("steps", {"steps": list}),
    "sleep": ("ms", {"ms": int}),
}
OPTIONS = {
    "name": str,
    "classes": (str, list, dict),
    "max_bytes": "size",
    "max_retained_bytes": "size",
    "on_limit": (str, dict),
    "clear": str,
    "alignment": int,
    "thread_cache_bytes": int,
    "maintain_every_ms": int,
}
STATS = set(
    "allocations gets puts in_use oversized discarded hits live_bytes requested_bytes waste_bytes peak_live_bytes"
    " retained_buffers retained_bytes limit_bytes detached leaked lost trimmed_bytes created destroyed double_puts"
    " stale_uses foreign_puts overruns exhausted".split()
)
CLASS_STATS = set(
    "gets puts in_use allocations hits retained_buffers retained_bytes discarded detached leaked".split()
)
KINDS = set(
    "INVALID_ARGUMENT NULL DOUBLE_PUT USE_AFTER_PUT FOREIGN_LEASE BUSY OVERRUN INVALID_HANDLE EXHAUSTED CLOSED"
    " NO_MEMORY ANY FULL".split()
)


def load(paths):
    """Yields (file, scenario) in the order runners use."""
    for path in paths or sorted(HERE.glob("*.json")):
        for scenario in json.loads(Path(path).read_text(encoding="utf-8")):
            yield Path(path).name, scenario


def text(value):
    """Renders one value of a line."""
    if isinstance(value, str):
        value = SIZES.get(value, value)
    if isinstance(value, list):
        value = ",".join(map(str, value))
    value = str(value)
    if any(c in value for c in "\t\n\r"):
        raise ValueError(f"{value!r} does not fit on a line")
    return value


def line(verb, fields):
    """Renders one line."""
    return "\t".join([verb, *(f"{key}={text(value)}" for key, value in fields.items())])


def pool_fields(step):
    """Turns the options of a pool step into fields."""
    fields = {k: v for k, v in step.items() if k not in ("do", "options")}
    for key, value in step.get("options", {}).items():
        if key == "name":
            fields["option_name"] = value
        elif key == "classes" and isinstance(value, dict):
            fields["classes_min"], fields["classes_max"] = value["min"], value["max"]
        elif key == "on_limit" and isinstance(value, dict):
            fields["on_limit"], fields["wait_ms"] = "wait", value["wait_ms"]
        elif (key, value) != ("classes", "default"):
            fields[key] = value
    return fields


def flat(steps):
    """Yields the lines of some steps."""
    for step in steps:
        verb = step["do"]
        fields = {k: v for k, v in step.items() if k != "do"}
        if verb == "pool":
            yield line("pool", pool_fields(step))
        elif verb == "stats":
            for bound in ("is", "at_least", "at_most"):
                for field, value in step.get(bound, {}).items():
                    yield line("stat", {"pool": step["pool"], "field": field, bound: value})
            for size, values in step.get("classes", {}).items():
                for field, value in values.items():
                    yield line("class_stat", {"pool": step["pool"], "size": size, "field": field, "is": value})
        elif "steps" in step:
            fields.pop("steps")
            yield line("begin", {"do": verb, **fields})
            yield from flat(step["steps"])
            yield "end"
        else:
            for key in ("xor", "add"):
                if isinstance(fields.get(key), str):
                    fields[key] = int(fields[key], 0)
            yield line(verb, fields)


def has_type(value, kind):
    """Says whether a field's value is what its verb wants."""
    if kind == "size":
        return value in SIZES or value in BAD if isinstance(value, str) else isinstance(value, int) and 0 <= value <= 2**53
    if kind == "bits":
        return isinstance(value, int) or isinstance(value, str) and 0 <= int(value, 0) < 2**64
    return isinstance(value, kind)


def faults_of_steps(steps):
    """Yields what is wrong with some steps."""
    for number, step in enumerate(steps, 1):
        verb = step.get("do")
        if verb not in VERBS:
            yield f"step {number}: unknown verb {verb!r}"
            continue
        must, may = VERBS[verb]
        for field in must.split():
            if field not in step:
                yield f"step {number} ({verb}): {field} is missing"
        for field, value in step.items():
            if field != "do" and field not in may:
                yield f"step {number} ({verb}): unknown field {field}"
            elif field != "do" and not has_type(value, may[field]):
                yield f"step {number} ({verb}): {field} is {value!r}"
        for kind in step.get("expect", "ANY").split("|"):
            if kind not in KINDS:
                yield f"step {number} ({verb}): unknown error kind {kind}"
        for option, value in step.get("options", {}).items():
            if option not in OPTIONS or not has_type(value, OPTIONS[option]):
                yield f"step {number} ({verb}): option {option} = {value!r}"
        if verb == "stats":
            bounds = [step.get(bound, {}) for bound in ("is", "at_least", "at_most")]
            unknown = {f for values in bounds for f in values} - STATS
            unknown |= {f for values in step.get("classes", {}).values() for f in values} - CLASS_STATS
            if unknown:
                yield f"step {number}: unknown statistics {sorted(unknown)}"
            if not any(bounds) and not step.get("classes"):
                yield f"step {number}: stats expects nothing"
        yield from (f"in {verb}: {fault}" for fault in faults_of_steps(step.get("steps", [])))


def check(paths):
    """Prints every fault of the files; returns the exit status."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Rows (`covers`)")[1]
    rows = {row.split("`")[1] for row in table.splitlines() if row.startswith("| `")}
    faults, names, covered, count = [], set(), set(), 0
    for file, scenario in load(paths):
        count += 1
        name = scenario.get("name", "?")
        at = f"{file}: {name}"
        if name in names:
            faults.append(f"{at}: the name is used twice")
        names.add(name)
        if set(scenario) - {"name", "covers", "skip", "steps"}:
            faults.append(f"{at}: unknown fields {sorted(set(scenario))}")
        unknown = set(scenario.get("covers", [])) - rows
        if unknown or not scenario.get("covers"):
            faults.append(f"{at}: covers {scenario.get('covers')}")
        skip = scenario.get("skip", {})
        if set(skip) - set(LANGUAGES) or not all(str(reason).strip() for reason in skip.values()):
            faults.append(f"{at}: skip is {skip}")
        if set(skip) >= set(LANGUAGES):
            faults.append(f"{at}: no language runs it")
        else:
            covered |= set(scenario.get("covers", []))
        if not scenario.get("steps"):
            faults.append(f"{at}: no steps")
        faults += [f"{at}: {fault}" for fault in faults_of_steps(scenario.get("steps", []))]
    faults += [f"row {row} is covered by no scenario" for row in sorted(rows - covered)]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"spec files: {count} scenarios, {len(covered)} of {len(rows)} rows covered, {len(faults)} faults")
    return 1 if faults or not count else 0


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the files instead of printing them")
    parser.add_argument("--lang", choices=LANGUAGES, help="mark the scenarios that this language skips")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    if args.check:
        return check(args.files)
    count = 0
    for _, scenario in load(args.files):
        count += 1
        head = {"do": "scenario", "name": scenario["name"], "covers": scenario["covers"]}
        if args.lang in scenario.get("skip", {}):
            head["skip"] = scenario["skip"][args.lang]
        print(line("begin", head))
        for step in flat(scenario["steps"]):
            print(step)
        print("end")
    print(line("total", {"scenarios": count}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
