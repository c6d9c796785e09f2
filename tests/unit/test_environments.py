"""Where frameworks live: found and judged by reading alone, with one plain line and its remedy where one is missing."""

import re
import sys

import pytest

from epochbench.errors import BenchmarkError
from epochbench.timing.frameworks import environments

PINNED = "jax==0.10.2 --hash=sha256:00\n"
INSTALLS = "make frameworks FRAMEWORKS=jax installs it"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with pins, where two frameworks are known and none is installed; what it has is made by the test."""
    for name, value in {
        "HOME": tmp_path / "clone",
        "PINS": tmp_path / "pins",
        "names": lambda: ("torch", "jax", "keras-jax", "keras"),
        "environment": {"jax": "jax", "keras-jax": "jax", "keras": "tensor-flow"}.get,
        "packages": {"jax": {"jax": "0.6"}, "keras-jax": {"keras": "3.1", "jax": "0.6"}, "keras": {"keras": "3"}}.get,
    }.items():
        monkeypatch.setattr(environments, name, value)
    for variable in ("EPOCHBENCH_FRAMEWORKS", "EPOCHBENCH_FRAMEWORK_JAX", "EPOCHBENCH_FRAMEWORK_TENSOR_FLOW"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "beside")])
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/jax.txt").write_text(PINNED)
    (tmp_path / "pins/jax-cuda.txt").write_text(PINNED + "jax-cuda13-plugin==0.10.2\n")
    (tmp_path / "typed").mkdir()
    monkeypatch.chdir(tmp_path / "typed")
    return tmp_path


def make(folder, pins=PINNED, settings="home = /usr/bin\nversion = 3.12.1\n", **versions):
    """Lay out an environment as `make frameworks` leaves it, without any program in it."""
    packages = folder / "lib/python3.12/site-packages"
    for name, version in versions.items():
        (packages / f"{name}-{version}.dist-info").mkdir(parents=True)
    packages.mkdir(parents=True, exist_ok=True)
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text("#!/bin/sh\nexit 9\n")
    (folder / "bin/python").chmod(0o755)
    (folder / "pyvenv.cfg").write_text(settings)
    (folder / "setup.log").touch()
    if pins:
        (folder / "made-from.txt").write_text(pins)
    else:
        (folder / ".unfinished").touch()
    return folder / "bin/python"


def test_what_is_not_there_is_said_with_the_command_that_installs_it():
    assert environments.why_missing("jax") == f"framework jax is not installed; {INSTALLS}"
    assert environments.interpreter_of("jax") is None
    assert environments.installed("jax") == {}
    with pytest.raises(BenchmarkError, match="^framework jax is not installed; make frameworks FRAMEWORKS=jax"):
        environments.needed_interpreter("jax")


def test_a_folder_that_a_variable_names_and_that_is_not_there_is_told(monkeypatch):
    """Where the variable is set, nothing that `make frameworks` makes here would be found."""
    monkeypatch.setenv("EPOCHBENCH_FRAMEWORKS", "/nowhere")
    assert environments.why_missing("keras-jax") == (
        "there is no /nowhere/jax, where EPOCHBENCH_FRAMEWORKS has framework keras-jax looked for; correct that "
        "variable, or unset it and type make frameworks FRAMEWORKS=jax"
    )


def test_torch_is_never_missing():
    assert environments.why_missing("torch") is None
    assert str(environments.needed_interpreter("torch")) == sys.executable
    assert environments.installed("torch") == {}


def test_frameworks_share_an_environment():
    assert environments.environments() == {"jax": ("jax", "keras-jax"), "tensor-flow": ("keras",)}


@pytest.mark.parametrize("where", ["typed/.frameworks", "clone/.frameworks", "elsewhere"])
def test_an_environment_that_was_made_is_found_and_read(machine, where, monkeypatch):
    python = make(machine / where / "jax", jax="0.10.2", keras="3.15", pip="26.3", ml_dtypes="0.6.0")
    if where == "elsewhere":
        monkeypatch.setenv("EPOCHBENCH_FRAMEWORKS", str(machine / where))
    assert environments.why_missing("jax") is None
    assert environments.interpreter_of("jax") == environments.needed_interpreter("keras-jax") == python
    assert environments.installed("keras-jax") == {
        "interpreter": str(python), "Python": "3.12.1", "jax": "0.10.2", "keras": "3.15", "ml-dtypes": "0.6.0",
    }  # fmt: skip
    (machine / where / "jax/lib/python3.12/site-packages/jax-0.10.2.dist-info").rename(
        machine / where / "jax/lib/python3.12/site-packages/jax-0.10.3.dist-info"
    )
    assert environments.installed("jax")["jax"] == "0.10.3"


def test_the_folder_where_this_is_typed_comes_before_the_repositorys_own(machine):
    make(machine / "clone/.frameworks/jax", jax="0.9")
    python = make(machine / "typed/.frameworks/jax", jax="0.10.2")
    assert environments.interpreter_of("jax") == python


def test_a_framework_beside_torch_is_trained_by_this_interpreter(machine):
    for name in ("jax-0.10.2.dist-info", "keras-3.15.dist-info", "Keras_Core-3.15-py3.11.egg-info", "keras.py"):
        (machine / "beside" / name).mkdir(parents=True)
    assert str(environments.interpreter_of("jax")) == sys.executable
    assert environments.installed("keras-jax") == {
        "interpreter": sys.executable, "jax": "0.10.2", "keras": "3.15", "keras-core": "3.15",
    }  # fmt: skip
    # Jobs of another interpreter, as conda gives them, do not have it.
    assert environments.why_missing("jax", beside=False) == f"framework jax is not installed; {INSTALLS}"


@pytest.mark.parametrize("name", ["keras", "keras_cpu", "keras_gpu"])
def test_a_package_counts_whichever_of_its_builds_is_there(machine, name):
    (machine / "beside" / f"{name}-3.15.dist-info").mkdir(parents=True)
    assert environments.why_missing("keras") is None


@pytest.mark.fault("frameworks", "refused")
@pytest.mark.parametrize(
    ("made", "framework", "line"),
    [
        ({"jax": "0.5.9"}, "jax", f"jax 0.5.9 in HERE is too old, it needs 0.6 or later; {INSTALLS}"),
        ({"keras": "3.15"}, "jax", f"jax, which framework jax needs, is not installed in HERE; {INSTALLS}, or framew"),
        ({"jax": "0.10.2"}, "keras-jax", "keras, which framework keras-jax needs, is not installed in HERE; make"),
        ({"jax": "0.10.2", "pins": "jax==0.9\n"}, "jax", "HERE was made from other pins than there are now; make fra"),
        ({"jax": "0.10.2", "pins": None}, "jax", "HERE was broken off while it was made; make frameworks FRAMEWORKS="),
    ],
    ids=["too old", "another package", "one of two", "other pins", "broken off"],
)
def test_an_environment_that_will_not_do_is_told_in_one_line(machine, made, framework, line):
    make(machine / "typed/.frameworks/jax", **made)
    said = environments.why_missing(framework)
    assert said.startswith(line.replace("HERE", str(machine / "typed/.frameworks/jax")))
    assert "\n" not in said
    assert environments.interpreter_of(framework) is None


@pytest.mark.fault("frameworks", "refused")
def test_an_interpreter_that_is_gone_is_told_and_no_other_takes_its_place(machine, monkeypatch):
    monkeypatch.setenv("EPOCHBENCH_FRAMEWORK_JAX", "")  # so that it is taken back
    (machine / "beside/jax-0.10.2.dist-info").mkdir(parents=True)
    python = make(machine / "typed/.frameworks/jax", jax="0.10.2")
    python.unlink()
    python.symlink_to(machine / "python that was uninstalled")
    assert environments.why_missing("jax") == f"{python} is gone; make frameworks FRAMEWORKS=jax makes it anew"
    environments.name_interpreters({"jax": "nowhere/bin/python"})
    said = environments.why_missing("jax")
    assert said.startswith(f"there is no interpreter {machine}/typed/nowhere/bin/python, which frameworks.interpreters")
    assert environments.interpreter_of("jax") is None
    # Nor is an environment's folder one.
    environments.name_interpreters({"jax": ".frameworks/jax"})
    assert environments.why_missing("jax").startswith(f"there is no interpreter {machine}/typed/.frameworks/jax, which")


def test_an_interpreter_that_the_config_names_comes_first(machine, monkeypatch):
    make(machine / "typed/.frameworks/jax", jax="0.10.2")
    python = make(machine / "typed/mine", pins=None, jax="0.9")
    monkeypatch.setenv("EPOCHBENCH_FRAMEWORK_JAX", "")
    environments.name_interpreters({"jax": "mine/bin/python"})
    assert environments.interpreter_of("jax") == python
    assert environments.installed("jax")["jax"] == "0.9"
    assert environments.why_missing("jax", "gpu") is None


@pytest.mark.parametrize("shared", [True, False])
def test_of_an_interpreter_whose_packages_lie_elsewhere_only_a_job_can_tell(machine, monkeypatch, shared):
    settings = f"version = 3.12.1\ninclude-system-site-packages = {str(shared).lower()}\n"
    python = make(machine / "mine", None, settings)
    monkeypatch.setenv("EPOCHBENCH_FRAMEWORK_JAX", str(python))
    assert (environments.why_missing("jax") is None) == shared
    (machine / "mine/pyvenv.cfg").unlink()
    assert environments.why_missing("jax") is None
    (machine / "mine/conda-meta").mkdir()
    assert "jax, which framework jax needs, is not installed in" in environments.why_missing("jax")


def test_a_gpu_cell_needs_the_environment_with_cuda(machine):
    make(machine / "typed/.frameworks/jax", jax="0.10.2")
    assert environments.why_missing("jax", "cpu") is None
    assert re.search(
        r"jax was made without CUDA; make .* CUDA=1 makes it anew$", environments.why_missing("jax", "gpu")
    )
    (machine / "typed/.frameworks/jax/made-from.txt").write_text((machine / "pins/jax-cuda.txt").read_text())
    assert environments.why_missing("jax", "cpu") is environments.why_missing("jax", "gpu") is None
