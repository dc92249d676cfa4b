"""Chromium, headless, driven over its DevTools protocol: JSON messages, each ended by a zero octet, on
descriptors 3 (to it) and 4 (from it)."""
import base64
import io
import json
import os
import select
import subprocess
import time

from PIL import Image

PATIENCE = 60  # seconds, for a busy machine


class Browser:
    def __init__(self, program, profile):
        to_browser, self.out = os.pipe()
        self.inn, from_browser = os.pipe()
        command = [program, "--headless", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                   "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--hide-scrollbars", "--window-size=800,1400", f"--user-data-dir={profile}"]
        if os.getuid() == 0:
            command.append("--no-sandbox")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.received = b""
        self.last_id = 0
        self.events = []
        self.password = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inn)

    def _receive(self):
        """The next message."""
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.inn], [], [], deadline - time.monotonic())
            assert ready, "Chromium does not answer"
            octets = os.read(self.inn, 65536)
            assert octets, f"Chromium has ended with {self.process.poll()}"
            self.received += octets
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def keep(self, event):
        """An event; who is asked for a password gives self.password, once for each request."""
        if "method" not in event:
            return  # what tell() told
        self.events.append(event)
        what, of = event["method"], event["params"]
        if what == "Fetch.requestPaused":
            self.tell("Fetch.continueRequest", event["sessionId"], requestId=of["requestId"])
        elif what == "Fetch.authRequired":
            answer = {"response": "ProvideCredentials", "username": "any", "password": self.password}
            self.tell("Fetch.continueWithAuth", event["sessionId"], requestId=of["requestId"], authChallengeResponse=answer)

    def tell(self, method, session=None, **parameters):
        """Without waiting for what it says."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.last_id

    def call(self, method, session=None, **parameters):
        """The result; events that come before it go to self.events."""
        asked = self.tell(method, session, **parameters)
        while True:
            answer = self._receive()
            if answer.get("id") == asked:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.keep(answer)

    def wait_for(self, event, session):
        """The next one."""
        while True:
            self.keep(self._receive())
            if self.events[-1].get("method") == event and self.events[-1].get("sessionId") == session:
                return

    def open(self, url, scheme, **options):
        """The page as it is with this prefers-color-scheme: light or dark. password: asks for it over TLS."""
        return Page(self, url, scheme, **options)


class Page:
    """One open page: what it looks like, what it asked for, what it complained about. script: runs in it before its own."""

    def __init__(self, browser, url, scheme, width=800, script=None, password=None):
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # every page has the focus
        self.resize(width)
        if script:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        if password:  # and a certificate that this browser cannot know
            browser.password = password
            self.call("Security.setIgnoreCertificateErrors", ignore=True)
            self.call("Fetch.enable", handleAuthRequests=True)
        self.events_before = len(browser.events)
        self.load(url)
        self.image = self.picture()

    def load(self, url):
        self.call("Page.navigate", url=url)
        self.browser.wait_for("Page.loadEventFired", self.session)

    def resize(self, width):
        """A phone's page below 700 pixels, else a desktop's."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=1400 if width > 700 else 740,
                  deviceScaleFactor=1, mobile=width < 700)

    def picture(self):
        """All of it, as it is now."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key, code):
        """A key that types nothing, by its name and its virtual key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def type(self, text):
        self.call("Input.insertText", text=text)

    @property
    def events(self):
        self.evaluate("0")  # whatever was on its way is here now
        return [e for e in self.browser.events[self.events_before:] if e.get("sessionId") == self.session]

    def complaints(self):
        """Whatever reached the console, exceptions included."""
        return [e["params"] for e in self.events
                if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
