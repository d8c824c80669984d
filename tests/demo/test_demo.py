"""Checks that the demo's driver believes no program: each wrong result is a fault and a wrong exit status."""

import copy
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import demo
import report

STATS = {"gets": 2, "puts": 2, "in_use": 0, "detached": 0, "leaked": 0, "created": 1, "destroyed": 0, "retained_buffers": 1}
EXPECTED = {"files": 2, "bytes": 10, "digest": "ab"}
RESULTS = {
    ("c", "pool"): {"language": "c", "mode": "pool", **EXPECTED, "stats": STATS, "reconciled": True},
    ("c", "plain"): {"language": "c", "mode": "plain", **EXPECTED},
}
MISUSE = {
    "c": {
        "language": "c",
        "violations": [{"name": n, "caught": True, "code": "X", "message": "says why"} for n in report.VIOLATIONS],
        "reconciled": True,
    }
}


class Judging(unittest.TestCase):
    def faults(self, change):
        results, misuse = copy.deepcopy(RESULTS), copy.deepcopy(MISUSE)
        change(results, misuse)
        return demo.judge(EXPECTED, results, misuse)

    def test_what_is_right_has_no_fault(self):
        self.assertEqual(self.faults(lambda results, misuse: None), [])

    def test_each_wrong_result_is_a_fault(self):
        changes = {
            "another language's program": lambda r, m: r["c", "pool"].update(language="cpp"),
            "another language's violations": lambda r, m: m["c"].update(language="cpp"),
            "another mode": lambda r, m: r["c", "plain"].update(mode="pool"),
            "pool digest": lambda r, m: r["c", "pool"].update(digest="cd"),
            "plain digest": lambda r, m: r["c", "plain"].update(digest="cd"),
            "bytes": lambda r, m: r["c", "plain"].update(bytes=11),
            "files": lambda r, m: r["c", "pool"].update(files=1),
            "no digest": lambda r, m: r["c", "pool"].pop("digest"),
            "a lease too many": lambda r, m: r["c", "pool"]["stats"].update(gets=3),
            "a buffer too many": lambda r, m: r["c", "pool"]["stats"].update(created=2),
            "still in use": lambda r, m: r["c", "pool"]["stats"].update(puts=1, in_use=1),
            "fewer gets than files": lambda r, m: r["c", "pool"]["stats"].update(gets=1, puts=1),
            "a field is missing": lambda r, m: r["c", "pool"]["stats"].pop("leaked"),
            "its own word": lambda r, m: r["c", "pool"].update(reconciled=False),
            "not caught": lambda r, m: m["c"]["violations"][3].update(caught=False),
            "nearly caught": lambda r, m: m["c"]["violations"][3].update(caught="yes"),
            "no message": lambda r, m: m["c"]["violations"][3].update(message=""),
            "one is missing": lambda r, m: m["c"]["violations"].pop(),
            "misuse does not reconcile": lambda r, m: m["c"].update(reconciled=False),
        }
        for name, change in changes.items():
            with self.subTest(name):
                self.assertNotEqual(self.faults(change), [])

    def test_output_without_json_is_a_failure(self):
        for output in ("", "\n", "text\n", '{"a": 1}\ntext\n'):
            with self.subTest(output), self.assertRaises(demo.Failed):
                demo.last_json("c", "pool", output)
        self.assertEqual(demo.last_json("c", "pool", 'text\n{"a": 1}\n\n'), {"a": 1})

    def test_a_program_that_fails_is_a_failure(self):
        bar = report.Bar(io.StringIO())
        fails = [sys.executable, "-c", "import sys; print('{}'); sys.exit('broken')"]
        with self.assertRaisesRegex(demo.Failed, "broken"):
            demo.run("c", fails, "pool", [], bar, 0, 1)


class Listing(unittest.TestCase):
    def test_links_and_skipped_directories_are_left_out(self):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            for name in ("b", "a/x", "skipped/y", "a b", "a-b/z"):
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).write_text("x")
            (root / "link").symlink_to(root / "b")
            (root / "linked").symlink_to(root / "a")
            self.assertEqual(demo.regular_files(root, {"skipped"}), ([b"a b", b"a-b/z", b"a/x", b"b"], 0))

    def test_an_empty_directory_has_no_files(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertEqual(demo.regular_files(directory, set()), ([], 0))


if __name__ == "__main__":
    unittest.main()
