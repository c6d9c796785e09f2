"""The set-up behind `make run`: it fails with one clear line, and leaves nothing that looks ready."""

import functools
import hashlib
import http.server
import os
import platform
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import psutil
import pytest
import uv
from support import REPOSITORY, deep
from userland import small_programs

SETUP = REPOSITORY / "workflow/setup.sh"


def command(folder, requirements):
    return ["sh", str(SETUP), str(folder / "venv"), str(requirements)]


def setup(folder, requirements, python=sys.executable, **environment):
    return subprocess.run(
        command(folder, requirements), env=unconfigured(PYTHON=str(python), **environment),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def unconfigured(**environment):
    """This environment without what it says of package indexes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    # uv's cache knows a file by its address, and a server's port may be one of an earlier test's.
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CACHE": "1"}
    return kept | settings | environment


def complaint(outcome):
    """The one line of an error, beside the progress."""
    assert outcome.returncode == 1, outcome.stdout
    (line,) = [line for line in outcome.stderr.splitlines() if not line.startswith(("setup: 0 ", "setup: installing"))]
    return line


def has(folder, module):
    """Whether a module can be imported in the new environment."""
    return not subprocess.run([folder / "venv/bin/python", "-c", f"import {module}"], capture_output=True).returncode


def bytecode(folder):
    """Which of these tests' modules have bytecode."""
    unused = "torch/testing/_internal/unused"
    names = {"torch/__init__": "torch", unused: "unused", "thing": "thing", "nvidia_cublas": "nvidia_cublas"}
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    sources = {name: packages / f"{source}.py" for source, name in names.items()}
    return {name for name, source in sources.items() if list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc"))}


@pytest.fixture
def programs(request, tmp_path):
    """The PATH of a set-up: this system's programs, or small ones that know little beyond POSIX."""
    return {"PATH": small_programs(tmp_path / "small")} if request.param == "small programs" else {}


def with_programs(*kinds):
    return pytest.mark.parametrize("programs", kinds, indirect=True)


TORCH = {"torch/__init__.py": "", "torch/testing/_internal/unused.py": ""}


def wheel(folder, name, version="1.0", files=(), tag="py3-none-any", mode=0o644, needs=()):
    """Write a wheel that holds `files` and `needs` other packages, and return its pin."""
    stem = f"{name.replace('-', '_')}-{version}"
    needed = "".join(f"Requires-Dist: {package}\n" for package in needs)
    about = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    contents = dict(files or {f"{name.replace('-', '_')}.py": ""}) | about
    contents[f"{stem}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{stem}.dist-info/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        for path, text in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, text)
    return pin(folder / f"{stem}-{tag}.whl", name, version)


def pin(path, name, version="1.0"):
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def uv_wheel(folder):
    """A wheel of uv whose program is the one of this environment."""
    script = f'#!/bin/sh\nexec "{uv.find_uv_bin()}" "$@"\n'
    return wheel(folder, "uv", "0.0", {"uv-0.0.data/scripts/uv": script}, mode=0o755)


def test_an_old_python_is_refused_in_one_line(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    outcome = setup(tmp_path, REPOSITORY / "requirements.txt", python=old)
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "is Python 3.9; 3.11 or newer is needed" in line
    assert not (tmp_path / "venv").exists()


def test_a_python_of_an_intel_mac_is_refused_in_one_line(tmp_path):
    """As old ones are on an Apple chip too, where they run by translation."""
    programs = {
        "uname": "echo Darwin",
        "python": 'case "$2" in *print*machine*) echo x86_64 ;; *print*) echo 3.12 ;; esac',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    outcome = setup(tmp_path, REPOSITORY / "requirements.txt", python=tmp_path / "python", PATH=path)
    (line,) = outcome.stderr.splitlines()
    assert (
        "is made for Intel Macs, for which torch has no files any more; on an Apple chip name one made for it" in line
    )
    assert not (tmp_path / "venv").exists()


def test_where_no_environment_can_be_made_the_line_has_pythons_own_reason(tmp_path):
    """A folder that may not be written is told alike, but does not hinder root."""
    (tmp_path / "venv").write_text("a file")
    (line,) = setup(tmp_path, REPOSITORY / "requirements.txt").stderr.splitlines()
    said, _, reason = line.partition("venv: ")
    assert said == f"setup: no virtual environment could be made in {tmp_path}/"
    assert f"'{tmp_path / 'venv'}'" in reason


def test_a_missing_python_is_told_in_one_line(tmp_path):
    outcome = setup(tmp_path, REPOSITORY / "requirements.txt", python="no-such-python")
    (line,) = outcome.stderr.splitlines()
    assert "'no-such-python' is not there" in line


def test_an_unreachable_index_is_told_in_one_line(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("six==1.16.0 --hash=sha256:" + "0" * 64 + "\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"}
    assert "the package index cannot be reached" in complaint(setup(tmp_path, requirements, **nowhere))
    assert not (tmp_path / "venv" / ".ready").exists()


@pytest.fixture
def site(tmp_path):
    """A loopback server of files; a path that holds the word `stalls` is never answered."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.server.stalls in self.path:
                self.server.asked.set()
                self.server.released.wait(60)
            super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        server.asked, server.released = threading.Event(), threading.Event()
        server.folder, server.stalls = folder, "stall"
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


@with_programs("this system's", "small programs")
def test_uv_installs_from_all_that_pip_is_configured_for(tmp_path, site, programs):
    pins = uv_wheel(site.folder / "first/uv") + wheel(tmp_path / "wheels", "nvidia-cublas")
    wheel(site.folder / "second/thing", "thing", "0.9")  # uv looks at further indexes first, and would stop there
    pins += wheel(site.folder / "first/thing", "thing") + wheel(site.folder / "first/torch", "torch", files=TORCH)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(pins)
    indexes = {"PIP_INDEX_URL": f"{site.url}/first", "PIP_EXTRA_INDEX_URL": f"{site.url}/second"}
    indexes["PIP_FIND_LINKS"] = str(tmp_path / "wheels")
    indexes["PIP_USER"] = "1"  # as some clusters advise, though no virtual environment can obey it
    outcome = setup(tmp_path, requirements, **indexes, **programs, PYTHONDONTWRITEBYTECODE="")
    assert outcome.returncode == 0, outcome.stderr
    assert "pip installs" not in outcome.stdout
    assert "Installed 3 packages" in (tmp_path / "venv/setup.log").read_text()
    driver = any(Path(path).exists() for path in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"))
    assert bytecode(tmp_path) == ({"torch"} if driver or shutil.which("sbatch", path=programs.get("PATH")) else set())
    assert has(tmp_path, "thing")
    assert has(tmp_path, "nvidia_cublas")
    hint = "no NVIDIA driver is found; without CUDA it is some gigabytes less: make run TORCH_INDEX="
    assert (hint in outcome.stdout) == (platform.system() == "Linux" and not driver)


@pytest.mark.parametrize("by", deep(["uv", "pip"], "pip"))
@with_programs("small programs")
def test_a_tampered_wheel_is_refused_and_the_next_set_up_mends_what_is_there(tmp_path, by, programs):
    wheels = tmp_path / "wheels"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(uv_wheel(wheels) + wheel(wheels, "thing"))
    wheel(wheels, "thing", files={"thing.py": "", "more.py": "import os"})
    # A setting without a counterpart in uv; an empty list of constraints changes nothing else.
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} | programs
    if by == "pip":
        settings["PIP_CONSTRAINT"] = os.devnull
    outcome = setup(tmp_path, requirements, **settings, UV_NO_VERIFY_HASHES="1")
    line = complaint(outcome)
    assert "a file is not the one that" in line
    assert "thing" in line
    assert ("uv has no counterpart of pip's setting 'constraint'" in outcome.stdout) == (by == "pip")
    assert ("pip installs" in outcome.stdout) == (by == "pip")  # a file that is not the pinned one is final
    assert not has(tmp_path, "thing")
    assert not (tmp_path / "venv/.ready").exists()

    # As an installation leaves it that was killed: what names the package is there, the package is not.
    wheel(wheels, "thing")
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheels / "thing-1.0-py3-none-any.whl") as archive:
        archive.extractall(packages, [name for name in archive.namelist() if "dist-info" in name])
    assert setup(tmp_path, requirements, **settings, PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert "thing" in bytecode(tmp_path)
    assert has(tmp_path, "thing")
    assert (tmp_path / "venv/.ready").exists()


def source_package(folder, name, build):
    """Write a package without a wheel, whose `build_wheel` is the line `build`, and return its pin."""
    source = folder / f"{name}-1.0"
    source.mkdir(parents=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(f"import subprocess, sys\ndef build_wheel(*_):\n    {build}\n")
    (source / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, f"{name}-1.0")
    return pin(folder / f"{name}-1.0.tar.gz", name)


def stalled(stage, wheels, site):
    """Return pins whose set-up asks `site` at a stage, and gets no answer."""
    site.stalls = {"uv": "/uv/", "the tools": "/setuptools/"}.get(stage, "stall")
    asks = f"import urllib.request; urllib.request.urlopen('{site.url}/stall')"
    if stage == "uv":
        return uv_wheel(wheels / "elsewhere")
    if stage in ("the tools", "a package"):
        return uv_wheel(wheels) + wheel(wheels / "elsewhere", "setuptools" if stage == "the tools" else "stall")
    if stage == "a package's compiler":
        return uv_wheel(wheels) + source_package(wheels, "thing", f'subprocess.run([sys.executable, "-c", "{asks}"])')
    return uv_wheel(wheels) + wheel(
        wheels, "thing", files={"thing.pth": f"import sys; '-qq' in sys.argv and exec({asks!r})"}
    )


STAGES = ["uv", "the tools", "a package", "a package's compiler", "bytecode"]


@pytest.mark.parametrize("stage", deep(STAGES, *(set(STAGES) - {"a package's compiler"})))
@with_programs("small programs")
def test_a_set_up_that_is_broken_off_is_not_ready_and_leaves_no_process(tmp_path, site, stage, programs):
    wheels = tmp_path / "wheels"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(stalled(stage, wheels, site))
    ready = tmp_path / "venv/.ready"
    ready.parent.mkdir()
    ready.touch()  # of an earlier set-up
    indexes = {"PIP_INDEX_URL": site.url, "PIP_FIND_LINKS": str(wheels), "PYTHONDONTWRITEBYTECODE": "1"}
    settings = unconfigured(PYTHON=sys.executable, **indexes, **programs)
    with subprocess.Popen(command(tmp_path, requirements), env=settings, stderr=subprocess.PIPE, text=True) as process:
        assert site.asked.wait(60)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert said.splitlines()[-1] == "setup: broken off; the same command goes on"
    assert not ready.exists()
    assert [line for line in running() if str(tmp_path / "venv") in line] == []


def running():
    """The command lines of all processes."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


@pytest.mark.deep
def test_a_package_that_must_be_compiled_and_cannot_is_told_in_one_line(tmp_path):
    requirements = tmp_path / "requirements.txt"
    thing = source_package(tmp_path, "thing", "raise SystemExit('error: command cc failed')")
    requirements.write_text(uv_wheel(tmp_path) + thing)
    outcome = setup(tmp_path, requirements, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert "has no wheel for Python" in complaint(outcome)
    assert "pip installs, since uv could not" in outcome.stdout


@with_programs("small programs")
def test_torch_can_come_without_cuda_and_the_rest_is_still_checked(tmp_path, site, programs):
    cuda = ("nvidia-cublas", "nvidia-nvtx", "cuda-toolkit", "triton")
    pinned = ("torch", "torchvision", "nvidia-ml-py", *cuda)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        uv_wheel(site.folder / "all/uv") + "".join(wheel(site.folder / "all" / name, name) for name in pinned)
    )
    for name in ("torch", "torchvision"):
        wheel(site.folder / "cpu" / name, name, "1.0+cpu")
    index = {"PIP_INDEX_URL": f"{site.url}/all"}
    outcome = setup(tmp_path, requirements, **index, **programs, TORCH_INDEX=f"{site.url}/cpu")
    assert outcome.returncode == 0, outcome.stderr
    assert "not checked against a pinned hash" in outcome.stdout
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    assert {path.name for path in packages.glob("torch*+*.dist-info")} == {
        "torch-1.0+cpu.dist-info",
        "torchvision-1.0+cpu.dist-info",
    }
    assert has(tmp_path, "nvidia_ml_py")
    assert not any(has(tmp_path, name.replace("-", "_")) for name in cuda)


@pytest.mark.parametrize("told", deep(["by a file", "by variables"], "by variables"))
def test_torch_comes_from_no_other_place_that_pip_is_told_of(tmp_path, site, told):
    """A later build, as a mirror of all of PyPI may have it."""
    wheels = tmp_path / "wheels"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        uv_wheel(wheels) + "".join(wheel(tmp_path / "pinned", name) for name in ("torch", "torchvision"))
    )
    for name in ("torch", "torchvision"):
        wheel(site.folder / "cpu" / name, name, "1.0+cpu")
        for elsewhere in (wheels, site.folder / "other" / name):
            wheel(elsewhere, name, "1.0+other")
    places = {"no-index": "1", "find-links": str(wheels), "extra-index-url": f"{site.url}/other"}
    (tmp_path / "pip.conf").write_text(
        "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in places.items())])
    )
    variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in places.items()}
    settings = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")} if told == "by a file" else variables
    outcome = setup(tmp_path, requirements, **settings, TORCH_INDEX=f"{site.url}/cpu")
    assert outcome.returncode == 0, outcome.stderr
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    about = {path.name for path in packages.glob("torch*.dist-info")}
    assert about == {"torch-1.0+cpu.dist-info", "torchvision-1.0+cpu.dist-info"}


@with_programs("small programs")
def test_torch_of_another_index_brings_what_it_alone_needs_and_changes_no_pin(tmp_path, site, programs):
    """AMD's has a Triton of its own; without Intel's runtime torch cannot be imported. An index may lack a part."""
    pinned = ("torch", "torchvision", "thing", "triton")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        uv_wheel(site.folder / "all/uv") + "".join(wheel(site.folder / "all" / name, name) for name in pinned)
    )
    wheel(site.folder / "all/intel-sycl-rt", "intel-sycl-rt", "2026.0")
    wheel(site.folder / "xpu/thing", "thing", "2.0")
    wheel(site.folder / "xpu/triton-xpu", "triton-xpu", "3.7+git")
    needs = {"torch": ["thing>=1.0", "triton-xpu==3.7+git", "intel-sycl-rt==2026.0"], "torchvision": ["torch==1.0"]}
    for name, needed in needs.items():
        wheel(site.folder / "xpu" / name, name, "1.0+xpu", needs=needed)
    outcome = setup(tmp_path, requirements, PIP_INDEX_URL=f"{site.url}/all", **programs, TORCH_INDEX=f"{site.url}/xpu")
    assert outcome.returncode == 0, outcome.stderr
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    about = {path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")}
    assert (tmp_path / "venv/.ready").read_text() == f"{site.url}/xpu\n"
    assert about >= {"torch-1.0+xpu", "torchvision-1.0+xpu", "triton_xpu-3.7+git", "intel_sycl_rt-2026.0", "thing-1.0"}
    assert not has(tmp_path, "triton")


def test_settings_of_pip_become_those_of_uv():
    translated = runpy.run_path(str(REPOSITORY / "workflow/uv_install.py"))["translated"]
    variables, options = translated(
        {"index-url": "https://a/simple", "extra-index-url": "https://b/simple\nhttps://c/simple", "find-links": "x y",
         "cert": "ca.pem", "proxy": "http://proxy:3128", "default-timeout": "2.5", "no-index": "true", "no-color": "1"}
    )  # fmt: skip
    assert variables == {
        "UV_DEFAULT_INDEX": "https://a/simple", "UV_INDEX": "https://b/simple https://c/simple", "UV_FIND_LINKS": "x,y",
        "SSL_CERT_FILE": "ca.pem", "HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128",
        "UV_HTTP_TIMEOUT": "3",
    }  # fmt: skip
    assert options == ["--no-index"]
    with pytest.raises(LookupError, match="'only-binary'"):
        translated({"only-binary": ":all:"})


def test_make_lists_its_targets():
    said = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "report", "lint", "format", "dry-run", "clean", "help", "release-check"):
        assert any(line.startswith(target) for line in said.splitlines())
