"""The seeded programs: how each is built and run, and which bugs it cannot commit, with the reason."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/misuse")

sys.path.insert(0, str(ROOT / "tests/demo"))
import cells  # noqa: E402
import build  # noqa: E402
from build import BuildFailed, command, target_directory  # noqa: E402

BUGS = {
    "none": "a program without a bug",
    "double-put": "a second put",
    "lease-after-put": "the lease itself used after its put",
    "read-after-put": "read through a pointer kept from before the put",
    "write-after-put": "written through a pointer kept from before the put",
    "past-by-one": "one byte written just behind the length",
    "past-by-far": "one byte written 4096 bytes behind the end",
    "foreign-put": "put into another pool",
    "racing-puts": "put by two threads at once",
    "leak": "never put",
    "use-after-close": "a get from a closed pool",
    "forged-handle": "put of a lease that never was one",
    "viewed-put": "put while somebody holds a view of a part",
    "forked-use": "used in children of fork, other threads being at work",
    "frozen-write": "written after it was frozen",
    "late-write": "put while a read into it is under way",
}

MODES = ("plain", "full", "sample:1")
TOOLS = ("asan", "valgrind")
COLUMNS = (*MODES, *TOOLS)


class Missing(Exception):
    """A tool is not there; the text names it."""


@dataclass
class Program:
    """One program that commits bugs; a comparison has no modes."""

    name: str
    source: Path
    # From a column to the command line before the bug's name; built when it is first asked for.
    prepare: object
    comparison: bool = False
    cannot: dict = field(default_factory=dict)
    # What its compiler refuses: from a bug to a function that compiles it and returns the cell.
    refused: dict = field(default_factory=dict)
    # If not empty: the bugs that are worth a line.
    only: tuple = ()

    def columns(self):
        """Returns the columns in which it can say something."""
        return ("plain", *TOOLS) if self.comparison else COLUMNS

    def bugs(self):
        """Returns the bugs that have a line for it, those that it cannot commit too."""
        return self.only or tuple(BUGS)

    def runs(self):
        """Returns the bugs that it commits when it runs."""
        return [bug for bug in self.bugs() if bug not in self.cannot and bug not in self.refused]


def scratch():
    """Returns the directory for what is built here."""
    directory = target_directory() / "misuse"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@cache
def library():
    """Builds the C library as users get it and returns its directory."""
    command(["cargo", "build", "--release", "-p", "millpond-c"])
    directory = scratch() / "lib"
    directory.mkdir(exist_ok=True)
    shutil.copy2(target_directory() / "release/libmillpond.so", directory)
    major = re.search(r"#define MILLPOND_VERSION_MAJOR (\d+)", (ROOT / "include/millpond.h").read_text())[1]
    soname = directory / f"libmillpond.so.{major}"
    soname.unlink(missing_ok=True)
    soname.symlink_to("libmillpond.so")
    return directory


@cache
def native(compiler, standard, source, asan):
    """Compiles a C or C++ program against the stock shared library."""
    if asan and not has_asan(compiler):
        raise Missing("libasan")
    output = scratch() / (source.translate(str.maketrans("./", "__")) + ("_asan" if asan else ""))
    flags = ["-fsanitize=address", "-fno-omit-frame-pointer"] if asan else []
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    lib = library()
    path = HERE / source
    # Not optimised, so that a tool's stack names the lines that the source has.
    command(
        [compiler, f"-std={standard}", "-D_GNU_SOURCE", "-g", "-O0", *warnings, *flags, "-Iinclude", path]
        + ["-o", output, f"-L{lib}", "-Wl,--as-needed", "-lmillpond", f"-Wl,-rpath,{lib}", "-pthread"]
    )
    return output


@cache
def has_asan(compiler):
    """Says whether the compiler's AddressSanitizer can be linked."""
    trial = scratch() / "trial"
    arguments = [compiler, "-fsanitize=address", "-x", "c", "-", "-o", trial]
    return subprocess.run(arguments, input=b"int main(void) { return 0; }", capture_output=True).returncode == 0


VALGRIND = (
    "valgrind -q --error-exitcode=9 --fair-sched=yes --child-silent-after-fork=yes --leak-check=full"
    " --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect"
).split()


# Interpreters look at memory that nobody wrote, and free little at their end; millpond's idle memory must not be touched.
VALGRIND_FOREIGN = "valgrind -q --error-exitcode=9 --fair-sched=yes --child-silent-after-fork=yes --undef-value-errors=no".split()


def under_valgrind(program, valgrind=VALGRIND):
    """Puts valgrind before a command line."""
    if shutil.which("valgrind") is None:
        raise Missing("valgrind")
    return [*valgrind, *program]


def preloaded_asan():
    """Returns what puts AddressSanitizer's run-time library under a program that is not made for it."""
    library = Path(command(["gcc", "-print-file-name=libasan.so"]).strip())
    if not library.is_absolute():
        raise Missing("libasan")
    return ["env", f"LD_PRELOAD={library}", "ASAN_OPTIONS=detect_leaks=0"]


def compiled(compiler, standard, source):
    """Returns what prepares a program in C or C++ for a column."""

    def prepare(column):
        program = [str(native(compiler, standard, source, column == "asan"))]
        return under_valgrind(program) if column == "valgrind" else program

    return prepare


def rust_library(asan):
    """Builds the crate, for the asan column with AddressSanitizer, and returns what a program that uses it is compiled with."""
    if not asan:
        command(["cargo", "build", "--release", "-p", "millpond"])
        built = target_directory() / "release"
        return ["--extern", f"millpond={built}/libmillpond.rlib", "-L", f"dependency={built}/deps"]
    if not list(Path(command(["rustc", "--print", "target-libdir"]).strip()).glob("librustc*_rt.asan.*")):
        raise Missing("AddressSanitizer's run-time library of rustc")
    host = re.search(r"^host: (.*)$", command(["rustc", "-vV"]), re.MULTILINE)[1]
    base = scratch() / "asan"
    # The compiler takes -Z only from those who ask for what is not stable.
    variables = {"RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": "-Zsanitizer=address", "CARGO_TARGET_DIR": str(base)}
    command(["cargo", "build", "--release", "-p", "millpond", "--target", host], **variables)
    built = base / host / "release"
    flags = ["-Zsanitizer=address", "--target", host]
    return [*flags, "--extern", f"millpond={built}/libmillpond.rlib", "-L", f"dependency={built}/deps"]


@cache
def rust_program(asan):
    """Compiles the Rust program."""
    output = scratch() / ("rust_misuse" + ("_asan" if asan else ""))
    arguments = ["rustc", "--edition", "2024", "-g", "-C", "opt-level=0", *rust_library(asan)]
    command([*arguments, HERE / "rust/misuse.rs", "-o", output], **({"RUSTC_BOOTSTRAP": "1"} if asan else {}))
    return [str(output)]


def rust(column):
    """Prepares the Rust program for a column."""
    program = rust_program(column == "asan")
    return under_valgrind(program) if column == "valgrind" else program


def refuses(bug):
    """Returns what compiles a bug that the Rust compiler is to refuse, and says how it did."""

    def compile_it():
        path = HERE / f"rust/refused/{bug}.rs"
        arguments = ["rustc", "--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--error-format", "short"]
        arguments += [*rust_library(False), "-o", str(scratch() / f"{bug}.rmeta"), str(path)]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
        found = re.search(r"^[^\n:]*:(\d+):\d+: error\[(E\d+)\]", done.stderr, re.MULTILINE)
        if done.returncode == 0 or not found:
            return "nothing" if done.returncode == 0 else f"BROKEN: {done.stderr[-300:]}"
        here = ": here" if cells.Source(ROOT / path).has(int(found[1]), "HERE") else ""
        return f"compiler {found[2]}{here}"

    return compile_it


@cache
def python_package():
    """Installs the Python package into an environment of its own and returns its interpreter."""
    return build.python(scratch())[0]


def python(source):
    """Returns what prepares a Python program for a column."""

    def prepare(column):
        program = [python_package(), "-B", "-W", "always::ResourceWarning", str(HERE / source)]
        if column == "plain":
            program[2:4] = []
        if column == "asan":
            return [*preloaded_asan(), "PYTHONMALLOC=malloc", *program]
        return ["env", "PYTHONMALLOC=malloc", *under_valgrind(program, VALGRIND_FOREIGN)] if column == "valgrind" else program

    return prepare


@cache
def node_package():
    """Installs the Node package into a project of its own and returns the package's folder."""
    build.node(scratch())
    return scratch() / "node/node_modules/millpond"


def node(source, *flags):
    """Returns what prepares a Node program for a column."""

    def prepare(column):
        # What the compiler of V8 makes is unknown to valgrind until it is told to look.
        jit = ["--jitless"] if column == "valgrind" else []
        program = ["node", "--expose-gc", *jit, str(HERE / source), *flags]
        if column == "valgrind":
            program = under_valgrind(program, [*VALGRIND_FOREIGN, "--smc-check=all-non-file"])
        before = preloaded_asan() if column == "asan" else ["env"]
        return [*before, f"MISUSE_PACKAGE={node_package()}", *program]

    return prepare


NO_FORK = "Node cannot fork the running program; child_process.fork starts another one"
NO_FREEZE = "JavaScript cannot freeze the bytes of a Buffer"
SAME_OBJECT = "what is put is the memory itself: see read-after-put"

PROGRAMS = {
    "c": Program(
        "C",
        HERE / "c/misuse.c",
        compiled("gcc", "c11", "c/misuse.c"),
        cannot={"frozen-write": "the C interface has no frozen leases"},
    ),
    "malloc": Program(
        "malloc",
        HERE / "c/malloc.c",
        compiled("gcc", "c11", "c/malloc.c"),
        comparison=True,
        cannot={
            "lease-after-put": SAME_OBJECT,
            "foreign-put": "there is one heap",
            "use-after-close": "there is nothing to close",
            "frozen-write": "nothing can be frozen",
        },
    ),
    "cpp": Program(
        "C++",
        HERE / "cpp/misuse.cpp",
        compiled("g++", "c++17", "cpp/misuse.cpp"),
        cannot={"frozen-write": "no frozen leases; the bytes of a const lease are const for the compiler"},
    ),
    "pmr": Program(
        "pmr pool",
        HERE / "cpp/pmr.cpp",
        compiled("g++", "c++17", "cpp/pmr.cpp"),
        comparison=True,
        cannot={"lease-after-put": SAME_OBJECT, "frozen-write": "nothing can be frozen"},
    ),
    "rust": Program(
        "Rust",
        HERE / "rust/misuse.rs",
        rust,
        refused={
            bug: refuses(bug) for bug in ("double-put", "lease-after-put", "racing-puts", "viewed-put", "frozen-write")
        },
    ),
    "python": Program("Python", HERE / "python/misuse.py", python("python/misuse.py")),
    "bytearray": Program(
        "bytearray list",
        HERE / "python/bytearrays.py",
        python("python/bytearrays.py"),
        comparison=True,
        cannot={"lease-after-put": SAME_OBJECT},
    ),
    "node": Program(
        "Node",
        HERE / "node/misuse.mjs",
        node("node/misuse.mjs"),
        cannot={"forked-use": NO_FORK, "frozen-write": NO_FREEZE},
    ),
    "node-keep": Program(
        "Node, detach: false",
        HERE / "node/misuse.mjs",
        node("node/misuse.mjs", "--keep"),
        only=("none", "double-put", "lease-after-put", "read-after-put", "write-after-put", "viewed-put", "late-write"),
    ),
    "array": Program(
        "array of Buffers",
        HERE / "node/arrays.mjs",
        node("node/arrays.mjs"),
        comparison=True,
        cannot={
            "lease-after-put": SAME_OBJECT,
            "past-by-one": "JavaScript ignores a write behind the end of an ArrayBuffer",
            "past-by-far": "JavaScript ignores a write behind the end of an ArrayBuffer",
            "racing-puts": "the array and its Buffers are one thread's",
            "forked-use": NO_FORK,
            "frozen-write": NO_FREEZE,
        },
    ),
}
