"""The programs that a real Livy needs, and how they are had: Java 17, Maven, a Python for PySpark.

Each function returns what it found. What is missing is installed by apt when we are root; else
`Missing` names it with the line to run. Nothing is ever installed without saying so.
"""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

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


def jdk():
    """The home of a JDK 17: $JAVA_HOME's, the PATH's, or any in /usr/lib/jvm."""
    return _need(f"JDK {JAVA}", _find_jdk, f"openjdk-{JAVA}-jdk-headless")


def maven():
    return _need("Maven", lambda: shutil.which("mvn"), "maven")


def python_for_pyspark():
    """A Python between 3.8 and 3.11 that can make virtual environments."""
    versions = f"Python 3.{PYSPARK_PYTHONS[-1]} to 3.{PYSPARK_PYTHONS[0]} with venv"
    return _need(versions, _find_python, "python3.11", "python3.11-venv")


def curl():
    return _need("curl", lambda: shutil.which("curl"), "curl")


def c_compiler():
    return _need("a C compiler", lambda: shutil.which("cc"), "gcc", "libc6-dev")


def cargo():
    found = shutil.which("cargo")
    if not found:
        raise Missing("Rust (cargo) is missing; https://rustup.rs says how to install it")
    return found


def _need(what, find, *packages):
    found = find()
    if found:
        return found
    line = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if not shutil.which("apt-get"):
        raise Missing(f"{what} is missing, and there is no apt-get to install it with")
    if os.geteuid() != 0:
        raise Missing(f"{what} is missing; run this, then try again:\n"
                      f"    sudo apt-get update && sudo {line}")
    with step(f"{what} is missing: apt-get install {' '.join(packages)} (up to some minutes)"):
        _apt("update", "-q")
        _apt(*line.split()[1:])
    found = find()
    if not found:
        raise Missing(f"{what} is still missing after `{line}`")
    return found


def _apt(*arguments):
    done = subprocess.run(["apt-get", *arguments], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        end = "\n    ".join(done.stdout.splitlines()[-5:])
        raise Missing(f"`apt-get {' '.join(arguments)}` failed:\n    {end}")


def _find_jdk():
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
    # Asked to do its work, not only looked for: version managers leave names that run nothing,
    # and Debian keeps venv in a package of its own.
    for minor in PYSPARK_PYTHONS:
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", "import ensurepip, venv"], text=True,
                                    capture_output=True).returncode == 0:
            return found
    return None
