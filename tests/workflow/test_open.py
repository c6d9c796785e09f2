import os
import subprocess


def make_open(clone, browser):
    # Without a display, so that a refusal does not end in the browser of whoever runs the tests.
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"BROWSER": browser}
    return subprocess.run(
        ["make", "open"], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_make_open_opens_the_page_or_says_why_not(clone):
    missing = make_open(clone, "echo %s")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "there is no page yet; run make run first" in missing.stderr
    page = clone / "results" / "report" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("the page")
    opened = make_open(clone, "echo %s")
    assert (opened.returncode, opened.stdout.strip()) == (0, page.as_uri())
    refused = make_open(clone, "false %s")
    assert refused.returncode == 2
    assert "the page is results/report/index.html" in refused.stderr
