"""tools/install.py: uv where it can, else pip."""

import importlib.util
import os
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(name, status=0):
    """A command that prints its name and arguments, and ends with a status."""
    script = f"import sys; print({name!r}, *sys.argv[1:]); raise SystemExit({status})"
    return [sys.executable, "-c", script]


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "PIP_NO_INDEX"])
def test_pip_keeps_an_index_of_its_own(install, monkeypatch, variable):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://packages.example.org/simple")
    assert not install.has_own_index()
    monkeypatch.setenv(variable, "1")
    assert install.has_own_index()


@pytest.mark.parametrize(
    "own_index, has_uv, uv_status, expected",
    [
        (False, True, 0, ["uv -e ."]),
        (False, True, 2, ["uv -e .", "uv could not install it; pip tries", "pip -e ."]),
        (False, False, 0, ["pip -e ."]),
        (True, True, 0, ["pip -e ."]),
    ],
)
def test_pip_installs_where_uv_cannot(
    install, monkeypatch, capfd, own_index, has_uv, uv_status, expected
):
    monkeypatch.setattr(install, "has_own_index", lambda: own_index)
    monkeypatch.setattr(install, "install_uv", lambda: has_uv)
    monkeypatch.setattr(install, "UV_INSTALL", program("uv", uv_status))
    monkeypatch.setattr(install, "PIP_INSTALL", program("pip"))
    assert install.main(["-e", "."]) == 0
    assert capfd.readouterr().out.splitlines() == expected
