"""Install with uv as pip is configured: uv_install.py UV ARGUMENTS, run by a Python that has pip.

uv reads neither pip's files nor its variables, so it is told what pip is told, and nothing else. A setting of pip that
it has no counterpart of ends this with status 75.
"""

import ast
import math
import os
import subprocess
import sys

# pip's settings by name, and the variables or options by which uv is told the same.
LISTS = {"index-url": ("UV_DEFAULT_INDEX", " "), "extra-index-url": ("UV_INDEX", " "),
         "find-links": ("UV_FIND_LINKS", ","), "trusted-host": ("UV_INSECURE_HOST", " ")}  # fmt: skip
VALUES = {"cert": ["SSL_CERT_FILE"], "client-cert": ["SSL_CLIENT_CERT"], "proxy": ["HTTP_PROXY", "HTTPS_PROXY"],
          "retries": ["UV_HTTP_RETRIES"]}  # fmt: skip
SECONDS = {"timeout", "default-timeout"}
SWITCHES = {"no-index": "--no-index", "no-cache-dir": "--no-cache"}
# These change neither which files are installed nor where they come from.
WITHOUT_EFFECT = {"cache-dir", "config-file", "disable-pip-version-check", "log", "no-color", "no-input",
                  "no-python-version-warning", "no-warn-script-location", "prefer-binary", "progress-bar", "quiet",
                  "require-hashes", "require-virtualenv", "root-user-action", "user", "verbose"}  # fmt: skip
# Of uv's own variables these stay; others could switch the hashes off or change what is installed.
KEPT = {"UV_CACHE_DIR", "UV_LINK_MODE", "UV_NO_CACHE"}


def pip_settings() -> dict[str, str]:
    """Return what pip install would obey: its files, overridden by their section for install, then by variables."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    scopes: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        scope, _, name = key.rpartition(".")
        text = ast.literal_eval(value).strip()
        if scope in scopes and text:  # pip passes over empty values too
            scopes[scope][name] = text
    return scopes["global"] | scopes["install"] | scopes[":env:"]


def translated(settings: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return pip's settings as variables and options of uv. Raises LookupError naming one that has no counterpart."""
    variables, options = {}, []
    for name, value in settings.items():
        if name in LISTS:
            variable, separator = LISTS[name]
            variables[variable] = separator.join(map(os.path.expanduser, value.split()))
        elif name in VALUES:
            variables |= dict.fromkeys(VALUES[name], value)
        elif name in SECONDS:
            variables["UV_HTTP_TIMEOUT"] = str(math.ceil(float(value)))
        elif name in SWITCHES:
            options += [SWITCHES[name]] * (value.lower() in ("1", "true", "yes", "on", "y", "t"))
        elif name not in WITHOUT_EFFECT:
            raise LookupError(f"uv has no counterpart of pip's setting '{name}'")
    return variables, options


def main(uv: str, *arguments: str) -> None:
    """Become uv."""
    try:
        variables, options = translated(pip_settings())
    except (LookupError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}")
        sys.exit(75)
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith("UV_")}
    # pip compares all indexes, and so must uv; the hashes decide what is accepted from any of them. pip trusts the
    # certificates that the system trusts.
    command = [uv, "pip", "install", "--no-config", "--index-strategy", "unsafe-best-match"]
    os.execve(uv, [*command, *options, *arguments], {"UV_SYSTEM_CERTS": "1"} | kept | variables)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
