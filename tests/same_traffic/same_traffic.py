"""The same requests through nginx, HAProxy, Envoy and evenkeel, each with its file from docs/config-examples: who gets how
many, and who gets what a dead backend leaves behind. Called by `run`.

Nothing is drawn here: users have fixed names. Where a program draws, its share must lie in the band of a binomial
distribution, four standard deviations to each side: one run in 16,000 strays from it by chance.
"""

import collections
import contextlib
import http.client
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(HERE, "..", "..", "docs", "config-examples")
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml", "evenkeel": "evenkeel.toml"}
# In the examples backends listen on 10.0.x.y:8080 and the balancer on 8000. Here 10 is 127 and the rest is below, so that
# two runs on one machine do not meet.
SECOND = 1 + os.getpid() % 250

failures = []


def say(text):
    print(text, flush=True)


def expect(what, holds, seen):
    say(f"    {'ok    ' if holds else 'FAILED'} {what}: {seen}")
    if not holds:
        failures.append(what)


def free_port():
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        return one.getsockname()[1]


BACKEND = r"""
import asyncio, sys
name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            close = b"connection: close" in head.lower() or b" HTTP/1.0" in head
            end = b"connection: close\r\n" if close else b""
            body = name.encode()
            writer.write(b"HTTP/1.1 200 OK\r\n" + end + b"content-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, address, port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def stop(process):
    """Ends a process that was started here, by its id, with what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Backends:
    """A process for each address that an example names; its answers hold the address as the example has it."""

    def __init__(self, names, port):
        self.processes = {}
        for name in names:
            address = name.replace("10.0.", f"127.{SECOND}.")
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-c", BACKEND, name, address, str(port)], stdout=subprocess.PIPE, start_new_session=True
            )
        for process in self.processes.values():
            process.stdout.readline()

    def kill(self, *names):
        for name in names:
            stop(self.processes.pop(name))

    def close(self):
        self.kill(*list(self.processes))


class Program:
    def __init__(self, program, task, folder, backend_port, edit=None):
        with open(os.path.join(EXAMPLES, task, FILES[program])) as file:
            text = file.read()
        self.port = free_port()
        text = re.sub(r"\b10\.0\.(\d+\.\d+)\b", rf"127.{SECOND}.\1", text)
        text = re.sub(r"\b8080\b", str(backend_port), text)
        text = re.sub(r"\b8000\b", str(self.port), text)
        if edit:
            changed = edit(text)
            assert changed != text, f"the edit of {task} for {program} changes nothing"
            text = changed
        home = os.path.join(folder, f"{task}-{program}-{self.port}")
        os.makedirs(home)
        path = os.path.join(home, FILES[program])
        with open(path, "w") as file:
            file.write(text)
        command = {
            "nginx": ["nginx", "-e", "stderr", "-p", home + "/", "-c", path,
                      "-g", f"daemon off; pid {home}/pid; error_log stderr crit;"],
            "haproxy": ["haproxy", "-db", "-f", path],
            "envoy": [os.environ["EVENKEEL_ENVOY"], "-c", path, "-l", "error", "--use-dynamic-base-id",
                      "--concurrency", "1"],
            "evenkeel": [os.environ["EVENKEEL_SAME_TRAFFIC"], path],
        }[program]
        self.log = open(os.path.join(home, "log"), "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)
        self.client = None
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.log.seek(0)
        raise SystemExit(f"{program} did not start: {self.log.read()}")

    def get(self, path="/", **headers):
        """The backend that answered, or the status if it is not 200."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        for attempt in range(2):
            if self.client is None:
                self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                self.client.request("GET", path, headers=headers)
                answer = self.client.getresponse()
                body = answer.read().decode()
                if answer.will_close:
                    self.client.close()
                    self.client = None
                return body if answer.status == 200 else str(answer.status)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was kept and is gone: the balancer's right, once.
                self.client = None
                if attempt == 1:
                    return "no answer"
        return "no answer"

    def close(self):
        if self.client:
            self.client.close()
        stop(self.process)
        self.log.close()


@contextlib.contextmanager
def running(program, task, names, edit=None):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        backends = Backends(names, port)
        try:
            started = Program(program, task, folder, port, edit)
            try:
                yield started, backends
            finally:
                started.close()
        finally:
            backends.close()


def shares(answers):
    return dict(sorted(collections.Counter(answers).items()))


def short(counts):
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def near(counts, wanted, slack):
    """Whether everybody has what is wanted, give or take the slack, and nobody else has anything."""
    return set(counts) <= set(wanted) and all(abs(counts.get(name, 0) - want) <= slack for name, want in wanted.items())


def band(n, p):
    return 4 * math.sqrt(n * p * (1 - p))


def is_rotation(one, other):
    return len(one) == len(other) and any(one[turn:] + one[:turn] == other for turn in range(len(one)))


ALL = ["evenkeel", "nginx", "haproxy", "envoy"]


def weighted_with_backup():
    say("weighted-with-backup: 5 : 3 : 2 and a backup")
    a, b, c, backup = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.9.1"
    cycles = {}
    for program in ALL:
        with running(program, "weighted-with-backup", [a, b, c, backup]) as (balancer, backends):
            settle(balancer)
            answers = [balancer.get() for _ in range(1000)]
            counts = shares(answers)
            # Whole cycles: exact. Envoy's order of deadlines and HAProxy's tree may have one request more or less at the ends.
            expect(f"{program}, 1000 requests are 500, 300, 200", near(counts, {a: 500, b: 300, c: 200}, 0 if program in ("evenkeel", "nginx") else 2), short(counts))
            cycles[program] = answers[:10]
            backends.kill(a)
            counts = shares(balancer.get() for _ in range(500))
            # evenkeel gives the turns of who is out to others by their weights, at random: a band. The others compute anew.
            slack = band(500, 0.6) if program == "evenkeel" else 4
            expect(f"{program}, without a: 300 and 200 give or take {slack:.0f}, none lost", near(counts, {b: 300, c: 200}, slack), short(counts))
            backends.kill(b, c)
            counts = shares(balancer.get() for _ in range(200))
            expect(f"{program}, without a, b, c: all to the backup", counts == {backup: 200}, short(counts))
    letters = {program: "".join("abc"[[a, b, c].index(name)] for name in cycle) for program, cycle in cycles.items()}
    expect("evenkeel's order is nginx's", is_rotation(letters["evenkeel"], letters["nginx"]), letters)


def settle(balancer):
    """Waits until the program answers from a backend: Envoy and HAProxy check first."""
    for _ in range(100):
        if not balancer.get().isdigit():
            return
        time.sleep(0.05)


def consistent_hash_header():
    say("consistent-hash-header: 2000 users, each twice")
    names = [f"10.0.0.{n}" for n in (1, 2, 3, 4)]
    users = [f"user-{n}" for n in range(2000)]
    placed = {}
    for program in ALL:
        with running(program, "consistent-hash-header", names) as (balancer, backends):
            settle(balancer)
            first = {user: balancer.get(x_user=user) for user in users}
            again = {user: balancer.get(x_user=user) for user in users}
            placed[program] = first
            expect(f"{program}, each user at one server", first == again, f"{sum(first[u] == again[u] for u in users)} of {len(users)}")
            counts = shares(first.values())
            # 160 points a server stray by 8 %, Envoy's 256 by 6 %: within 30 %.
            expect(f"{program}, shares within 30 % of 500", near(counts, {name: 500 for name in names}, 150), short(counts))
            backends.kill(names[3])
            after = {user: balancer.get(x_user=user) for user in users}
            stayed = sum(after[user] == first[user] for user in users if first[user] != names[3])
            others = sum(first[user] != names[3] for user in users)
            moved = shares(after[user] for user in users if first[user] == names[3])
            if program == "envoy":
                # Its ring is made anew for those that are healthy, with more points each.
                expect("envoy, without d: most users of a, b, c stay, but not all", 0.75 * others <= stayed < others, f"{stayed} of {others}")
            else:
                expect(f"{program}, without d: users of a, b, c stay", stayed == others, f"{stayed} of {others}")
            expect(f"{program}, users of d go to all others, none lost", set(moved) == set(names[:3]), short(moved))
    # With the policy that picks as the other program does, every user is at the same server.
    policy = re.compile(r'policy = \{ type = "ring_hash".*\}')
    for program, line in {
        "nginx": 'policy = { type = "nginx", method = "hash_consistent" }',
        "haproxy": 'policy = { type = "haproxy", balance = "hash", hash_type = { method = "consistent", avalanche = true } }',
        "envoy": 'policy = { type = "envoy", policy = { ring_hash = { minimum_ring_size = 1024 } } }',
    }.items():
        # Rings are made of addresses and ports (nginx, Envoy) or of numbers (HAProxy), so both are started anew on the same.
        with same_place(names) as port, tempfile.TemporaryDirectory() as folder:
            theirs = Program(program, "consistent-hash-header", folder, port)
            ours = Program("evenkeel", "consistent-hash-header", folder, port, lambda text: policy.sub(line, text))
            try:
                settle(theirs)
                equal = sum(theirs.get(x_user=user) == ours.get(x_user=user) for user in users)
            finally:
                theirs.close()
                ours.close()
            expect(f"evenkeel as {program}, users at the same server", equal == len(users), f"{equal} of {len(users)}")


@contextlib.contextmanager
def same_place(names):
    port = free_port()
    backends = Backends(names, port)
    try:
        yield port
    finally:
        backends.close()


def path_host_canary():
    say("path-host-canary: 4000 users, of whom 5 % see the next version")
    static, one, two, new = "10.0.3.1", "10.0.1.1", "10.0.1.2", "10.0.2.1"
    users = [f"user-{n}" for n in range(4000)]
    for program in ALL:
        with running(program, "path-host-canary", [static, one, two, new]) as (balancer, backends):
            def get(path, host="shop.example", **headers):
                return balancer.get(path, host=host, **headers)

            for _ in range(100):
                if get("/api", x_canary="yes") == new:
                    break
                time.sleep(0.05)
            seen = {
                "/static/a.css": get("/static/a.css"),
                "/api as a tester": get("/api", x_canary="yes"),
                "/": get("/"),
                "/apix": get("/apix"),
                "another host": get("/api", host="other.example"),
            }
            wanted = {"/static/a.css": static, "/api as a tester": new, "/": "404", "/apix": "404", "another host": "404"}
            expect(f"{program}, routes", seen == wanted, seen)
            first = {user: get("/api/x", x_user=user) for user in users}
            counts = shares(first.values())
            canary = counts.get(new, 0)
            slack = band(len(users), 0.05)
            expect(f"{program}, 200 give or take {slack:.0f} see the new version", abs(canary - 200) <= slack, short(counts))
            expect(f"{program}, the rest is halved", abs(counts.get(one, 0) - counts.get(two, 0)) <= 2, short(counts))
            again = {user: get("/api/x", x_user=user) for user in users}
            same = sum((first[user] == new) == (again[user] == new) for user in users)
            if program == "envoy":
                expect("envoy, users do not stay, as its README says", same < len(users), f"{same} of {len(users)}")
            else:
                expect(f"{program}, users stay in their arm", same == len(users), f"{same} of {len(users)}")
            backends.kill(new)
            # Two checks at 1 s.
            time.sleep(0 if program == "nginx" else 3.5)
            counts = shares(get("/api/x", x_user=user) for user in users)
            expect(f"{program}, without the new version: all to the old one, none lost", near(counts, {one: 2000, two: 2000}, 20), short(counts))


def zone_failover():
    say("zone-failover: zone a, then zone b, then far away")
    a1, a2, b1, b2, far = "10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.2.2", "10.0.3.1"
    n = 1000
    for program in ALL:
        with running(program, "zone-failover", [a1, a2, b1, b2, far]) as (balancer, backends):
            settle(balancer)
            # Until the checks of all have passed.
            time.sleep(1)
            ask = lambda: shares(balancer.get() for _ in range(n))
            counts = ask()
            expect(f"{program}, all at home, halved", near(counts, {a1: n / 2, a2: n / 2}, 2), short(counts))
            backends.kill(a1)
            # Two failed checks, 1 s and 0.2 s after each other, and their time limits.
            time.sleep(3)
            counts = ask()
            if program in ("evenkeel", "envoy"):
                # Half of a zone can bear 70 %: 140 % of what it has.
                slack = band(n, 0.7)
                away = counts.get(b1, 0) + counts.get(b2, 0)
                expect(f"{program}, half of zone a bears 70 %, zone b the rest, give or take {slack:.0f}",
                       set(counts) <= {a2, b1, b2} and abs(counts.get(a2, 0) - 0.7 * n) <= slack and abs(counts.get(b1, 0) - away / 2) <= 2, short(counts))
            else:
                expect(f"{program}, half of zone a bears everything", counts == {a2: n}, short(counts))
            backends.kill(a2)
            time.sleep(3)
            counts = ask()
            expect(f"{program}, without zone a all in zone b, halved", near(counts, {b1: n / 2, b2: n / 2}, 6), short(counts))
            backends.kill(b1, b2)
            time.sleep(3)
            counts = ask()
            expect(f"{program}, without zones a and b all far away", counts == {far: n}, short(counts))


TESTS = {
    "weighted-with-backup": weighted_with_backup,
    "consistent-hash-header": consistent_hash_header,
    "path-host-canary": path_host_canary,
    "zone-failover": zone_failover,
}

if __name__ == "__main__":
    # So that what was started is ended when this is: `timeout` and CI send TERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    started = time.time()
    for name in sys.argv[1:] or TESTS:
        TESTS[name]()
    if failures:
        sys.exit(f"{len(failures)} FAILED: " + "; ".join(failures))
    say(f"all of it holds, after {time.time() - started:.0f} s")
