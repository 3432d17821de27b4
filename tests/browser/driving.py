"""Drives Chromium by its DevTools protocol: addresses, keys, the mouse, pictures, and what the page asked and said."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

READY = "document.body && document.body.dataset.ready"
"""True as soon as the page shows what its address asks for."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("websockets") is None, reason="lacks the package websockets"),
    pytest.mark.skipif(PROGRAM is None, reason="lacks Chromium (Debian: apt-get install chromium)"),
]
"""What tests are marked with that look at pages."""
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-component-update", "--disable-background-networking", "--remote-debugging-port=0",
    "--window-size=1400,900",
)  # fmt: skip
KEYS = {
    "Backspace": 8,
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Insert": 45,
    "Delete": 46,
    "-": 189,
    "+": 187,
}


class Page:
    """A page of the browser.

    Attributes:
        asked: the addresses of all requests, with the time of each.
        said: errors, on the console and otherwise.
        took: seconds from the request to the end of each answer, by address, with the time that it waited for others.
        answered: milliseconds from the sending of each request to the head of its answer, by address.
    """

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count(1)
        self.asked, self.said, self.took, self.answered, self._began = [], [], {}, {}, {}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Ask the browser for something, and take its answer."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=60))
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def _note(self, told):
        method, what = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.asked.append(what["request"]["url"])
            self._began[what["requestId"]] = (what["request"]["url"], what["timestamp"])
        elif method == "Network.loadingFinished" and what["requestId"] in self._began:
            url, began = self._began[what["requestId"]]
            self.took[url] = what["timestamp"] - began
        elif method == "Network.responseReceived" and (timing := what["response"].get("timing")):
            self.answered[what["response"]["url"]] = timing["receiveHeadersEnd"] - timing["sendStart"]
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(what["exceptionDetails"].get("exception", {}).get("description", what)))
        elif method == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.said.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and what["type"] == "error":
            self.said.append(str(what["args"]))

    def open(self, address):
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def value(self, script):
        """What an expression of the page gives."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script, timeout=60):
        """Wait until an expression is true; one that cannot be evaluated yet is not."""
        end = time.monotonic() + timeout
        while not self.value(f"(() => {{ try {{ return Boolean({script}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < end, f"{script} is not true after {timeout} s; said: {self.said}"
            time.sleep(0.03)

    def place(self, selector):
        """The middle of an element."""
        box = f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
        return self.value(box + " return [b.left + b.width / 2, b.top + b.height / 2]; })()")

    def click(self, selector):
        """Click into the middle of an element."""
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        self.click_at(*self.place(selector))

    def click_at(self, x, y, count=1):
        """Click at a point; the second of two clicks counts 2."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=count * (button != "none")
            )

    def drag(self, start, stop, steps=6):
        """Drag from one point to another."""
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for step in range(1, steps + 1):
            x, y = (low + (high - low) * step / steps for low, high in zip(start, stop, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=stop[0], y=stop[1], button="left", clickCount=1)

    def press(self, *keys):
        """Press keys, one after the other."""
        for key in keys:
            code = KEYS.get(key)
            said = {"key": key, "windowsVirtualKeyCode": code or ord(key.upper()), "code": key if code else ""}
            text = {} if code and len(key) > 1 and key != "Enter" else {"text": "\r" if key == "Enter" else key}
            self.call("Input.dispatchKeyEvent", type="keyDown", **said, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def rest(self, quiet=0.4, timeout=60):
        """Wait until nothing has been asked for a while."""
        end = time.monotonic() + timeout
        count, since = -1, time.monotonic()
        while time.monotonic() < end:
            self.value("0")
            if len(self.asked) != count:
                count, since = len(self.asked), time.monotonic()
            elif time.monotonic() - since > quiet:
                return
            time.sleep(0.05)

    def picture(self, path):
        """Save what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(folder):
    """A page of a headless Chromium whose profile lies in a folder."""
    from websockets.sync.client import connect  # which may be missing, which the tests say

    process = subprocess.Popen(
        [PROGRAM, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        known, end = folder / "DevToolsActivePort", time.monotonic() + 60
        while not (known.exists() and known.read_text().strip()):
            assert process.poll() is None, "Chromium does not start"
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        port = known.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            target = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=60) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(30)
