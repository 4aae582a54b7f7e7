"""scripts/bootstrap with a Python that only notes what it is asked, so that no test installs anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from services.mesh import layout

ASKED = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  *version_info*) exit ${TOO_OLD:-0} ;;
  *ensurepip*) exit ${NO_VENV:-0} ;;
  -V) echo "Python 3.11.9" ;;
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip"*) exit ${PIP_FAILS:-0} ;;
  *) exec "$REAL" "$@" ;;
esac
"""


@pytest.fixture
def clone(home):
    """A clone in a path with a space, with a lock, and a folder with the only Python to be found."""
    root = home / "my shop"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(layout.ROOT / "scripts" / "bootstrap", root / "scripts")
    (root / "scripts" / "requirements.lock").write_text("one==1\n")
    (root / "scripts" / "requirements-dev.lock").write_text("one==1\ntwo==2\n")
    tools = home / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "dirname", "cmp", "rm", "mv", "cp", "touch", "mkdir", "env"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").write_text(ASKED)
    (tools / "python3").chmod(0o755)
    return root


def start(clone, *arguments, **told):
    environment = {"PATH": str(clone.parent / "tools"), "CALLS": str(clone / "calls"), "REAL": sys.executable, **told}
    return subprocess.Popen(
        [str(clone / "scripts" / "bootstrap"), *arguments], env=environment, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def bootstrap(clone, *arguments, **told):
    """Runs it; returns the exit code and the last line."""
    program = start(clone, *arguments, **told)
    said = program.communicate()[1].splitlines()
    return program.returncode, said[-1] if said else ""


def calls(clone, wanted):
    return sum(wanted in line for line in (clone / "calls").read_text().splitlines())


def test_an_installed_lock_is_not_installed_again(clone):
    assert bootstrap(clone)[0] == 0
    before = calls(clone, "")
    assert bootstrap(clone) == (0, "")
    assert calls(clone, "") == before


def test_a_changed_lock_is_installed_into_the_same_environment(clone):
    bootstrap(clone)
    (clone / "scripts" / "requirements.lock").write_text("one==2\n")
    assert bootstrap(clone)[0] == 0
    assert (calls(clone, "-m venv"), calls(clone, "-m pip")) == (1, 2)


def test_the_tools_of_developers_come_on_top_and_contain_the_rest(clone):
    bootstrap(clone, "--dev")
    bootstrap(clone)
    assert (calls(clone, "requirements-dev.lock"), calls(clone, "requirements.lock")) == (1, 0)


def test_a_failed_install_is_not_taken_for_a_finished_one(clone):
    code, said = bootstrap(clone, PIP_FAILS="1")
    assert (code, said) == (
        78,
        "bootstrap: the packages of scripts/requirements.lock couldn't be installed; the reason stands above.",
    )
    assert bootstrap(clone)[0] == 0
    assert calls(clone, "-m venv --clear") == 2


def test_two_at_the_same_time_install_once(clone):
    both = [start(clone), start(clone)]
    for program in both:
        program.communicate()
    assert [program.returncode for program in both] == [0, 0]
    assert calls(clone, "-m pip") == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"TOO_OLD": "1"}, "no Python 3.11 or newer was found; install one, or name it with TILLMESH_PYTHON."),
        ({"NO_VENV": "1"}, "Python 3.11.9 has no venv module; install it (Debian: apt-get install python3-venv)."),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(clone, told, expected):
    assert bootstrap(clone, **told) == (78, f"bootstrap: {expected}")


def test_what_the_caller_says_about_other_pythons_does_not_matter(clone):
    told = {"PYTHONPATH": "/nonsense", "VIRTUAL_ENV": "/nonsense", "PIP_TARGET": "/nonsense"}
    assert bootstrap(clone, **told)[0] == 0
    assert calls(clone, "-I -m pip") == 1


def test_an_unknown_option_is_refused(clone):
    assert bootstrap(clone, "--fast") == (78, "bootstrap: unknown option '--fast': only --dev is known.")


def test_the_scripts_can_be_started(request):
    for name in ("bootstrap", "server", "lock"):
        assert os.access(layout.ROOT / "scripts" / name, os.X_OK)
        assert subprocess.run(["bash", "-n", str(layout.ROOT / "scripts" / name)], check=False).returncode == 0
