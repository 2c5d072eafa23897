"""A real browser for tests of pages: Chromium, driven through chromedriver by the WebDriver protocol (W3C).

The protocol is JSON over HTTP and needs no package. Where no browser is, tests marked `needs_browser` are skipped by name.
"""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver (Debian: chromium-driver)")


class Chromium:
    """One headless browser with one page."""

    def __init__(self, url, width=1280, height=1000, phone=False):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.driver = subprocess.Popen([DRIVER, f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}"]
        options = {"binary": BROWSER, "args": flags}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0, "touch": True}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        try:
            for _ in range(100):
                try:
                    self.call("GET", "/status")
                    break
                except OSError:
                    time.sleep(0.1)
            self.session = "/session/" + self.call("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]
            self.call("POST", "/url", url=url)
        except BaseException:
            self.close()
            raise

    def call(self, method, path, **body):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.session}{path}", data, method=method,
                                         headers={"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this machine, whatever proxies are set
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", script=script, args=list(args))

    def find(self, css):
        return self.call("POST", "/element", using="css selector", value=css).popitem()[1]

    def keys(self, css, text):
        self.call("POST", f"/element/{self.find(css)}/value", text=text)

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)}/click")

    def point(self, css):
        """Move the mouse over an element."""
        origin = {"element-6066-11e4-a52e-4f735466cecf": self.find(css)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        self.call("POST", "/actions", actions=[{"type": "pointer", "id": "mouse", "actions": [move]}])

    def rest(self):
        """Move the mouse to the corner: left over a cell, it would light what the page next draws under it."""
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": "viewport"}
        self.call("POST", "/actions", actions=[{"type": "pointer", "id": "mouse", "actions": [move]}])

    def errors(self):
        return [line["message"] for line in self.call("POST", "/se/log", type="browser") if line["level"] == "SEVERE"]

    def picture(self):
        return base64.b64decode(self.call("GET", "/screenshot"))

    def close(self):
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
