"""What the benchmarks share: servers on loopback that end with the run, and the gateway's configuration."""
import base64
import hashlib
import hmac
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
# Ends within [livy]: what is appended begins with more of its keys, or with another table.
CONFIGURATION = """
[listen]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[state]
store = "memory"
reconcile = "{reconcile}"
[basic]
users_file = "users.htpasswd"
[livy]
url = "http://127.0.0.1:{upstream}"
"""
# One user stands for many, so that what each may ask for would be measured instead of what the gateway costs.
NO_LIMITS = """
requests_at_once = 1000
[limits]
concurrent_requests = 100000
create = { rate = "1000000/s" }
statement = { rate = "1000000/s" }
read = { rate = "1000000/s" }
upload = { rate = "1000000/s" }
"""
JWT = """
[[jwt]]
name = "bench"
issuer = "https://bench.invalid/"
audience = ["livy-gateway"]
algorithms = ["HS256"]
keys = { secret = "file:hmac.key" }
[[identity.map]]
from = "any"
livy_user = "${subject}"
"""


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


def need(gateway, *tools):
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install -y --no-install-recommends nginx-light wrk")
    if not gateway.exists():
        sys.exit(f"{gateway} is missing: cargo build --release")


class Servers:
    """Servers and their files, for the length of a `with`."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.directory.chmod(0o755)
        self.processes = []
        self.kept = []
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=40)
        for each in self.kept:
            each.close()
        self.folder.cleanup()

    def start(self, command, **more):
        self.processes.append(subprocess.Popen(command, **more))
        return self.processes[-1].pid

    def keep(self, closable):
        self.kept.append(closable)
        return closable

    def nginx(self, name, body, workers=1):
        conf = self.directory / f"{name}.conf"
        conf.write_text(NGINX.format(workers=workers, dir=self.directory, name=name, body=body))
        return self.start(["nginx", "-e", "stderr", "-c", conf])

    def gateway(self, gateway, configuration):
        (self.directory / "gateway.toml").write_text(configuration)
        return self.start([gateway, "serve", "--config", self.directory / "gateway.toml"],
                          env={**os.environ, "LIVY_GATEWAY_LOG": "off"})

    def password(self, gateway, users):
        """One for all of these users: each hash takes tens of milliseconds."""
        password = secrets.token_hex(12)
        hashed = subprocess.run([gateway, "hash-password"], input=password + "\n", capture_output=True, text=True, check=True)
        digest = hashed.stdout.strip().rpartition(":")[2]
        self.secret("users.htpasswd", "".join(f"{user}:{digest}\n" for user in users).encode())
        return password

    def signing_key(self):
        key = secrets.token_hex(32).encode()
        self.secret("hmac.key", key)
        return key

    def secret(self, name, content):
        (self.directory / name).write_bytes(content)
        (self.directory / name).chmod(0o600)


def basic(user, password):
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(key, user):
    claims = {"iss": "https://bench.invalid/", "aud": "livy-gateway", "sub": user, "exp": int(time.time()) + 3600}
    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return "Authorization: Bearer " + text + "." + encoded(hmac.new(key, text.encode(), hashlib.sha256).digest())


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
