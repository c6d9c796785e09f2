"""One browser for all pages, and a way to open one that notices whatever it asks of others or complains about."""

import shutil

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, or another that is installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_file(browser):
    """A function that opens a file; afterwards nothing may have been requested or complained about."""
    contexts, troubles = [], []

    def open_it(path, fragment="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page, address = context.new_page(), path.as_uri()
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: None if expected(asked.url, address) else troubles.append(asked.url))
        page.goto(address + fragment)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


def expected(url, address):
    return url.split("#")[0] == address or url.startswith("data:")
