"""What was found out of each mutant, and whether that is enough."""

import collections
import json
import tomllib

from state import RESULTS, ROOT

# Results of which more tests may make others. "open": not caught by the quick suites, the slow ones were not tried.
LIVING = ("open", "survived", "unreached")


class Results:
    def __init__(self):
        self.known = {}
        if RESULTS.exists():
            for line in RESULTS.read_text().splitlines():
                entry = json.loads(line)
                self.known[entry["key"]] = entry

    def of(self, mutant):
        entry = self.known.get(mutant.key)
        return entry if entry and entry["of"] == mutant.of else None

    def add(self, mutant, result, by, seconds):
        entry = {"key": mutant.key, "of": mutant.of, "result": result, "by": by, "seconds": round(seconds, 1)}
        self.known[mutant.key] = entry
        with RESULTS.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def survivors_allowed():
    """The mutants that no test can find, by name."""
    reasons = tomllib.loads((ROOT / "tests/mutants/survivors.toml").read_text()).get("reason", [])
    return {mutant for reason in reasons for mutant in reason["mutants"]}


def judge(mutants, results, complete):
    """Prints a table by file and what is wrong. Returns whether something is."""
    allowed = survivors_allowed()
    table = collections.defaultdict(collections.Counter)
    wrong, living = [], set()
    for mutant in mutants:
        entry = results.of(mutant)
        result = entry["result"] if entry else "not tried"
        if result in LIVING:
            living.add(mutant.key)
            if mutant.key in allowed:
                result = "excused"
            elif result != "open":
                wrong.append(f"{result}: {mutant.key}, line {mutant.line}: {mutant.source}")
        table[mutant.file][result] += 1
    stale = [key for key in allowed if key not in living and any(m.key == key and results.of(m) for m in mutants)]
    gone = [key for key in allowed if not any(m.key == key for m in mutants)] if complete else []
    wrong += [f"listed in survivors.toml and caught: {key}" for key in stale]
    wrong += [f"listed in survivors.toml and no mutant: {key}" for key in gone]
    columns = ["caught", "timeout", "survived", "unreached", "excused", "unviable", "open", "not tried"]
    print(f"\n{'':34}" + "".join(f"{column:>10}" for column in columns))
    total = collections.Counter()
    for file in sorted(table):
        total += table[file]
        print(f"{file:34}" + "".join(f"{table[file][column]:10}" for column in columns))
    print(f"{'in all':34}" + "".join(f"{total[column]:10}" for column in columns))
    for line in wrong:
        print(f"FAILED: {line}")
    missing = total["not tried"] + total["open"]
    if missing:
        print(f"FAILED: {missing} mutants were not tried yet, or not with the slow tests: run it again, it goes on where it stopped")
    return bool(wrong or missing)
