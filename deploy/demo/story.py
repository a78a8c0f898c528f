"""The transcript: what alice and bob may and may not do, each answer checked.

The commands are run exactly as they are shown, with the demo's environment.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GATEWAY_ACCOUNT = "gw"  # what Livy calls the gateway: a superuser, so it may name whom it acts for


class Failed(Exception):
    """The demo cannot go on; the message says why."""


# ---- the transcript ------------------------------------------------------------------------------

COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
SHOWN_BODY_MAX = 1500  # characters; more of an answer would hide the story


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def tell(text=""):
    print(text, flush=True)


def heading(text):
    tell()
    tell(paint("1", f"== {text}"))


class Answer:
    """What a command printed; for `curl -i` also its status, header lines and body."""

    def __init__(self, text, exit_code):
        self.text, self.exit_code = text.replace("\r\n", "\n"), exit_code
        heads, rest = [], self.text
        while rest.startswith("HTTP/"):  # an interim 100 comes before the answer
            head, _, rest = rest.partition("\n\n")
            heads.append(head)
        self.head = heads[-1] if heads else ""
        self.body = rest
        self.status = int(self.head.split()[1]) if self.head else None

    def headers(self, name):
        return re.findall(rf"(?im)^{re.escape(name)}: *(.*)$", self.head)

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failed(f"the body is no JSON: {self.body[:200]!r}") from None


class Transcript:
    """Runs the commands that it shows, in one environment, and checks what they answer."""

    def __init__(self, environment):
        self.environment = environment

    def run(self, command):
        done = subprocess.run(["sh", "-c", command], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=200)
        return Answer(done.stdout, done.returncode)

    def show(self, command, status=None):
        tell()
        tell(paint("36", f"$ {command}"))
        answer = self.run(command)
        self.print_answer(answer)
        if status is not None:
            check(f"the status is {status}", answer.status == status)
        return answer

    def wait_for(self, command, claim, reached, hopeless, seconds):
        """Repeats a request each second until its JSON is as wanted; shows the last answer."""
        tell()
        tell(paint("36", f"$ {command}"))
        began = time.monotonic()
        while True:
            answer = self.run(command)
            took = time.monotonic() - began
            if answer.status != 200 or reached(answer.json()) or hopeless(answer.json()):
                break
            if took > seconds:
                self.print_answer(answer)
                raise Failed(f"after {seconds} s it is still not true that {claim}")
            time.sleep(1)
        if took >= 1:
            tell(f"# asked each second, for {took:.0f} s; the last answer:")
        self.print_answer(answer)
        check(claim, answer.status == 200 and reached(answer.json()))
        return answer

    @staticmethod
    def print_answer(answer):
        text = answer.text.rstrip("\n")
        if len(answer.body) > SHOWN_BODY_MAX:
            cut = len(answer.body) - SHOWN_BODY_MAX
            text = text[:-cut] + f" … ({cut} more characters)"
        tell(text)


def check(claim, holds):
    if not holds:
        raise Failed(f"expected that {claim}")
    tell(paint("32", f"  ok: {claim}"))


# ---- the story -----------------------------------------------------------------------------------

JSON = "-H 'Content-Type: application/json'"
STATEMENTS = {  # by what computes behind Livy: the code, and what it must print
    "spark": ('spark.range(1000).selectExpr("sum(id)").first()[0], sc.sparkUser()',
              "(499500, 'alice')"),
    "python": ("sum(range(1000))", "499500"),
    "nothing": ("1 + 1", "2"),
}
BATCH_SAYS = {"spark": "counted 1000 in Spark as bob", "python": "counted 1000 in plain Python",
              "nothing": None}
ENDED = ("dead", "error", "killed", "success")
EMPTY_LIST = {"from": 0, "total": 0, "sessions": []}
NO_SESSION = 4711  # more than the demo ever makes


def story(stage, livy, once):
    t = Transcript(stage.environment)
    tell()
    tell(f"The gateway listens on {stage.environment['GATEWAY']} in front of {livy.about}.")
    tell("alice and bob have passwords; their issuer's tokens are accepted too.")
    session = alice_computes(t, livy)
    bob_is_refused(t)
    bob_sees_nothing_of_alices(t, session)
    bob_runs_a_batch(t, livy, stage.directory / "files")
    alice_uses_a_token(t, session)
    a_refusal_is_explained(t)
    livy_saw_only_the_mapped_users(t)
    the_metrics_tell(t)
    if once:
        heading("alice deletes her session")
        deleted = t.show(f'curl -si -u "alice:$ALICE" -X DELETE "$GATEWAY/sessions/{session}"', 200)
        check("Livy says so", deleted.json() == {"msg": "deleted"})
    return session


def alice_computes(t, livy):
    heading("alice logs in with her password and creates a PySpark session")
    created = t.show('curl -si -u "alice:$ALICE" ' + JSON +
                     """ -d '{"kind":"pyspark"}' "$GATEWAY/sessions\"""", 201)
    session = created.json()["id"]
    check("Livy made it for alice", created.json().get("proxyUser") == "alice")
    check("Location is a path of the gateway",
          created.headers("Location") == [f"/livy/sessions/{session}"])

    t.wait_for(f'curl -si -u "alice:$ALICE" "$GATEWAY/sessions/{session}"', "the session is idle",
               lambda it: it["state"] == "idle", lambda it: it["state"] in ENDED, 240)

    heading("alice runs a statement")
    code, printed = STATEMENTS[livy.computes_with]
    posted = t.show(f'curl -si -u "alice:$ALICE" {JSON} -d {quoted({"code": code})} '
                    f'"$GATEWAY/sessions/{session}/statements"', 201)
    done = t.wait_for(f'curl -si -u "alice:$ALICE" '
                      f'"$GATEWAY/sessions/{session}/statements/{posted.json()["id"]}"',
                      "the statement is done", lambda it: it["state"] == "available",
                      lambda it: it["state"] == "cancelled", 180)
    output = done.json()["output"]
    check("it succeeded", output["status"] == "ok")
    check(f"its result is {printed}", output["data"].get("text/plain") == printed)
    return session


def bob_is_refused(t):
    heading("bob may not act as alice: not by doAs, not by proxyUser")
    by_query = t.show('curl -si -u "bob:$BOB" ' + JSON +
                      """ -d '{"kind":"pyspark"}' "$GATEWAY/sessions?doAs=alice\"""", 403)
    by_body = t.show('curl -si -u "bob:$BOB" ' + JSON +
                     """ -d '{"kind":"pyspark","proxyUser":"alice"}' "$GATEWAY/sessions\"""", 403)
    for refused in (by_query, by_body):
        denial = refused.json()
        check("the refusal has its code", denial.get("code") == "impersonation_refused")
        check("and names both users", "alice" in denial["msg"] and "bob" in denial["msg"])

    heading("a wrong password gets no further")
    wrong = t.show('curl -si -u "alice:guess" "$GATEWAY/sessions"', 401)
    challenges = wrong.headers("WWW-Authenticate")
    check("Basic is offered first, then Bearer",
          [challenge.split()[0] for challenge in challenges] == ["Basic", "Bearer"])


def bob_sees_nothing_of_alices(t, session):
    heading("to bob alice's session does not exist")
    listed = t.show('curl -si -u "bob:$BOB" "$GATEWAY/sessions"', 200)
    check("his list is empty, and so is its count", listed.json() == EMPTY_LIST)
    hers, none = (t.show(f'curl -si -u "bob:$BOB" "$GATEWAY/sessions/{number}/log"', 404)
                  for number in (session, NO_SESSION))
    check("hers answers as one that is not there",
          hers.json()["msg"].replace(f"'{session}'", f"'{NO_SESSION}'") == none.json()["msg"])
    t.show(f'curl -si -u "bob:$BOB" -X DELETE "$GATEWAY/sessions/{session}"', 404)


def bob_runs_a_batch(t, livy, files):
    heading("bob runs a batch")
    files.mkdir(exist_ok=True)
    shutil.copy(HERE / "count.py", files)
    body = quoted({"file": str(files / "count.py"), "args": ["1000"]})
    created = t.show(f'curl -si -u "bob:$BOB" {JSON} -d {body} "$GATEWAY/batches"', 201)
    batch = created.json()["id"]
    check("Livy runs it for bob", created.json().get("proxyUser") == "bob")
    t.wait_for(f'curl -si -u "bob:$BOB" "$GATEWAY/batches/{batch}/state"', "the batch succeeded",
               lambda it: it["state"] == "success", lambda it: it["state"] in ENDED, 240)
    says = BATCH_SAYS[livy.computes_with]
    if says is not None:
        log = t.show(f'curl -s -u "bob:$BOB" "$GATEWAY/batches/{batch}/log?from=0&size=1000" '
                     "| grep -o 'counted [^\"]*'")
        check("its log has the result", log.text.strip() == says)


def alice_uses_a_token(t, session):
    heading("alice with a token: as Bearer, and as the password of a client that knows no other")
    command = 'livy-gateway token --config "$CONFIG" --issuer demo --subject alice'
    tell()
    tell(paint("36", f"$ TOKEN=$({command})"))
    token = t.run(command)
    check("a token was made", token.exit_code == 0 and token.text.count(".") == 2)
    t.environment["TOKEN"] = token.text.strip()
    seen = t.show(f'curl -si -H "Authorization: Bearer $TOKEN" "$GATEWAY/sessions/{session}/state"',
                  200)
    check("it is her session", seen.json()["id"] == session)
    t.show(f'curl -si -u "alice:$TOKEN" "$GATEWAY/sessions/{session}/state"', 200)
    t.show(f'curl -si -H "Authorization: Bearer ${{TOKEN%?}}" "$GATEWAY/sessions/{session}/state"',
           401)


def a_refusal_is_explained(t):
    heading("why was bob refused? Asked of the configuration, without a request")
    told = t.show('livy-gateway explain --config "$CONFIG" --user bob '
                  "POST '/livy/sessions?doAs=alice'")
    check("it names the refusal", "impersonation_refused" in told.text)


def livy_saw_only_the_mapped_users(t):
    heading("what Livy itself holds, asked past the gateway")
    for kind, user in (("sessions", "alice"), ("batches", "bob")):
        held = t.show(f'curl -si "$LIVY/{kind}?user.name={GATEWAY_ACCOUNT}"', 200).json()
        check(f"its {kind} belong to {user} alone",
              [(it["owner"], it["proxyUser"]) for it in held["sessions"]]
              == [(GATEWAY_ACCOUNT, user)])


def the_metrics_tell(t):
    heading("the metrics of all this")
    metrics = t.show('curl -s "$ADMIN/metrics" | grep -E "^[a-z_]*(requests|denials)[a-z_]*_total"')
    check("the refusals were counted",
          re.search(r'denials[a-z_]*_total\{[^}]*impersonation_refused[^}]*\} 2\b', metrics.text))


def quoted(value):
    """JSON as one word of a shell."""
    return "'" + json.dumps(value).replace("'", "'\\''") + "'"
