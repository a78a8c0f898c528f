#!/usr/bin/env python3
"""CPU time of the gateway per request, beside nginx doing nothing but proxying.

    benches/beside_nginx.py [--gateway PATH] [--rounds N] [--seconds S] [--connections N]

Both proxies stand in front of the same upstream (an nginx that answers a session's state) and are asked by the same
load generator (wrk), in turns: nginx, gateway with Basic, gateway with a JWT, and again. What is compared is
user and system time of all processes of a proxy, divided by the requests it answered; the ratio is taken round by
round, so that a machine that slows down slows both. Everything listens on loopback. Needs nginx and wrk.
"""
import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NGINX = """
daemon off;
worker_processes {workers};
error_log stderr crit;
pid {dir}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {dir}/{name}-body;
  proxy_temp_path {dir}/{name}-proxy;
  fastcgi_temp_path {dir}/{name}-fastcgi;
  uwsgi_temp_path {dir}/{name}-uwsgi;
  scgi_temp_path {dir}/{name}-scgi;
  keepalive_requests 100000000;
  {body}
}}
"""
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


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


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(secret):
    claims = {"iss": "https://bench.invalid/", "aud": "livy-gateway", "sub": "alice", "exp": int(time.time()) + 3600}
    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return text + "." + encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())


def gateway_files(directory, gateway, port, admin, upstream):
    secret = secrets.token_hex(32).encode()
    (directory / "hmac.key").write_bytes(secret)
    password = secrets.token_hex(12)
    hashed = subprocess.run([gateway, "hash-password"], input=password + "\n", capture_output=True, text=True, check=True)
    (directory / "users.htpasswd").write_text(f"alice:{hashed.stdout.strip().rpartition(':')[2]}\n")
    for name in ("hmac.key", "users.htpasswd"):
        (directory / name).chmod(0o600)
    (directory / "gateway.toml").write_text(f"""
[listen]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[livy]
url = "http://127.0.0.1:{upstream}"
[state]
store = "memory"
[basic]
users_file = "users.htpasswd"
[[jwt]]
name = "bench"
issuer = "https://bench.invalid/"
audience = ["livy-gateway"]
algorithms = ["HS256"]
keys = {{ secret = "file:hmac.key" }}
[[identity.map]]
from = "any"
livy_user = "${{subject}}"
""")
    basic = base64.b64encode(f"alice:{password}".encode()).decode()
    return f"Authorization: Basic {basic}", f"Authorization: Bearer {token(secret)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default=ROOT / "target/release/livy-gateway", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install -y --no-install-recommends nginx-light wrk")
    if not options.gateway.exists():
        sys.exit(f"{options.gateway} is missing: cargo build --release")

    workers = os.cpu_count()
    processes = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)

        def start(command, **more):
            processes.append(subprocess.Popen(command, **more))
            return processes[-1].pid

        def nginx(kind, body):
            conf = directory / f"{kind}.conf"
            conf.write_text(NGINX.format(workers=workers, dir=directory, name=kind, body=body))
            return start(["nginx", "-e", "stderr", "-c", conf])

        try:
            upstream, proxy, gateway, admin = (free_port() for _ in range(4))
            nginx("upstream", UPSTREAM.format(port=upstream))
            proxy_pid = nginx("proxy", PROXY.format(port=proxy, upstream=upstream))
            basic, bearer = gateway_files(directory, options.gateway, gateway, admin, upstream)
            gateway_pid = start([options.gateway, "serve", "--config", directory / "gateway.toml"],
                                env={**os.environ, "LIVY_GATEWAY_LOG": "off"})
            for port in (upstream, proxy, gateway):
                wait_for(port)
            contestants = {
                "nginx": (proxy_pid, proxy, "/sessions/0/state", None),
                "gateway, cached Basic": (gateway_pid, gateway, "/livy/sessions/0/state", basic),
                "gateway, cached JWT": (gateway_pid, gateway, "/livy/sessions/0/state", bearer),
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
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(timeout=40)


if __name__ == "__main__":
    main()
