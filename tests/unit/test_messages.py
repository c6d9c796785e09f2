"""What the console says at the end of a run, whatever the files look like that it is taken from."""

import json
import os

import pytest

from epochbench import messages


def test_the_answer_is_read_from_the_summary(tmp_path):
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps({"answer": ["99.5x", "", "3.5 ms"]}))
    assert messages.answer_lines(summary) == ["99.5x", "3.5 ms"]


def test_without_a_summary_there_is_no_answer(tmp_path):
    assert messages.answer_lines(tmp_path / "summary.json") == []


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("starting\nerror: too large\nchoose less\n", "too large choose less"),
        ("starting\nKilled\n\n", "Killed"),
        ("", "its log is empty"),
        ("error: " + "x" * 9999, "x" * 500),
    ],
    ids=["a plain error", "a last line", "empty", "long"],
)
def test_the_last_words_of_a_log_are_its_plain_error_or_its_last_line(tmp_path, log, words):
    (tmp_path / "run.log").write_text(log)
    assert messages.last_words(tmp_path / "run.log") == words


def test_a_run_without_a_log_is_told_as_such(tmp_path):
    assert messages.last_words(tmp_path / "run.log") == "it wrote no log"


def test_a_page_is_newer_than_its_records_or_not(tmp_path):
    for second, name in enumerate(("early", "page", "late")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    early, page, late = (tmp_path / name for name in ("early", "page", "late"))
    assert messages.is_newer(page, early)
    assert not messages.is_newer(page, early, late)
    assert not messages.is_newer(tmp_path / "missing", early)


def test_drawing_happens_in_a_process_that_is_told_by_json(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text("import json, pathlib, sys; pathlib.Path(json.load(sys.stdin)['page']).write_text('drawn')")
    assert messages.draw(script, {"page": str(tmp_path / "page")}) is None
    assert (tmp_path / "page").read_text() == "drawn"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys; sys.exit('disk: No space left')", "disk: No space left"),
        ("import sys; sys.exit(3)", "it ended with status 3"),
    ],
    ids=["a missing package", "a plain error", "no words"],
)
def test_a_drawing_that_fails_is_told_in_one_line(tmp_path, code, problem):
    (tmp_path / "draw.py").write_text(code)
    assert messages.draw(tmp_path / "draw.py", {}) == problem
