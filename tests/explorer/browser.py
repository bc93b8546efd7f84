"""A server of the explorer in a process of its own, and a person in a headless browser, for tests."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import runs

WAIT = 60.0  # seconds, after which a test fails


class Server:
    """`gan-jax explore` with these arguments, on a free port. `address`: what it printed, `lines`: all of it."""

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None):
        words = ["explore", *arguments, *([] if "--port" in arguments else ["--port", 0])]
        self.process = runs.start(words, environment)
        self.lines: list[str] = []
        self.address = self._address()

    def _address(self) -> str:
        assert self.process.stdout is not None
        late = threading.Timer(WAIT, self.process.kill)
        late.start()
        try:
            for line in self.process.stdout:
                self.lines.append(line)
                if found := re.search(r"open (http://\S+) in a browser", line):
                    return found[1]
        finally:
            late.cancel()
        raise AssertionError(f"the explorer did not start: {self.lines} {self.stop(signal.SIGKILL)[1][-3000:]}")

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.address)[1])  # type: ignore[index]

    def stop(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Sends a signal; returns the exit code and what was on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            _, err = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        return self.process.returncode, err


@contextlib.contextmanager
def served(*arguments: object, **environment: str) -> Iterator[Server]:
    server = Server(*arguments, environment=environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


class Person:
    """Looks at a page and moves its controls."""

    def __init__(self, downloads: Path, width: int = 1400, height: int = 1000):
        from selenium import webdriver

        browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
        assert browser, "there is no chromium: apt-get install chromium chromium-driver"
        assert driver, "there is no chromedriver: apt-get install chromium chromium-driver"
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for word in (
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
            f"--window-size={width},{height}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # there is no other machine
        ):  # fmt: skip
            options.add_argument(word)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.downloads = downloads
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        self.driver.set_page_load_timeout(WAIT)

    def open(self, address: str) -> None:
        """Opens a page, and waits for its first image."""
        self.driver.get(address)
        self.until(lambda: self.image())

    def until(self, condition: Callable[[], Any]) -> Any:
        give_up = time.monotonic() + WAIT
        while time.monotonic() < give_up:
            if found := condition():
                return found
            time.sleep(0.02)
        self.driver.save_screenshot(str(self.downloads / "failed.png"))
        raise AssertionError(f"it did not come in {WAIT:.0f} s; the page says: {self.text('body')[:2000]}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def image(self) -> str:
        """The large image, as a data: address."""
        return self.run("const i = document.querySelector('#stage img'); return i && i.complete ? i.src : ''")

    def text(self, selector: str) -> str:
        return self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)

    def caption(self) -> list[str]:
        return self.text("#stage figcaption").split("\n")

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def changes(self, act: Callable[[], Any]) -> str:
        """Does something, waits until the image is another one, and returns it."""
        before = self.image()
        act()
        self.until(lambda: self.image() not in ("", before))
        return self.image()

    def becomes(self, wanted: str, act: Callable[[], Any]) -> None:
        """Does something, and waits until the image is `wanted`."""
        act()
        self.until(lambda: self.image() == wanted)

    def type(self, control: str, value: object) -> None:
        """Writes a number into a control."""
        from selenium.webdriver.common.keys import Keys

        field = self.find(f"#{control} input[type=number]")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(value), Keys.TAB)

    def press(self, control: str, key: str, times: int) -> None:
        """Moves a slider by keys."""
        from selenium.webdriver.common.keys import Keys

        self.find(f"#{control} input[type=range]").send_keys(getattr(Keys, key) * times)

    def choose(self, control: str, name: str) -> None:
        """Chooses a name of a list."""
        self.find(f"#{control} input").click()
        self.until(lambda: self.driver.find_elements("css selector", f"[role=option][aria-label='{name}']"))
        self.find(f"[role=option][aria-label='{name}']").click()

    def click(self, selector: str) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self.find(selector).click()

    def download(self, text: str) -> Path:
        """Clicks a link, and returns the file."""
        [link] = [one for one in self.driver.find_elements("css selector", "#stage nav a") if one.text == text]
        path = self.downloads / str(link.get_attribute("download"))
        path.unlink(missing_ok=True)
        link.click()
        self.until(path.exists)
        return path

    def complaints(self) -> list[str]:
        """What the browser's console has said since the last call, without what a reload cut off."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        return [one for one in said if "signal is aborted" not in one and "Connection errored out" not in one]

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since the last call, without `data:`."""
        import json

        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [one for one in found if not one.startswith(("data:", "blob:"))]

    def close(self) -> None:
        self.driver.quit()
