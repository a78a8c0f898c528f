#!/usr/bin/env python3
"""CPU time of the gateway per request, beside nginx doing nothing but proxying.

    benches/beside_nginx.py [--gateway PATH] [--rounds N] [--seconds S] [--connections N]

Both proxies stand in front of the same upstream (an nginx that answers a session's state) and are asked by the same
load generator (wrk), in turns: nginx, gateway with Basic, gateway with a JWT, and again. What is compared is
user and system time of all processes of a proxy, divided by the requests it answered; the ratio is taken round by
round, so that a machine that slows down slows both. Everything listens on loopback. Needs nginx and wrk.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench import CONFIGURATION, JWT, NO_LIMITS, ROOT, Servers, basic, bearer, free_port, need, wait_for

UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} reuseport;
    default_type application/json;
    location / {{ return 200 '{{"id":0,"state":"idle","more":""}}'; }}
    # One session of alice's, under a name that a gateway gave it.
    location = /sessions {{ return 200 '{{"from":0,"total":1,"sessions":[{{"id":0,"name":"bench-gwaaaaaaaabbbbbbbbccccccccccccc","owner":"alice","proxyUser":"alice","state":"idle","kind":"spark","appId":null,"appInfo":{{}},"log":[]}}]}}'; }}
    location = /batches {{ return 200 '{{"from":0,"total":0,"sessions":[]}}'; }}
  }}
"""
PROXY = """
  upstream livy {{ server 127.0.0.1:{upstream}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{
      proxy_pass http://livy;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering on;
    }}
  }}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in descendants(int(child)))]


def cpu_seconds(pid):
    """User and system time of a process and its children, in seconds."""
    total = 0
    for each in descendants(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def load(port, path, seconds, connections, header=None):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
    if header:
        command[1:1] = ["-H", header]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        sys.exit(f"the load on port {port} met errors:\n{done}")
    return int(re.search(r"(\d+) requests in", done)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=ROOT / "target/release/livy-gateway", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    need(options.gateway, "nginx", "wrk")

    workers = os.cpu_count()
    with Servers() as servers:
        upstream, proxy, gateway, admin = (free_port() for _ in range(4))
        servers.nginx("upstream", UPSTREAM.format(port=upstream), workers)
        proxy_pid = servers.nginx("proxy", PROXY.format(port=proxy, upstream=upstream), workers)
        password, key = servers.password(options.gateway, ["alice"]), servers.signing_key()
        common = CONFIGURATION.format(port=gateway, admin=admin, upstream=upstream, reconcile="10s")
        gateway_pid = servers.gateway(options.gateway, common + NO_LIMITS + JWT)
        for port in (upstream, proxy, gateway):
            wait_for(port)
        contestants = {
            "nginx": (proxy_pid, proxy, "/sessions/0/state", None),
            "gateway, cached Basic": (gateway_pid, gateway, "/livy/sessions/0/state", basic("alice", password)),
            "gateway, cached JWT": (gateway_pid, gateway, "/livy/sessions/0/state", bearer(key, "alice")),
        }
        figures = {name: [] for name in contestants}
        rates = {name: [] for name in contestants}
        for number in range(options.rounds + 1):
            for name, (pid, port, path, header) in contestants.items():
                before, began = cpu_seconds(pid), time.monotonic()
                requests = load(port, path, options.seconds, options.connections, header)
                if number:  # the first round warms up
                    figures[name].append((cpu_seconds(pid) - before) / requests * 1e6)
                    rates[name].append(requests / (time.monotonic() - began))
        print(f"{'':24}{'CPU us/request':>16}{'min':>8}{'max':>8}{'ratio':>8}{'requests/s':>12}")
        for name, values in figures.items():
            ratio = statistics.median(mine / theirs for mine, theirs in zip(values, figures["nginx"]))
            print(f"{name:24}{statistics.median(values):16.1f}{min(values):8.1f}{max(values):8.1f}{ratio:8.2f}"
                  f"{statistics.median(rates[name]):12.0f}")
        urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).read()


if __name__ == "__main__":
    main()
