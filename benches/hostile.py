#!/usr/bin/env python3
"""What a hostile user does to ten polite ones.

    benches/hostile.py [--gateway PATH] [--pairs N] [--seconds S] [flood] [writes] [passwords] [stuck] [many]

The gateway has its default limits; an nginx stands in Livy's place. Ten users ask five times a second each for the state
of their own session, in paired rounds: one without the hostile user, one with, and again.

    flood      one user reads at 50 times its limit
    writes     one user posts statements at 50 times its limit
    passwords  a stranger at another address tries 100 made-up logins a second
    stuck      Livy never answers one user, half of whose clients wait and half of whose leave and come again
    many       10 000 users are seen once each: not paired; what memory and which metrics that takes

What is claimed is checked, and a broken claim ends the run with a failure: polite users are always answered with 200, and
the hostile one gets what its limit lets through and is refused the rest. Times are shown and never a failure: waits of all
rounds together, and the median over the pairs of p90 with by p90 without, with its target. The hostile user is a process
of its own of low priority: its machine would be another one. Everything listens on loopback. Needs nginx.
"""
import argparse
import asyncio
import json
import multiprocessing
import os
import re
import secrets
import socket
import statistics
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from bench import CONFIGURATION, JWT, ROOT, Servers, basic, bearer, free_port, need, wait_for

UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} reuseport;
    default_type application/json;
    location / {{ return 200 '{{"id":0,"state":"idle"}}'; }}
    location ~ /statements$ {{ return 201 '{{"id":0,"state":"waiting","output":null}}'; }}
    location = /sessions {{ alias {dir}/sessions.json; }}
    location = /batches {{ return 200 '{{"from":0,"total":0,"sessions":[]}}'; }}
    {more}
  }}
"""
# Connections are accepted there, and nobody reads from them.
SILENCE = "location ^~ /sessions/{session}/ {{ proxy_pass http://127.0.0.1:{port}; proxy_read_timeout 1h; }}"
POLITE = [f"polite{number}" for number in range(10)]
POLITE_PER_SECOND = 5
HOSTILE = "mallory"
TARGET = 1.2
# [limits] as shipped.
READ_PER_SECOND, READ_BURST, READ_DELAY = 20, 100, 3
STATEMENTS_PER_SECOND, STATEMENT_BURST = 5, 60
FAILURES_PER_SECOND, FAILURE_BURST = 20 / 60, 20
# What is being checked while the last room is used up.
FAILURES_OWED = 64
SHARES, SHARES_OF_ONE = 128, 64
# More than a user may have under way: 60 of them are held back at most.
CONNECTIONS = 96
STUCK_CONNECTIONS = 96
PASSWORDS_PER_SECOND = 100
CROWD = 10_000
CROWD_OF_ONE_ADDRESS = 100
TOP_USERS = 10


class Claims:
    """What must hold. All that do not are shown, and fail the run at its end."""

    def __init__(self):
        self.broken = 0

    def check(self, holds, claim):
        if not holds:
            self.broken += 1
            print(f"  BROKEN: {claim}", flush=True)


class Site:
    """Where the gateway is and who may log in there."""

    def __init__(self, port, admin, password):
        self.port, self.admin, self.password = port, admin, password

    async def connect(self, address="127.0.0.1"):
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    def metrics(self):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10).read().decode()

    def metric(self, name):
        return int(float(re.search(rf"^{name} (\S+)$", self.metrics(), re.MULTILINE)[1]))

    def calm(self):
        """Waits until nothing of the last round is under way."""
        for _ in range(400):
            if not self.metric("livy_gateway_upstream_requests") and not self.metric("livy_gateway_delayed"):
                return
            time.sleep(0.1)
        sys.exit("requests of a round that is over are still under way")


async def ask(connection, method, path, head, body=""):
    """The status, the body, and whether the connection may be used again."""
    reader, writer = connection
    if body:
        head += f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: gw\r\n{head}\r\n\r\n{body}".encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", answer)
    content = await reader.readexactly(int(length[1]) if length else 0)
    return int(answer[9:12]), content, b"\r\nconnection: close" not in answer


# The polite


async def poll(site, number, until, waits, statuses):
    head, path = basic(POLITE[number], site.password), f"/livy/sessions/{number}/state"
    connection = await site.connect()
    period = 1 / POLITE_PER_SECOND
    # Spread over the period, as independent clients are.
    turn, ended = time.perf_counter() + period * (number * 0.618 % 1), 0.0
    while turn < until:
        await asyncio.sleep(max(0.0, turn - time.perf_counter()))
        # Whom the answer before kept from asking has waited since then.
        began = turn if ended > turn else time.perf_counter()
        status, _, _ = await ask(connection, "GET", path, head)
        ended = time.perf_counter()
        waits.append(ended - began)
        statuses[status] += 1
        turn += period
    connection[1].close()


async def round_of_polite(site, seconds):
    """Their waits, their statuses, and how many requests were at Livy in the midst of it."""
    waits, statuses = [], Counter()
    until = time.perf_counter() + seconds

    async def look():
        await asyncio.sleep(seconds / 2)
        return await asyncio.to_thread(site.metric, "livy_gateway_upstream_requests")

    at_livy, *_ = await asyncio.gather(look(), *(poll(site, n, until, waits, statuses) for n in range(len(POLITE))))
    return waits, statuses, at_livy


# The hostile


async def paced(site, per_second, seconds, connections, address, request):
    """Asks at a rate, as long as no more than so many requests are without an answer."""
    statuses, idle, under_way = Counter(), [None] * connections, set()

    async def one(connection):
        method, path, head, body, is_kept = request()
        try:
            connection = connection or await site.connect(address)
            status, _, lives = await ask(connection, method, path, head, body)
            statuses[status] += 1
        except (OSError, asyncio.IncompleteReadError):
            statuses["closed"] += 1
            lives = False
        if connection and not (lives and is_kept):
            connection[1].close()
            connection = None
        idle.append(connection)

    began, turns = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        due = int((now - began) * per_second) - turns
        turns += due
        for _ in range(min(due, len(idle))):
            task = asyncio.create_task(one(idle.pop()))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.sleep(0.005)
    await asyncio.gather(*under_way)
    return statuses


async def flood(site, seconds):
    call = ("GET", f"/livy/sessions/{len(POLITE)}/state", basic(HOSTILE, site.password), "", True)
    return await paced(site, 50 * READ_PER_SECOND, seconds, CONNECTIONS, "127.0.0.1", lambda: call)


async def writes(site, seconds):
    body = json.dumps({"code": "1 + 1"})
    call = ("POST", f"/livy/sessions/{len(POLITE)}/statements", basic(HOSTILE, site.password), body, True)
    return await paced(site, 50 * STATEMENTS_PER_SECOND, seconds, CONNECTIONS, "127.0.0.1", lambda: call)


async def passwords(site, seconds):
    def guess():
        head = basic(secrets.token_hex(4), secrets.token_hex(8))
        return "GET", "/livy/sessions/0/state", head, "", secrets.randbelow(2) == 0
    return await paced(site, PASSWORDS_PER_SECOND, seconds, CONNECTIONS, "127.0.0.2", guess)


async def stuck(site, seconds):
    statuses, until = Counter(), time.perf_counter() + seconds
    head, path = basic(HOSTILE, site.password), f"/livy/sessions/{len(POLITE)}/state"

    async def client(number):
        while time.perf_counter() < until:
            connection = await site.connect()
            try:
                patience = 0.5 if number % 2 else 30
                status, _, _ = await asyncio.wait_for(ask(connection, "GET", path, head), patience)
                statuses[status] += 1
            except asyncio.TimeoutError:
                statuses["left"] += 1
            except (OSError, asyncio.IncompleteReadError):
                statuses["closed"] += 1
            connection[1].close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(client(number) for number in range(STUCK_CONNECTIONS)))
    return statuses


def attack(hostile, site, seconds, outcome):
    os.nice(10)
    began = time.perf_counter()
    statuses = asyncio.run(hostile(site, seconds))
    outcome.send((statuses, time.perf_counter() - began))


# What must come of it, in one round and in all


def limited(per_second, burst, delay, done, refused):
    def check(claims, statuses, took, seconds, _):
        most = burst + per_second * (took + delay)
        # What no burst is left for comes at the rate itself.
        least = 0.8 * per_second * seconds
        claims.check(set(statuses) <= {done, *refused}, f"the hostile user gets {done} or is refused: {dict(statuses)}")
        claims.check(least <= statuses[done] <= most + 1, f"{least:.0f} to {most:.0f} are let through: {statuses[done]}")
        claims.check(sum(statuses.values()) > 1.5 * most, f"more is asked for than that: {sum(statuses.values())}")
    return check


def refused_logins(claims, statuses, *_):
    claims.check(set(statuses) <= {401, 429}, f"the stranger gets 401 and 429: {dict(statuses)}")


def held_to_a_part(claims, statuses, _, __, at_livy):
    claims.check(set(statuses) <= {429, 503, 504, "left"}, f"no answer but a refusal: {dict(statuses)}")
    most = SHARES_OF_ONE + len(POLITE)
    claims.check(SHARES_OF_ONE / 2 <= at_livy <= most, f"about {SHARES_OF_ONE} of {SHARES} requests are stuck: {at_livy}")


def few_hashes(claims, site, statuses, elapsed, _):
    most = FAILURE_BURST + FAILURES_OWED + FAILURES_PER_SECOND * elapsed
    hashed = site.metric("livy_gateway_passwords_checked_total") - len(POLITE)
    print(f"  hashed: {hashed} passwords of the stranger's")
    claims.check(FAILURE_BURST / 2 <= statuses[401] <= most, f"at most {most:.0f} are tried: {statuses[401]}")
    claims.check(hashed <= most, f"at most {most:.0f} are hashed: {hashed}")


def some_timeouts(claims, _, statuses, __, most_at_livy):
    print(f"  at Livy in the midst of a round: up to {most_at_livy} of {SHARES} requests")
    claims.check(statuses[504] > 0, "who waits is told that Livy did not answer")


def nothing_more(*_):
    pass


PAIRED = {
    "flood": (flood, limited(READ_PER_SECOND, READ_BURST, READ_DELAY, 200, {429, 503}), nothing_more),
    "writes": (writes, limited(STATEMENTS_PER_SECOND, STATEMENT_BURST, 0, 201, {429}), nothing_more),
    "passwords": (passwords, refused_logins, few_hashes),
    "stuck": (stuck, held_to_a_part, some_timeouts),
}


# Rounds


def row(number, owner):
    marker = f"{owner}-gwaaaaaaaabbbbbbbb" + f"{number:013}".translate(str.maketrans("0189", "wxyz"))
    return {"id": number, "name": marker, "appId": None, "owner": "gateway", "proxyUser": owner, "state": "idle",
            "kind": "pyspark", "appInfo": {"driverLogUrl": None, "sparkUiUrl": None}, "log": []}


def begin(servers, options, is_stuck=False):
    """Starts everything; gives back the site, the process of the gateway and the key of tokens."""
    rows = [row(number, owner) for number, owner in enumerate([*POLITE, HOSTILE])]
    (servers.directory / "sessions.json").write_text(json.dumps({"from": 0, "total": len(rows), "sessions": rows}))
    port, admin, upstream = (free_port() for _ in range(3))
    more = timeouts = ""
    if is_stuck:
        silence = servers.keep(socket.create_server(("127.0.0.1", 0), backlog=4096))
        more = SILENCE.format(session=rows[-1]["name"], port=silence.getsockname()[1])
        # Shorter than by default, so that the next round begins with nothing under way.
        timeouts = '[livy.timeouts]\nread = "2s"\n'
    servers.nginx("upstream", UPSTREAM.format(port=upstream, dir=servers.directory, more=more))
    wait_for(upstream)
    site = Site(port, admin, servers.password(options.gateway, [*POLITE, HOSTILE]))
    key = servers.signing_key()
    common = CONFIGURATION.format(port=port, admin=admin, upstream=upstream, reconcile="10s")
    pid = servers.gateway(options.gateway, common + timeouts + JWT)
    for each in (port, admin):
        wait_for(each)
    return site, pid, key


def quantiles(waits):
    cuts = statistics.quantiles(waits, n=100)
    return cuts[49], cuts[89], cuts[98]


def paired(name, options, claims):
    hostile, check, check_all = PAIRED[name]
    with Servers() as servers:
        site, _, _ = begin(servers, options, is_stuck=name == "stuck")
        began = time.perf_counter()
        asyncio.run(round_of_polite(site, 2))  # logins, and the first list
        without, with_it, ratios, hostile_all, most_at_livy = [], [], [], Counter(), 0
        for _ in range(options.pairs):
            waits, statuses, _ = asyncio.run(round_of_polite(site, options.seconds))
            claims.check(set(statuses) == {200}, f"alone the polite get 200: {dict(statuses)}")
            without.append(waits)

            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(target=attack, args=(hostile, site, options.seconds, theirs), daemon=True)
            process.start()
            theirs.close()
            waits, statuses, at_livy = asyncio.run(round_of_polite(site, options.seconds))
            claims.check(set(statuses) == {200}, f"the polite get 200: {dict(statuses)}")
            with_it.append(waits)
            if not ours.poll(60):
                sys.exit("the hostile user does not come to an end")
            statuses, took = ours.recv()
            process.join()
            check(claims, statuses, took, options.seconds, at_livy)
            hostile_all.update(statuses)
            most_at_livy = max(most_at_livy, at_livy)
            ratios.append(quantiles(waits)[1] / quantiles(without[-1])[1])
            site.calm()
        figures = [figure for rounds in (without, with_it) for figure in quantiles([w for waits in rounds for w in waits])]
        ratio = statistics.median(ratios)
        verdict = "met" if ratio <= TARGET else "missed"
        print(f"{name:12}" + "".join(f"{figure * 1e3:9.2f}" for figure in figures) + f"{ratio:9.2f}  {verdict}")
        total = sum(hostile_all.values())
        shares = ", ".join(f"{status} {count / total:.1%}" for status, count in hostile_all.most_common())
        print(f"  the hostile user: {total / options.pairs / options.seconds:.0f}/s: {shares}", flush=True)
        check_all(claims, site, hostile_all, time.perf_counter() - began, most_at_livy)


# A crowd


def resident(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


async def crowd(site, key, numbers):
    """Each of them logs in, asks for its sessions, and leaves; a hundred from each address."""
    statuses, turns = Counter(), iter(numbers)

    async def client():
        for number in turns:
            address = number // CROWD_OF_ONE_ADDRESS
            connection = await site.connect(f"127.1.{address // 250}.{address % 250 + 1}")
            status, content, _ = await ask(connection, "GET", "/livy/sessions", bearer(key, f"crowd{number}"))
            statuses[status if json.loads(content).get("sessions") == [] else f"{status} {content[:200]}"] += 1
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(32)))
    return statuses


def many(options, claims):
    with Servers() as servers:
        site, pid, key = begin(servers, options)
        at_start = resident(pid)
        first = asyncio.run(crowd(site, key, range(CROWD_OF_ONE_ADDRESS)))
        before, began = resident(pid), time.perf_counter()
        rest = asyncio.run(crowd(site, key, range(CROWD_OF_ONE_ADDRESS, CROWD)))
        took, after = time.perf_counter() - began, resident(pid)
        metrics = site.metrics()
        named = [(line.partition("{")[0], user) for line in metrics.splitlines() for user in re.findall(r"\bcrowd\d+\b", line)]
        families = {family: {user for of, user in named if of == family} for family, _ in named}
        users = site.metric("livy_gateway_users")
        print(f"many: {users} users, {(CROWD - CROWD_OF_ONE_ADDRESS) / took:.0f}/s; resident: {at_start:.1f} MiB at first, "
              f"{before:.1f} after {CROWD_OF_ONE_ADDRESS}, {after:.1f} after {CROWD}: "
              f"{(after - before) * 1024 / (CROWD - CROWD_OF_ONE_ADDRESS):.2f} KiB for each")
        most = max(map(len, families.values()), default=0)
        print(f"  metrics: {len(metrics.splitlines())} lines, {len(named)} with a user's name, of {most} users in any of "
              f"{len(families)} families", flush=True)
        claims.check(first + rest == Counter({200: CROWD}), f"everybody gets an empty list: {dict(first + rest)}")
        claims.check(users == CROWD, f"{CROWD} users are counted: {users}")
        claims.check(0 < most <= TOP_USERS, f"at most {TOP_USERS} users have their names in a family: {most}")


def main():
    scenarios = [*PAIRED, "many"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all, unless some are named")
    parser.add_argument("--gateway", default=ROOT / "target/release/livy-gateway", type=Path)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(scenarios):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenarios)}")
    need(options.gateway, "nginx")
    claims = Claims()
    chosen = [name for name in scenarios if name in (options.scenarios or scenarios)]
    if chosen != ["many"]:
        print(f"{'waited, ms':12}" + f"{'alone p50':>9}{'p90':>9}{'p99':>9}{'with p50':>9}{'p90':>9}{'p99':>9}"
              f"{'p90 ratio':>10} at most {TARGET}?", flush=True)
    for name in chosen:
        many(options, claims) if name == "many" else paired(name, options, claims)
    if claims.broken:
        sys.exit(f"{claims.broken} claims are broken")


if __name__ == "__main__":
    main()
