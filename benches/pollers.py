#!/usr/bin/env python3
"""Lists and states among ten thousand sessions, with two hundred pollers of one tenant.

    benches/pollers.py [--gateway PATH] [--sessions N] [--owners N] [--pollers N] [--seconds S] [--direct]

An nginx in Livy's place lists the sessions from a file. Each poller asks once a second for the tenant's list and for
the state of one of its sessions, as a notebook does; other users ask for states all the time. Told are the times that
all of them waited, alone and together; how often Livy was asked for a list; and the CPU time that one such list takes
the gateway, fetched, read, compared and shown, from the scheduler's own count for the thread that does it. Everything
listens on loopback. Needs nginx.
"""
import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from bench import CONFIGURATION, NO_LIMITS, ROOT, Servers, basic, free_port, need, wait_for

UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} reuseport;
    default_type application/json;
    location / {{ return 200 '{{"id":0,"state":"idle"}}'; }}
    location = /sessions {{ access_log {dir}/lists.log; alias {dir}/sessions.json; }}
    location = /batches {{ return 200 '{{"from":0,"total":0,"sessions":[]}}'; }}
  }}
"""
OTHERS = 20
OTHERS_PER_SECOND = 20


def row(number, owner):
    """About as much as Livy 0.9 shows of a session with a few settings and the last lines of its log."""
    settings = {f"spark.setting.{i}": "a value of some length" for i in range(5)}
    log = [f"26/11/26 16:00:{i:02} INFO Client: Application report for application_1700000000000_{number:04}" for i in range(10)]
    return {"id": number, "name": f"notebook-gwaaaaaaaabbbbbbbb{number:013}".translate(str.maketrans("0189", "wxyz")),
            "appId": None, "owner": "gateway", "proxyUser": owner, "state": "idle", "kind": "pyspark",
            "appInfo": {"driverLogUrl": None, "sparkUiUrl": None}, "log": log, "conf": settings}


def owned(directory, options):
    """Writes the list; gives back whose ids are whose."""
    owners = ["alice", "bob"] + [f"user{i}" for i in range(options.owners - 2)]
    rows = [row(number, owners[number % len(owners)]) for number in range(options.sessions)]
    if options.direct:
        rows = [{**row, "name": None} for row in rows]
    (directory / "sessions.json").write_text(json.dumps({"from": 0, "total": len(rows), "sessions": rows}))
    return {user: [r["id"] for r in rows if r["proxyUser"] == user] for user in owners[:2]}


async def ask(connection, path, head):
    reader, writer = connection
    began = time.perf_counter()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: gw\r\n{head}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    took = time.perf_counter() - began
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"{path}: {answer.decode()}{body.decode()}")
    return took, body


async def every(period, offset, until, do):
    """At a rate of its own, whatever the answers take."""
    turn = time.perf_counter() + offset
    while turn < until:
        await asyncio.sleep(max(0.0, turn - time.perf_counter()))
        await do()
        turn += period


class Load:
    def __init__(self, port, password, ids):
        self.port, self.ids = port, ids
        self.heads = {user: basic(user, password) for user in ids}
        self.waits = {}

    async def client(self, user, number, period, until, paths):
        connection = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        own = self.ids[user][number % len(self.ids[user])]

        async def do():
            for name, path in paths:
                took, body = await ask(connection, path.format(own=own), self.heads[user])
                if name == "list" and body.count(b'"proxyUser"') != len(self.ids[user]):
                    sys.exit("a list is not the tenant's own")
                self.waits.setdefault(name, []).append(took)

        # Spread over the period, as independent clients are.
        await every(period, period * (number * 0.618 % 1), until, do)
        connection[1].close()

    async def run(self, seconds, pollers):
        self.waits = {}
        until = time.perf_counter() + seconds
        polls = [("list", "/livy/sessions?size=100000"), ("state", "/livy/sessions/{own}/state")]
        others = [("others", "/livy/sessions/{own}/state")]
        clients = [self.client("alice", n, 1.0, until, polls) for n in range(pollers)]
        clients += [self.client("bob", n, 1 / OTHERS_PER_SECOND, until, others) for n in range(OTHERS)]
        await asyncio.gather(*clients)
        return self.waits


def thread(pid, name):
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return task
    sys.exit(f"the gateway has no thread {name}")


def cpu(task):
    return int((task / "schedstat").read_text().split()[0]) / 1e9


def show(name, waits):
    cuts = statistics.quantiles(waits, n=1000)
    figures = [cuts[499], cuts[899], cuts[989], max(waits)]
    print(f"{name:34}{len(waits):8}" + "".join(f"{figure * 1e3:9.2f}" for figure in figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=ROOT / "target/release/livy-gateway", type=Path)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--owners", type=int, default=200)
    parser.add_argument("--pollers", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--direct", action="store_true", help="sessions that were created around the gateway")
    options = parser.parse_args()
    need(options.gateway, "nginx")
    with Servers() as servers:
        directory = servers.directory
        port, admin, upstream = (free_port() for _ in range(3))
        ids = owned(directory, options)
        password = servers.password(options.gateway, ids)
        servers.nginx("upstream", UPSTREAM.format(port=upstream, dir=directory))
        wait_for(upstream)
        common = CONFIGURATION.format(port=port, admin=admin, upstream=upstream, reconcile="10m")
        pid = servers.gateway(options.gateway, common + NO_LIMITS)
        wait_for(port)
        run(options, Load(port, password, ids), pid, directory)


def run(options, load, pid, directory):
    def lists():
        return len((directory / "lists.log").read_text().splitlines())

    asyncio.run(load.run(2, 2))  # logins, and the first list
    reconciler = thread(pid, "lists")
    alone = asyncio.run(load.run(options.seconds, 0))
    before, spent, began = lists(), cpu(reconciler), time.monotonic()
    together = asyncio.run(load.run(options.seconds, options.pollers))
    passes, took = lists() - before, time.monotonic() - began
    size = (directory / "sessions.json").stat().st_size / 1e6
    print(f"{options.sessions} sessions of {options.owners} owners, a list of {size:.1f} MB; {options.pollers} pollers")
    print(f"{'waited, ms':34}{'requests':>8}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
    show("others' states, no lists", alone["others"])
    show("others' states, beside the pollers", together["others"])
    show("the tenant's states", together["state"])
    show("the tenant's lists", together["list"])
    print(f"lists asked of Livy: {passes} in {took:.1f} s; CPU for each: {(cpu(reconciler) - spent) / passes * 1e3:.0f} ms")
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("VmRSS", "VmHWM")):
            print(line.replace("\t", " "))


if __name__ == "__main__":
    main()
