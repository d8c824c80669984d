"""Builds the demo's five programs from a clean clone, into the build directory of cargo."""

import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class BuildFailed(Exception):
    """A build command failed; the text says which and how."""


def command(arguments, cwd=ROOT, **environment):
    """Runs a build command quietly and returns its output; everything it printed is shown when it fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(map(str, arguments))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def target_directory():
    """Asks cargo where it builds."""
    metadata = command(["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"])
    return Path(json.loads(metadata)["target_directory"])


def rust(scratch):
    """Builds core/examples/tree.rs."""
    command(["cargo", "build", "--release", "-p", "millpond", "--example", "tree"])
    return [str(target_directory() / "release/examples/tree")]


def installed(scratch):
    """Installs the C library into a prefix, once for C and C++."""
    prefix = scratch / "prefix"
    if not (prefix / "ready").exists():
        command(["bash", "ffi-c/install.sh"], PREFIX=str(prefix))
        (prefix / "ready").touch()
    return prefix


def native(scratch, compiler, source):
    """Compiles one program against the installed library, as a user's build would."""
    if shutil.which("pkg-config") is None or subprocess.run(["pkg-config", "--exists", "libcrypto"]).returncode != 0:
        raise BuildFailed("pkg-config and OpenSSL's headers are missing (Debian: pkg-config, libssl-dev); make tools installs them")
    prefix = installed(scratch)
    found = next(prefix.rglob("millpond.pc"), None)
    if found is None:
        raise BuildFailed(f"ffi-c/install.sh left no millpond.pc under {prefix}")
    path = os.pathsep.join(filter(None, [str(found.parent), os.environ.get("PKG_CONFIG_PATH", "")]))
    flags = command(["pkg-config", "--cflags", "--libs", "millpond", "libcrypto"], PKG_CONFIG_PATH=path).split()
    library = command(["pkg-config", "--variable=libdir", "millpond"], PKG_CONFIG_PATH=path).strip()
    # With its ending: the C and the C++ source have the same stem.
    program = scratch / Path(source).name.replace(".", "_")
    command([*compiler, "-O2", source, "-o", program, *flags, f"-Wl,-rpath,{library}", "-pthread"])
    return [str(program)]


def c(scratch):
    """Builds tests/c/demo_tree.c."""
    return native(scratch, ["cc", "-std=c11"], "tests/c/demo_tree.c")


def cpp(scratch):
    """Builds tests/cpp/demo_tree.cpp."""
    return native(scratch, ["c++", "-std=c++17"], "tests/cpp/demo_tree.cpp")


def python(scratch):
    """Installs the Python package into a fresh virtual environment."""
    environment = scratch / "venv"
    venv.EnvBuilder(with_pip=True, clear=True).create(environment)
    interpreter = environment / "bin/python"
    command([interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "./python"])
    return [str(interpreter), str(ROOT / "python/examples/tree.py")]


def node(scratch):
    """Installs the Node package, which builds the addon, into a fresh directory and runs the example from there."""
    project = scratch / "node"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    (project / "package.json").write_text('{ "private": true }\n')
    command(["npm", "install", "--no-audit", "--no-fund", "--install-links=false", str(ROOT / "node")], cwd=project)
    return ["node", str(ROOT / "node/examples/tree.mjs")]


def build_all(bar):
    """Returns the command of each language's program, in the order of the table."""
    builders = {"rust": rust, "c": c, "cpp": cpp, "python": python, "node": node}
    scratch = target_directory() / "demo"
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "prefix/ready").unlink(missing_ok=True)
    programs = {}
    for done, (language, builder) in enumerate(builders.items()):
        bar.show(f"building {language}", done / len(builders))
        programs[language] = builder(scratch)
    return programs
