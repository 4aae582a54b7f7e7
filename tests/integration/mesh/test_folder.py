from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.mesh import faults, folder, layout


def claim(data):
    return folder.claimed(layout.of(data))


def sentence(data):
    with pytest.raises(faults.Refusal) as refused, claim(data):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_that_is_not_there_is_made_with_its_parents(home):
    with claim(home / "a b" / "data"):
        assert (home / "a b" / "data" / "format").read_text() == "1\n"
        assert (home / "a b" / "data" / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_second_claim_names_the_process_that_holds_the_folder(home):
    with claim(home / "data"):
        assert f"already runs on the data folder {home / 'data'} (process {os.getpid()})" in sentence(home / "data")


def test_a_folder_is_free_again_after_its_holder_ended(home):
    with claim(home / "data"):
        pass
    with claim(home / "data"):
        pass


def test_newer_data_is_refused(home):
    with claim(home / "data"):
        pass
    (home / "data" / "format").write_text("2\n")
    assert "was written by a newer Tillmesh (format 2, this one knows 1)" in sentence(home / "data")


def test_a_damaged_format_file_is_refused(home):
    with claim(home / "data"):
        pass
    (home / "data" / "format").write_text("\x00")
    assert "should hold a number" in sentence(home / "data")


def test_a_path_that_is_no_folder_is_refused(home):
    (home / "file").write_text("")
    assert sentence(home / "file") == f"TILLMESH_DATA is {home / 'file'}, which is not a folder."
    assert "(Not a directory)" in sentence(home / "file" / "below")


def test_a_folder_with_somebodys_files_is_refused(home):
    (home / "thesis.txt").write_text("")
    assert "holds files that are not Tillmesh's (thesis.txt)" in sentence(home)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is where even root can't write")
def test_a_place_where_nothing_can_be_written_is_refused():
    assert "can't be used" in sentence(Path("/proc/tillmesh"))


@pytest.fixture
def plain_user():
    """As root, which no mode stops, the test is another user for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_read_only_folder_is_refused(home, plain_user):
    if os.geteuid() == home.stat().st_uid:
        home.chmod(0o555)
    assert "can't be used (Permission denied): make it writable or set TILLMESH_DATA" in sentence(home)


def test_a_socket_folder_that_somebody_else_made_is_refused(home):
    (home / "elsewhere").mkdir()
    (home / "tm-1").symlink_to(home / "elsewhere")
    with pytest.raises(faults.Refusal, match="belongs to someone else"):
        folder.files.private_folder(home / "tm-1")


@pytest.mark.parametrize("home_of_sockets", ["", "/nowhere", "relative", "/tmp/" + "long" * 30])
def test_sockets_fit_into_their_folder_whatever_the_environment_says(home, home_of_sockets):
    place = layout.of(home, {"XDG_RUNTIME_DIR": home_of_sockets})
    assert place.run.parent == Path("/tmp")
    assert all(len(os.fsencode(path)) <= 107 for path in place.sockets("marketing-16"))


def test_a_program_that_lacks_a_package_says_so_in_one_sentence(home):
    command = [sys.executable, "-P", "-S", "-m", "services.mesh"]
    done = subprocess.run(command, env={"PYTHONPATH": str(layout.ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("\n") == 1
    assert "is missing: run ./scripts/bootstrap" in done.stderr
