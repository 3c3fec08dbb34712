"""Install packages into this environment: python tools/install.py ARGUMENT ...

The arguments are those of `pip install`. uv installs, which takes seconds where pip takes a minute.
pip does where uv cannot be installed or fails, and where pip is told of an index of its own, which
uv does not read. It uses the standard library alone, since it runs before anything is installed.
"""

import subprocess
import sys

PIP = [sys.executable, "-m", "pip"]
# not compiled here: Python compiles a module when it is first imported, and few of them are
PIP_INSTALL = [
    *PIP,
    "install",
    "--disable-pip-version-check",
    "--progress-bar",
    "off",
    "--no-compile",
]
UV_INSTALL = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
INDEX_OPTIONS = ("index-url", "no-index")


def has_own_index() -> bool:
    """Whether pip is told, by a file or the environment, to install from another place."""
    settings = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    names = [line.partition("=")[0].rpartition(".")[2] for line in settings.splitlines()]
    return any(option in names for option in INDEX_OPTIONS)


def install_uv() -> bool:
    """Install uv, if it is not there; returns whether it is."""
    try:
        import uv  # noqa: F401
    except ImportError:
        done = subprocess.run([*PIP_INSTALL, "--quiet", "-c", "constraints.txt", "uv"])
        return done.returncode == 0
    return True


def main(arguments: list[str]) -> int:
    """Install with uv, else with pip. Returns the exit status."""
    if not has_own_index() and install_uv():
        status = subprocess.run([*UV_INSTALL, *arguments]).returncode
        if status == 0:
            return 0
        print("uv could not install it; pip tries", flush=True)
    return subprocess.run([*PIP_INSTALL, *arguments]).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
