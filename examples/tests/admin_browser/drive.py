"""Loads the status page in a real browser and uses it as an operator would."""

import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
EVIL = "<img src=x onerror=alert(1)>"


def fail(message):
    raise SystemExit(f"FAILED: {message}")


def until(what, ask, seconds=30):
    """Asks until the answer is true. Time only bounds how long a failure takes."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            print(f"ok: {what}", flush=True)
            return answer
        if time.monotonic() > deadline:
            fail(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


class Browser:
    def __init__(self, home):
        self.port = free_port()
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until("chromedriver answers", self.is_ready)
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--force-color-profile=srgb", f"--user-data-dir={home}",
        ]
        wanted = {
            "browserName": "chrome",
            "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self.send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{answer['sessionId']}"

    def is_ready(self):
        try:
            return self.send("GET", "/status")["ready"]
        except OSError:
            return False

    def send(self, method, path, body=None):
        data = None if method == "GET" or method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            fail(f"{method} {path}: {error.read().decode()}")

    def run(self, script, *arguments):
        return self.send("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return self.send("POST", self.session + "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def text(self, selector):
        return self.run("const found = document.querySelector(arguments[0]); return found ? found.innerText : ''", selector)

    def click(self, selector):
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'nearest'})", {ELEMENT: element})
        self.send("POST", f"{self.session}/element/{element}/click")

    def type(self, selector, text):
        element = self.find(selector)
        self.send("POST", f"{self.session}/element/{element}/clear")
        self.send("POST", f"{self.session}/element/{element}/value", {"text": text})

    def devtools(self, command, **parameters):
        return self.send("POST", self.session + "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path, scheme, width):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.run("scrollTo(0, 0); document.activeElement.blur(); document.querySelectorAll('.scroll').forEach(box => box.scrollTo(0, 0))")
        picture = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))
        print(f"    {path} ({path.stat().st_size // 1024} KiB)")

    def end(self):
        if hasattr(self, "session"):
            self.send("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait(timeout=20)


class Stage:
    """The program whose page is looked at. It ends when its standard input does."""

    def __init__(self, program, at):
        self.process = subprocess.Popen(
            [program, "--stay", "--at", at], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if "status page on" not in line:
            fail(f"the program says {line!r}")
        self.url = line.split()[-1]

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


def row(name):
    return f"tr[data-endpoint={json.dumps(name)}]"


def use(browser, stage, program, pictures):
    browser.send("POST", browser.session + "/url", {"url": stage.url + "/"})
    until("the page is live", lambda: "live" in browser.text("#link"))
    until("both clusters are shown", lambda: browser.run("return document.querySelectorAll('#clusters section').length") == 2)
    titles = browser.run("return [...document.querySelectorAll('#clusters h2')].map(title => title.textContent)")
    if titles != ["checkout", "web <b>shop</b>"]:
        fail(f"titles {titles}")
    if browser.run("return document.querySelectorAll('#clusters b:not(.bar b), #clusters img').length"):
        fail("a name became HTML")
    until("a name that is HTML is text", lambda: EVIL in browser.text(row(EVIL)))
    until("requests are counted", lambda: "ms" in browser.text(row("web-1")) and "/ –" not in browser.text(row("web-1")))
    headers = browser.run("return [...document.querySelectorAll('#clusters table')].every(table => table.caption"
                          " && [...table.tHead.rows[0].cells].every(cell => cell.scope === 'col')"
                          " && [...table.tBodies[0].rows].every(row => row.cells[0].scope === 'row'))")
    if not headers:
        fail("tables without headers")

    browser.click(row("checkout-1") + " .acts button")
    until("a click drains", lambda: "drained by the operator" in browser.text(row("checkout-1")))
    until("what it got goes elsewhere", lambda: browser.text(row("checkout-1") + " .share").startswith("0 %"))
    until("the order is listed", lambda: "drain" in browser.text("#orders tbody") and "checkout-1" in browser.text("#orders tbody"))

    browser.click(row("web-2") + " .acts button:nth-child(2)")
    browser.type("#dialog [name=for]", "10 parsecs")
    browser.type("#dialog [name=owner]", "oncall")
    browser.click("#dialog button.strong")
    until("a bad time limit is named", lambda: "10 parsecs" in browser.text("#dialog-error"))
    browser.type("#dialog [name=for]", "5m")
    browser.click("#dialog button.strong")
    until("a breaker is forced open", lambda: "forced open" in browser.text(row("web-2")) and "by oncall" in browser.text(row("web-2")))

    browser.click(row("web-1") + " .acts button:nth-child(3)")
    browser.type("#dialog [name=weight]", "3000")
    browser.click("#dialog button.strong")
    until("a weight out of bounds is refused", lambda: "not between 1 and 30" in browser.text("#dialog-error"))
    browser.type("#dialog [name=weight]", "2")
    browser.click("#dialog button.strong")
    until("a weight is changed", lambda: browser.text(row("web-1") + " td:nth-child(3)").strip() == "2")

    browser.type("#ask [name=host]", "shop.example")
    browser.type("#ask [name=path]", "/checkout/pay?basket=7")
    browser.type("#ask [name=headers]", "x-user: ann")
    browser.click("#ask button")
    trail = until("a typed request is explained", lambda: browser.text("#trail"))
    for part in ["goes to checkout-2", "request for shop.example /checkout/pay", "route checkout", "* checkout-2"]:
        if part not in trail:
            fail(f"no {part!r} in {trail}")

    # Forbidden from the page itself: what another page would try.
    refused = browser.run("return fetch('/api/clusters/checkout/endpoints/checkout-2/drain', {method: 'POST', body: '{}'}).then(answer => answer.status)")
    if refused != 415:
        fail(f"a POST of plain text got {refused}")

    until("all orders are listed", lambda: browser.text("#orders tbody").count("ago") == 3)
    browser.devtools("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    if browser.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        fail("the page is wider than its window")
    wide = browser.run("return [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
                       ".map(box => [box.clientWidth, ...[...box.querySelectorAll('th[scope=col]')].map(cell => cell.innerText + ' ' + cell.offsetWidth)])")
    if wide:
        fail(f"a table does not fit a window of 1280: {wide}")
    pictures.mkdir(parents=True, exist_ok=True)
    for scheme in ["light", "dark"]:
        browser.screenshot(pictures / f"admin-{scheme}.png", scheme, 1280)
    browser.screenshot(pictures / "admin-narrow.png", "light", 480)
    if browser.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        fail("the page is wider than a narrow window")
    browser.devtools("Emulation.clearDeviceMetricsOverride")

    # Nothing that the page did was refused by its own policy, and nothing failed.
    seen = browser.send("POST", browser.session + "/se/log", {"type": "browser"})
    loud = [entry["message"] for entry in seen if entry["level"] == "SEVERE" and "415" not in entry["message"] and "422" not in entry["message"]]
    if loud:
        fail(f"the browser complains: {loud}")

    at = stage.url.removeprefix("http://")
    stage.end()
    until("the page says that nobody answers", lambda: "no answer for" in browser.text("#link"))
    again = Stage(program, at)
    try:
        until("the page goes on after a restart", lambda: "live" in browser.text("#link"))
        until("what the old process was told is gone", lambda: "healthy" in browser.text(row("checkout-1")))
        until("the restart is told", lambda: "restarted" in browser.text("#facts"))
        browser.click(row("checkout-2") + " .acts button")
        until("a click drains in the new process", lambda: "drained" in browser.text(row("checkout-2")))
        browser.click(row("checkout-2") + " .acts button")
        until("and another one ends that", lambda: "healthy" in browser.text(row("checkout-2")))
    finally:
        again.end()


def main():
    program, pictures = sys.argv[1], pathlib.Path(sys.argv[2])
    home = tempfile.mkdtemp(prefix="admin-browser-")
    stage, browser = Stage(program, "127.0.0.1:0"), None
    try:
        browser = Browser(home)
        use(browser, stage, program, pictures)
        print("all of it was seen in a real browser")
    finally:
        if browser:
            browser.end()
        if stage.process.poll() is None:
            stage.end()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("LANG", "C.UTF-8")
    main()
