from __future__ import annotations

import pytest

from services.mesh import layout, migrations


@pytest.fixture
def source(home):
    (home / "code" / "orders" / "migrations").mkdir(parents=True)
    (home / "code" / "orders" / "migrations" / "one.py").write_text("one")
    (home / "data" / "run").mkdir(parents=True)
    return home / "code"


@pytest.fixture
def notes(home, source):
    found = migrations.Migrations(layout.of(home / "data"), "orders", source)
    found.done("cluster 1 revision a")
    return found


def test_migrations_that_were_run_are_skipped_while_nothing_changes(notes):
    assert notes.are_done("cluster 1 revision a")


@pytest.mark.parametrize("state", ["cluster 2 revision a", "cluster 1 revision b", ""])
def test_another_database_or_revision_has_them_run_again(notes, state):
    assert not notes.are_done(state)


@pytest.mark.parametrize(("name", "text"), [("one.py", "changed"), ("two.py", "new")])
def test_a_changed_or_new_migration_has_them_run_again(notes, source, name, text):
    (source / "orders" / "migrations" / name).write_text(text)
    assert not notes.are_done("cluster 1 revision a")


def test_a_first_start_runs_them(home, source):
    (home / "data" / "run" / "migrated-orders").unlink(missing_ok=True)
    assert not migrations.Migrations(layout.of(home / "data"), "orders", source).are_done("cluster 1 revision a")
