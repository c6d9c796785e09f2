import json

from epochbench.progress import describe, write_plan


def test_says_how_many_runs_are_done_and_how_long_the_rest_may_take(tmp_path):
    names = ["slow/run-1.json", "slow/run-2.json", "fast/run-1.json", "fast/run-2.json", "new/run-1.json"]
    wanted = [tmp_path / name for name in names]
    for path in wanted:
        path.parent.mkdir(exist_ok=True)
    write_plan(tmp_path / "plan.json", [str(path) for path in wanted])
    wanted[0].write_text(json.dumps({"wall_seconds": 90}))
    wanted[2].write_text(json.dumps({"wall_seconds": 10}))
    # 90 and 10 again, and the mean of both for the cell of which nothing is known.
    assert describe(tmp_path / "plan.json") == "2 of 5 runs done, about 2 min 30 s left"


def test_without_a_plan_nothing_is_said(tmp_path):
    assert describe(tmp_path / "plan.json") == ""
