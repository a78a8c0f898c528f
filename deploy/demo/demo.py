"""The demo: a real Livy, the gateway in front of it, and a transcript of alice's and bob's calls.

Every answer is checked; the first that is not as expected ends the demo with exit code 1. Started
by `run`, whose first lines say which variables it obeys.
"""
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import tools
from story import GATEWAY_ACCOUNT, JSON, Failed, heading, paint, story, tell
from tools import say, step

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
# ---- what runs, and how it is stopped ------------------------------------------------------------

class Stage:
    """Everything this demo started. `clear` stops it, last started first."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="livy-gateway-demo-"))  # mode 0700
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.lower().endswith("_proxy")}  # all calls are to loopback
        self.stops = []
        self.gateway = None

    def start(self, name, command):
        """Starts a server of ours, its output in a file; it ends with the demo."""
        with (self.directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                       env=self.environment, start_new_session=True)
        self.stops.append(lambda: self.end(name, process))
        return process

    @staticmethod
    def end(name, process):
        ended_before = process.poll()
        process.terminate()
        try:
            code = process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"the {name} did not stop within 20 s of SIGTERM") from None
        if ended_before is not None:
            raise Failed(f"the {name} had ended by itself, with exit code {ended_before}")
        if name == "gateway" and code != 0:
            raise Failed(f"the {name} ended with exit code {code} on SIGTERM")

    def clear(self):
        """Stops everything, whatever fails on the way; returns what failed."""
        failures = []
        while self.stops:
            try:
                self.stops.pop()()
            except (Failed, OSError) as failure:
                failures.append(str(failure))
        return failures

    def log_tail(self, name):
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace").splitlines()[-20:] if path.exists() else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url):
    """The status of GET url on loopback; None when nobody answers."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(url, timeout=2).status
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return None


def wait_for_status(url, wanted, process, name, seconds=30):
    deadline = time.monotonic() + seconds
    while answers(url) not in wanted:
        if process.poll() is not None:
            raise Failed(f"the {name} ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"the {name} did not answer {url} within {seconds} s")
        time.sleep(0.1)


# ---- building and starting -----------------------------------------------------------------------

def build():
    """Builds the gateway and the simulated Livy; returns the directory of the binaries."""
    tools.have(tools.CARGO, tools.C_COMPILER)
    # Together, wanted or not: one set of features of what they share, compiled once.
    packages = ["-p", "livy-gateway", "-p", "fake-livy"]
    with step(f"cargo build --release {' '.join(packages)} (some minutes the first time)"):
        if subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", *packages],
                          cwd=PROJECT).returncode:
            raise Failed("cargo could not build the gateway")
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"],
                              cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Path(json.loads(metadata)["target_directory"]) / "release"


class Livy:
    """Where Livy is, and what computes behind it: "spark", "python", or "nothing" (simulated)."""

    def __init__(self, url, computes_with, about):
        self.url, self.computes_with, self.about = url, computes_with, about


def start_livy(stage, binaries, wanted, fast):
    if wanted == "simulated":
        return start_simulated_livy(stage, binaries)
    fake_spark = ["--fake-spark"] if fast else []
    installed = subprocess.run([HERE / "livy", "install", *fake_spark])
    if installed.returncode == tools.EXIT_MISSING:
        banner = "!" * 78
        say(f"{banner}\n!! NO REAL LIVY: what it needs could not be had, see above.\n"
            f"!! What follows runs against the SIMULATED Livy of the tests: no Spark, nothing\n"
            f"!! is computed. `make demo` tries the real one again.\n{banner}")
        return start_simulated_livy(stage, binaries)
    if installed.returncode:
        raise Failed("the real Livy could not be installed")

    port = free_port()
    with step("starting Livy (some seconds)"):
        # Announced before it is started: a Ctrl-C in between must not leave it behind.
        stage.stops.append(lambda: subprocess.run([HERE / "livy", "stop", "--port", str(port)],
                                                  stderr=subprocess.DEVNULL))
        started = subprocess.run(
            [HERE / "livy", "start", *fake_spark, "--port", str(port),
             "--files", stage.directory / "files",
             "--auth", "pseudo", "--superuser", GATEWAY_ACCOUNT, "--impersonation"],
            stdout=subprocess.DEVNULL)
    if started.returncode:
        raise Failed("the real Livy did not start")
    if fast:
        return Livy(f"http://127.0.0.1:{port}", "python", "a real Livy with plain Python for Spark")
    return Livy(f"http://127.0.0.1:{port}", "spark", "a real Livy with real Spark")


def start_simulated_livy(stage, binaries):
    port = free_port()
    livy = stage.start("simulated Livy", [
        binaries / "fake-livy", "--port", str(port),
        "--auth", "pseudo", "--access-control", "--superuser", GATEWAY_ACCOUNT, "--impersonation"])
    wait_for_status(f"http://127.0.0.1:{port}/version?user.name={GATEWAY_ACCOUNT}", [200], livy,
                    "simulated Livy")
    return Livy(f"http://127.0.0.1:{port}", "nothing", "a simulated Livy")


CONFIGURATION = """\
[listen]
address = "127.0.0.1:{port}"

[admin]
address = "127.0.0.1:{admin_port}"

[livy]
url = "{livy}"
authenticate = {{ kind = "simple", user = "{account}" }}

[state]
directory = "state"

[basic]
users_file = "users.htpasswd"

[[jwt]]
name = "demo"
issuer = "https://login.demo.example/"
audience = ["livy-gateway"]
algorithms = ["HS256"]
keys = {{ secret = "file:hmac.key" }}
user_claim = "sub"
as_basic_password = true

[[identity.map]]
from = "basic"
livy_user = "${{subject}}"

[[identity.map]]
from = "jwt:demo"
livy_user = "${{subject}}"
"""


def start_gateway(stage, binaries, livy):
    binary = binaries / "livy-gateway"
    port, admin_port = free_port(), free_port()
    config = stage.directory / "gateway.toml"
    config.write_text(CONFIGURATION.format(port=port, admin_port=admin_port, livy=livy.url,
                                           account=GATEWAY_ACCOUNT))
    key = stage.directory / "hmac.key"
    key.touch(mode=0o600)
    key.write_text(secrets.token_hex(32))
    users = stage.directory / "users.htpasswd"
    passwords = {name: secrets.token_urlsafe(12) for name in ("alice", "bob")}
    for name, password in passwords.items():
        if subprocess.run([binary, "users", "add", "--file", users, name],
                          input=password + "\n", text=True).returncode:
            raise Failed(f"`livy-gateway users add` refused {name}")
    with step("starting the gateway"):
        stage.gateway = stage.start("gateway", [binary, "serve", "--config", config])
        wait_for_status(f"http://127.0.0.1:{admin_port}/ready", [200], stage.gateway, "gateway")

    stage.environment.update(
        GATEWAY=f"http://127.0.0.1:{port}/livy", ADMIN=f"http://127.0.0.1:{admin_port}",
        LIVY=livy.url, ALICE=passwords["alice"], BOB=passwords["bob"], CONFIG=str(config),
        PATH=f"{binaries}:{stage.environment.get('PATH', '')}")


def stay_up(stage, session):
    e = stage.environment
    heading("it stays up; paste these into another shell, Ctrl-C here ends it")
    tell(f"""
export GATEWAY={e["GATEWAY"]} ADMIN={e["ADMIN"]} NO_PROXY=127.0.0.1
export ALICE={e["ALICE"]} BOB={e["BOB"]}
export CONFIG={e["CONFIG"]}
export PATH={e["PATH"].split(":")[0]}:$PATH
curl -u "alice:$ALICE" "$GATEWAY/sessions"
curl -u "alice:$ALICE" {JSON} -d '{{"code":"1 + 1"}}' "$GATEWAY/sessions/{session}/statements"
curl -u "alice:$ALICE" "$GATEWAY/sessions/{session}/statements"
curl -u "bob:$BOB" -X DELETE "$GATEWAY/batches/0"
curl -i -u "bob:$BOB" "$GATEWAY/nonsense"
livy-gateway explain --config "$CONFIG" --user bob GET /livy/metrics
livy-gateway show --config "$CONFIG"
tail -f {stage.directory}/gateway.log""")
    while stage.gateway.poll() is None:
        time.sleep(0.5)


# ---- the end -------------------------------------------------------------------------------------

def play(stage, wanted, fast, once):
    binaries = build()
    livy = start_livy(stage, binaries, wanted, fast)
    start_gateway(stage, binaries, livy)
    session = story(stage, livy, once)
    if not once:
        stay_up(stage, session)
    return livy


def main():
    wanted = os.environ.get("LIVY") or "real"
    once = os.environ.get("ONCE", "0") not in ("", "0")
    fast = os.environ.get("FAST", "0") not in ("", "0")
    if wanted not in ("real", "simulated"):
        sys.exit(f"demo: LIVY={wanted}: write simulated, or leave it out")

    def interrupted(*_):
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: background jobs ignore it
        signal.signal(number, interrupted)
    began = time.monotonic()
    stage = Stage()
    failure = None
    exit_code = 0
    try:
        livy = play(stage, wanted, fast, once)
    except (Failed, tools.Missing, subprocess.TimeoutExpired, subprocess.CalledProcessError,
            OSError, KeyError) as e:
        failure = str(e) if not isinstance(e, KeyError) else f"the answer has no {e}"
    except KeyboardInterrupt:
        tell()
        exit_code = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the clearing up is not to be cut short
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log = stage.log_tail("gateway")
    leftovers = stage.clear()
    for problem in ([failure] if failure else []) + leftovers:
        exit_code = 1
        tell(paint("31", f"\nNOT AS EXPECTED: {problem}"))
    if exit_code == 1 and log:
        tell("The end of the gateway's log:\n    " + "\n    ".join(log))
    if exit_code == 1:
        tell(f"Configuration and logs are in {stage.directory}")
    else:
        shutil.rmtree(stage.directory, ignore_errors=True)
    if exit_code == 0:
        tell(f"\nEvery answer was as expected, before {livy.about}; all is stopped. "
             f"{time.monotonic() - began:.0f} s.")
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
