"""The package as a user gets it: version, documentation, example programs, scenarios."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import millpond

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TYPES = [millpond.Pool, millpond.Lease, millpond.Writer, millpond.PoolStats, millpond.ClassStats, millpond.LeakRecord]
TYPES += [millpond.FourPerDoubling]


def test_the_version_is_said_once() -> None:
    manifest = ROOT / "Cargo.toml"
    if not manifest.exists():
        pytest.skip("not in a checkout")
    declared = re.search(r'^version = "(.*)"', manifest.read_text(), re.MULTILINE)
    assert declared is not None
    assert millpond.__version__ == declared[1] == metadata.version("millpond")


def test_the_installed_package_is_typed_and_licensed() -> None:
    files = {str(file) for file in metadata.files("millpond") or []}
    assert {"millpond/py.typed", "millpond/_millpond.pyi", "millpond/_millpond.abi3.so"} <= files
    assert any(file.endswith("licenses/LICENSE") for file in files)


def test_everything_public_is_exported_and_documented() -> None:
    for name in millpond.__all__:
        assert inspect.getdoc(getattr(millpond, name)), name
    for cls in TYPES:
        for name, member in vars(cls).items():
            if not name.startswith("_") and (callable(member) or inspect.isdatadescriptor(member)):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_what_can_raise_says_so() -> None:
    methods = [millpond.Pool.get, millpond.Pool.try_get, millpond.Pool.put, millpond.Pool.close, millpond.Pool.writer]
    methods += [getattr(millpond.Lease, name) for name in ("put", "release", "detach", "array", "pin", "unpin", "resize_used")]
    methods += [getattr(millpond.Writer, name) for name in ("write", "recv_from", "read_from", "finish", "put")]
    for thing in [*methods, millpond.Pool, millpond.get, millpond.FourPerDoubling]:
        assert "Raises:" in (inspect.getdoc(thing) or ""), thing


def test_types_say_what_threads_and_forks_may_do() -> None:
    for cls in TYPES:
        text = inspect.getdoc(cls) or ""
        assert re.search(r"Thread-(safe|compatible|bound)", text) and "Fork:" in text, cls


def test_statistics_show_every_number(pool: millpond.Pool) -> None:
    with pool.get(100):
        stats = pool.stats()
    names = [name for name in dir(stats) if isinstance(getattr(stats, name), int) and not name.startswith("_")]
    assert stats.as_dict() == {name: getattr(stats, name) for name in names}
    text = stats.to_prometheus()
    for name in names:
        assert re.search(rf'^millpond_buffer_{name}(_total)?{{pool="test"}} \d+$', text, re.MULTILINE), name
    assert [row.size for row in stats.classes] == list(pool.class_sizes)
    first = stats.classes[0]
    assert first.as_dict()["in_use"] == 1 and "in_use=1" in repr(first) and "gets=1" in repr(stats)
    with pytest.raises(AttributeError):
        stats.gets = 5  # type: ignore[misc]


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (HERE.parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        program = tmp_path / f"example{number}.py"
        program.write_text(block)
        done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_the_readme_names_every_error_that_can_come() -> None:
    readme = (HERE.parent / "README.md").read_text()
    later = {"RecordError", "JsonError", "CorruptError", "IoError", "InternalError", "Error", "OwnershipError"}
    for name in millpond.__all__:
        if name.endswith("Error") and name not in later:
            assert name in readme, name


def test_the_tree_example(tmp_path: Path) -> None:
    example = HERE.parent / "examples" / "tree.py"
    files = {"a.txt": b"hello", "empty": b"", "dir/large": bytes(range(256)) * 1000}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    listing = tmp_path / "list"
    listing.write_text("".join(f"{name}\n" for name in sorted(files)))

    def run(*arguments: object) -> dict[str, object]:
        command = [sys.executable, "-W", "error", example, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return result

    pooled, plain, misuse = run("pool", tmp_path, listing), run("plain", tmp_path, listing), run("misuse")
    assert pooled["digest"] == plain["digest"] and pooled["files"] == 3 and pooled["bytes"] == 256005
    assert pooled["reconciled"] is True and misuse["reconciled"] is True
    assert all(violation["caught"] for violation in misuse["violations"])  # type: ignore[attr-defined]


def test_scenarios() -> None:
    if not (ROOT / "tests" / "spec").exists():
        pytest.skip("the scenarios are in the checkout only")
    done = subprocess.run([sys.executable, "-W", "error", HERE / "spec_runner.py"], capture_output=True, text=True, timeout=600)
    print(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == 0, "\n".join(failed) + done.stderr


def test_the_stub_names_what_the_module_has(run_python: Callable[..., object]) -> None:
    """mypy.stubtest checks the signatures; this holds where mypy is not installed."""
    stub = Path(millpond.__file__).with_name("_millpond.pyi")
    declared = {node.name for node in ast.parse(stub.read_text()).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    from millpond import _millpond

    present = {name for name in vars(_millpond) if not name.startswith("__")}
    assert declared == present
