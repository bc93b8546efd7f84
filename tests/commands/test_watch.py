"""`gan-jax watch` and the live page, in a browser, while a run trains."""

import itertools
import re
import signal
import subprocess
import threading
import time

import pytest

import runs
from gan_jax.report.page_server import make_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("programs")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(word)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def run(tmp_path):
    """Returns a workdir in which a process trains."""
    config = runs.write_config(tmp_path, runs.MLP)
    workdir = tmp_path / "run"
    fields = ["steps=100000", "log.every=200", "sample.every=400", "checkpoint.every=1000"]
    process = runs.start(["train", config, *fields, "--workdir", workdir], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 100
    while not (workdir / "report.html").exists() or runs.last_step(workdir) < 200:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    yield workdir, process
    process.kill()
    process.communicate()


def step_of(browser):
    from selenium.common.exceptions import WebDriverException

    try:
        text = browser.execute_script("return document.body.innerText")
    except WebDriverException:  # it reloads itself just now
        text = ""
    found = re.search(r"step (\d+) of 100000", text)
    return int(found[1]) if found else -1


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize("where", ["file", "server"])
def test_an_open_page_follows_the_run(run, browser, where):
    workdir, process = run
    server = make_server(workdir, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = (
        f"http://127.0.0.1:{server.server_address[1]}/" if where == "server" else f"file://{workdir}/report.html"
    )
    browser.get(address)
    first = step_of(browser)
    assert first >= 0
    wait_for(lambda: step_of(browser) > first)  # the page reloads itself
    assert browser.execute_script("return news.textContent").endswith(" s ago")
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 2
    assert all(widths)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = runs.last_step(workdir)
    if where == "server":
        wait_for(lambda: step_of(browser) >= last, 30)
    wrong = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in wrong if "favicon" not in message] == []
    server.shutdown()
    server.server_close()


def test_the_command_ends_with_the_run(tmp_path):
    """Started before the run, it says so, follows the run, and ends with it."""
    config = runs.write_config(tmp_path, runs.MLP)
    workdir = tmp_path / "run"
    watching = runs.start(["watch", workdir])
    before = "".join(itertools.takewhile(lambda line: line != "\n", watching.stdout))
    assert "the run has not begun" in before
    outcome = runs.call("train", config, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")
    assert "step 60 of 60, 0.96 kimg" in out
    assert out.rstrip().endswith(f"newest grid  {workdir}/samples/step_00000060.png")
    once = runs.call("watch", workdir, "--once")
    assert "step 60 of 60" in once.out
    assert "the run is finished" in once.out


@pytest.mark.parametrize("more", [["--once"], ["--browser"]])
def test_a_file_is_no_workdir(tmp_path, more):
    (tmp_path / "cat.png").write_bytes(b"")
    runs.sentence(runs.call("watch", tmp_path / "cat.png", *more), "is not a folder")


@pytest.mark.parametrize("more", [["--once"], ["--browser"], []])
def test_a_sweep_is_no_run(tmp_path, more):
    (tmp_path / "sweep.json").write_text("{}")
    runs.sentence(runs.call("watch", tmp_path, *more), "is a sweep: give the workdir of a member, such as")


def test_once_needs_a_run(tmp_path):
    runs.sentence(runs.call("watch", tmp_path / "typo", "--once"), "there is no run in", "typo: give its workdir")


def test_the_server_ends_with_ctrl_c(tmp_path):
    process = runs.start(["watch", tmp_path, "--browser", "--port", "0"])
    line = process.stdout.readline()
    assert re.fullmatch(rf"the page of {tmp_path}: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", line)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    out, err = process.communicate()
    assert (out.strip(), err) == ("", "")
