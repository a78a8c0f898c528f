"""The programs that a real Livy needs, and how they are had: Java 17, Maven, a Python for PySpark.

What is missing is installed by apt when we are root; else the line to run is printed, and `Missing`
raised. Nothing is ever installed without saying so.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

JAVA = 17                         # Livy 0.7.1 to 0.9 and Spark 3.5 were seen to work on it together
PYSPARK_PYTHONS = (11, 10, 9, 8)  # the 3.x that PySpark 3.5 runs on, best first

EXIT_MISSING = 69  # sysexits.h: a thing needed is unavailable; callers may fall back on it


class Missing(Exception):
    """Something needed is not there and could not be installed."""


def say(message):
    print(message, file=sys.stderr, flush=True)


class step:
    """Announces a piece of work that takes a while, and then how long it took."""

    def __init__(self, title):
        self.title = title

    def __enter__(self):
        say(f"… {self.title}")
        self.began = time.monotonic()

    def __exit__(self, failure, *_):
        if failure is None:
            say(f"  done in {time.monotonic() - self.began:.0f} s")


def once(target, inputs, title, work):
    """Fills the directory `target` by `work`, unless that was completed from the same inputs."""
    mark = target / ".complete"
    key = hashlib.sha256(repr(inputs).encode()).hexdigest()
    if mark.exists() and mark.read_text() == key:
        return
    with step(title):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        work()
        mark.write_text(key)


def run(command, failure, kind=Missing, **env):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **env})
    if done.returncode:
        lines = done.stdout.splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines
        raise kind(f"{failure}\n    " + "\n    ".join(errors[:5]))


class Tool:
    """A program: what to call it, how to find it, and the Debian packages that bring it."""

    def __init__(self, what, find, *packages):
        self.what, self.find, self.packages = what, find, packages


def have(*wanted):
    """What was found of each tool, after installing all that is missing in one go."""
    missing = [tool for tool in wanted if not tool.find()]
    if missing:
        what = ", ".join(tool.what for tool in missing)
        packages = [name for tool in missing for name in tool.packages]
        if not packages or subprocess.run([HERE / "packages", what, *packages]).returncode:
            raise Missing(f"{what} could not be had")
        for tool in missing:
            if not tool.find():
                raise Missing(f"{tool.what} is not in {' '.join(tool.packages)} of this system")
    return [tool.find() for tool in wanted]


def _find_jdk():
    """The home of a JDK 17: $JAVA_HOME's, the PATH's, or any in /usr/lib/jvm."""
    homes = []
    if os.environ.get("JAVA_HOME"):
        homes.append(Path(os.environ["JAVA_HOME"]))
    if shutil.which("javac"):
        homes.append(Path(shutil.which("javac")).resolve().parent.parent)
    homes += sorted(Path("/usr/lib/jvm").glob(f"*{JAVA}*"))
    return next((home for home in homes if _java_version(home) == JAVA), None)


def _java_version(home):
    if not (home / "bin" / "javac").exists():
        return None
    banner = subprocess.run([home / "bin" / "javac", "-version"], capture_output=True, text=True)
    try:
        return int((banner.stdout or banner.stderr).split()[1].split(".")[0])
    except (IndexError, ValueError):
        return None


def _find_python():
    """A Python that PySpark 3.5 runs on and that can make virtual environments."""
    # Asked to do its work, not only looked for: version managers leave names that run nothing,
    # and Debian keeps venv in a package of its own.
    for minor in PYSPARK_PYTHONS:
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", "import ensurepip, venv"], text=True,
                                    capture_output=True).returncode == 0:
            return found
    return None


JDK = Tool(f"JDK {JAVA}", _find_jdk, f"openjdk-{JAVA}-jdk-headless")
MAVEN = Tool("Maven", lambda: shutil.which("mvn"), "maven")
PYTHON = Tool(f"Python 3.{PYSPARK_PYTHONS[-1]} to 3.{PYSPARK_PYTHONS[0]} with venv", _find_python,
              "python3.11", "python3.11-venv")
C_COMPILER = Tool("a C compiler", lambda: shutil.which("cc"), "gcc", "libc6-dev")
CARGO = Tool("Rust's cargo (https://rustup.rs says how to have it)", lambda: shutil.which("cargo"))
