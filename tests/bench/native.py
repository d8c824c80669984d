"""Sets up the contenders in Rust, C and C++, and Go: what bench.py measures of this kind.

Allocators that have no crate, and those for C, are Debian's packages, unpacked below the benchmark's own folder: the
system is left as it is. Versions are those of Cargo.lock, go.sum and the Debian release; the report names them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# Debian's package and what is taken from it.
PACKAGES = {
    "libtcmalloc-minimal4": "libtcmalloc_minimal.so.4",
    "libtbbmalloc2": "libtbbmalloc_proxy.so.2",
    "libmimalloc2.0": "libmimalloc.so.2.0",
    "libjemalloc2": "libjemalloc.so.2",
    "libboost1.74-dev": "boost/pool/pool.hpp",
}
# What DPDK's mempool takes beside them.
DPDK = {
    "libdpdk-dev": "rte_mempool.h",
    "librte-eal23": "librte_eal.so.23",
    "librte-mempool23": "librte_mempool.so.23",
    "librte-mempool-ring23": "librte_mempool_ring.so.23",
    "librte-ring23": "librte_ring.so.23",
    "librte-kvargs23": "librte_kvargs.so.23",
    "librte-telemetry23": "librte_telemetry.so.23",
    "libnuma1": "libnuma.so.1",
    "libbsd0": "libbsd.so.0",
    "libbsd-dev": "bsd/string.h",
    "libmd0": "libmd.so.0",
    "libfdt1": "libfdt.so.1",
}


class Failed(Exception):
    """A step of the set-up that did not work, with what it said last."""


def run(log: Path, *argv: str | Path, cwd: Path = ROOT, seconds: int = 1500, **environment: str) -> str:
    """Runs a step. What it prints goes to a file; returns its output."""
    try:
        done = subprocess.run([str(part) for part in argv], cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds)
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{argv[0]} took more than {seconds} s") from error
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower() or line.startswith("E:")]
        raise Failed(f"{Path(str(argv[0])).name} failed: {(said or done.stderr.splitlines() or ['nothing was said'])[-1].strip()[:200]}")
    return done.stdout


def libraries(bench_dir: Path) -> tuple[Path, dict[str, str]]:
    """Fetches the packages that are not there yet. Returns where they are, and versions."""
    libs, root, debs = bench_dir / "libs", bench_dir / "debian", bench_dir / "debs"
    for folder in (libs, root, debs):
        folder.mkdir(parents=True, exist_ok=True)
    refreshed = False
    versions = {}
    for package, wanted in (PACKAGES | DPDK).items():
        try:
            if not list(debs.glob(f"{package}_*.deb")):
                try:
                    run(bench_dir / "logs" / f"{package}.log", "apt-get", "download", "-q", package, cwd=debs, seconds=180)
                except Failed:
                    if refreshed or os.geteuid() != 0:
                        raise
                    refreshed = True
                    run(bench_dir / "logs" / "apt-update.log", "apt-get", "update", "-q", seconds=180)
                    run(bench_dir / "logs" / f"{package}.log", "apt-get", "download", "-q", package, cwd=debs, seconds=180)
            deb = next(debs.glob(f"{package}_*.deb"))
            if not list(root.rglob(wanted)):
                run(bench_dir / "logs" / f"{package}.log", "dpkg", "-x", deb, root)
            versions[package] = run(bench_dir / "logs" / f"{package}.log", "dpkg-deb", "-f", deb, "Version").strip()
        except Failed as error:
            # The program that wants it finds that it is not there, and says so.
            print(f"missing: {package}: {error}", flush=True)
    for library in root.rglob("*.so*"):
        target = libs / library.name
        # The development package has names of libraries that nobody asked for.
        if library.exists() and not target.is_symlink():
            target.symlink_to(library.resolve())
    return libs, versions


def rust(bench_dir: Path, libs: Path) -> list[dict[str, Any]]:
    """Builds the Rust program twice: as millpond's packages are built, and as cargo does when nothing is said."""
    listed = []
    builds = {
        "Rust, fat LTO": ("release", []),
        # The allocators are C, which no setting of Rust's changes.
        "Rust, no LTO": ("plain", ["--no-default-features"]),
    }
    for name, (profile, features) in builds.items():
        try:
            run(bench_dir / "logs" / f"rust-{profile}.log", "cargo", "build", "--locked", "--profile", profile, *features, "--target-dir", bench_dir / "rust", cwd=HERE / "rust")
            listed.append({"name": name, "group": "Rust", "argv": [bench_dir / "rust" / profile / "bench"], "env": {"BENCH_LIBS": str(libs)}})
        except Failed as error:
            listed.append({"name": name, "group": "Rust", "missing": str(error)})
    return listed


def c(bench_dir: Path, libs: Path) -> dict[str, Any]:
    """Builds millpond's shared library, installs it below the benchmark's folder and links the program with it."""
    named = {"name": "C and C++, shared library", "group": "C and C++"}
    prefix, program = bench_dir / "prefix", bench_dir / "c" / "bench"
    try:
        run(bench_dir / "logs" / "install.log", "bash", "ffi-c/install.sh", prefix)
        program.parent.mkdir(exist_ok=True)
        checked = program.parent / "libchecked.so"
        run(bench_dir / "logs" / "checked.log", os.environ.get("CC", "cc"), "-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", HERE / "c" / "checked" / "checked.c", "-o", checked)
        include = ["-I", prefix / "include", "-isystem", bench_dir / "debian" / "usr" / "include"]
        link = ["-L", prefix / "lib", "-lmillpond", f"-Wl,-rpath,{prefix / 'lib'}", checked, f"-Wl,-rpath,{checked.parent}", "-pthread"]
        compiler = os.environ.get("CXX", "c++")
        sources = sorted((HERE / "c").glob("*.cpp"))
        run(bench_dir / "logs" / "c.log", compiler, "-std=c++17", "-O2", "-Wall", "-Wextra", *sources, "-o", program, *include, *link)
    except Failed as error:
        return {**named, "missing": str(error)}
    return {**named, "argv": [program], "env": {"BENCH_LIBS": str(libs)}}


def dpdk(bench_dir: Path) -> dict[str, Any]:
    """Builds the program of DPDK's mempool, which needs libraries that no other peer does."""
    named = {"name": "C and C++, DPDK", "group": "C and C++"}
    prefix, usr, program = bench_dir / "prefix", bench_dir / "debian" / "usr", bench_dir / "c" / "dpdk"
    lib = next((path.parent for path in usr.rglob("librte_mempool.so.23")), usr / "lib")
    if not (lib / "librte_mempool.so.23").exists():
        return {**named, "missing": "its packages are not there"}
    config = next((path.parent for path in usr.rglob("rte_config.h")), usr / "include")
    include = ["-I", prefix / "include", *(part for path in (usr / "include", usr / "include" / "dpdk", config) for part in ("-isystem", path))]
    # The rings that mempools are made of are a driver, which nothing refers to by name.
    driver = ["-Wl,--no-as-needed", "-l:librte_mempool_ring.so.23", "-Wl,--as-needed"]
    link = ["-L", lib, *(f"-l:librte_{part}.so.23" for part in ("mempool", "eal", "ring")), *driver, "-Wl,--allow-shlib-undefined", "-L", prefix / "lib", "-lmillpond", "-pthread"]
    try:
        run(bench_dir / "logs" / "dpdk.log", os.environ.get("CXX", "c++"), "-std=gnu++17", "-O2", "-march=corei7", "-include", "rte_config.h", HERE / "c" / "dpdk" / "main.cpp", "-o", program, *include, *link)
    except Failed as error:
        return {**named, "missing": str(error)}
    return {**named, "argv": [program], "env": {"LD_LIBRARY_PATH": f"{lib}:{bench_dir / 'libs'}:{prefix / 'lib'}"}}


def go(bench_dir: Path) -> dict[str, Any]:
    """Builds the Go program, in which the ancestors' design is written anew."""
    named = {"name": "Go", "group": "Go"}
    if shutil.which("go") is None:
        return {**named, "missing": "there is no go"}
    program = bench_dir / "go" / "bench"
    try:
        run(bench_dir / "logs" / "go.log", "go", "build", "-mod=readonly", "-o", program, ".", cwd=HERE / "go", GOTOOLCHAIN="local")
    except Failed as error:
        return {**named, "missing": str(error)}
    return {**named, "argv": [program]}


def contenders(bench_dir: Path, quick: bool) -> list[dict[str, Any]]:
    """Builds everything that is not built yet. A quick run is made of the same programs."""
    libs, versions = libraries(bench_dir)
    packages = ",".join(f"{name}={version}" for name, version in versions.items() if name in PACKAGES)
    listed = [*rust(bench_dir, libs), c(bench_dir, libs), dpdk(bench_dir), go(bench_dir)]
    for entry in listed:
        entry["env"] = {**entry.get("env", {}), "BENCH_PACKAGES": packages}
    return listed
