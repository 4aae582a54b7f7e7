from __future__ import annotations

import psycopg
import pytest

from services.mesh import databases, faults, parts, secret_files

INVENTORY, ORDERS = databases.database("inventory"), databases.database("orders")


def connect(cluster, database="postgres", user="tillmesh_admin"):
    return psycopg.connect(cluster.url(database, user), autocommit=True)


def passwords(cluster):
    return secret_files.ensure_passfile(cluster.passfile, [])


def test_nobody_but_the_administrator_is_superuser_or_passes_row_level_security(cluster):
    with connect(cluster) as admin:
        powerful = admin.execute(
            "SELECT rolname FROM pg_roles "
            "WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
        )
        assert powerful.fetchall() == [("tillmesh_admin",)]


@pytest.mark.parametrize("service", parts.WITH_DATABASE)
def test_only_app_worker_and_migrator_log_in(cluster, service):
    with connect(cluster) as admin:
        found = admin.execute(
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE %s ORDER BY 1", [f"{service}_%"]
        ).fetchall()
    assert found == [(f"{service}_{kind}", kind in {"app", "worker"}) for kind in ("app", "owner", "search", "worker")]


@pytest.mark.parametrize("user", ["inventory_app", "inventory_worker"])
@pytest.mark.parametrize("database", [ORDERS, "postgres", "template1"])
def test_a_service_enters_no_database_but_its_own(cluster, user, database):
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(cluster, database, user)


@pytest.mark.parametrize("user", ["inventory_app", "inventory_worker"])
def test_a_service_makes_no_tables(cluster, user):
    with connect(cluster, INVENTORY, user) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE sneaky (a int)")


def test_a_worker_has_the_rights_of_the_app_only_after_asking(cluster):
    with (
        connect(cluster, INVENTORY, databases.MIGRATOR) as owner,
        connect(cluster, INVENTORY, "inventory_worker") as worker,
    ):
        owner.execute("CREATE TABLE levels (a int)")
        owner.execute("GRANT SELECT ON levels TO inventory_app")
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute("SELECT * FROM levels")
            worker.execute("SET ROLE inventory_app")
            assert worker.execute("SELECT * FROM levels").fetchall() == []
        finally:
            owner.execute("DROP TABLE levels")


def test_what_a_migration_makes_belongs_to_the_owner(cluster):
    with connect(cluster, ORDERS, databases.MIGRATOR) as migrator:
        assert migrator.execute("SELECT session_user, current_user").fetchone() == (databases.MIGRATOR, "orders_owner")


def test_a_migration_can_make_functions_of_the_search_role(cluster):
    with connect(cluster, INVENTORY, databases.MIGRATOR) as migrator:
        migrator.execute("CREATE FUNCTION found() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
        try:
            migrator.execute("ALTER FUNCTION found() OWNER TO inventory_search")
            owner = migrator.execute("SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'found'").fetchone()
            assert owner == ("inventory_search",)
        finally:
            migrator.execute("SET ROLE inventory_search")
            migrator.execute("DROP FUNCTION found()")


def test_a_second_bootstrap_mends_what_was_changed_by_hand(cluster):
    with connect(cluster) as admin:
        admin.execute("ALTER ROLE inventory_app BYPASSRLS CREATEDB")
        admin.execute(f"GRANT CONNECT ON DATABASE {INVENTORY} TO PUBLIC")
        databases.bootstrap(cluster.url, passwords(cluster))
        mended = admin.execute("SELECT rolbypassrls, rolcreatedb FROM pg_roles WHERE rolname = 'inventory_app'")
        assert mended.fetchone() == (False, False)
        assert admin.execute(f"SELECT has_database_privilege('orders_app', '{INVENTORY}', 'CONNECT')").fetchone() == (
            False,
        )


def test_search_by_likeness_works_for_the_app(cluster):
    with connect(cluster, INVENTORY, "inventory_app") as app:
        row = app.execute(
            "SELECT similarity('lipstick', 'lipstik') > 0.5, unaccent('crème'), levenshtein('a', 'b')"
        ).fetchone()
        assert row == (True, "creme", 1)


def test_the_passwords_of_another_cluster_are_refused_in_one_sentence(cluster, home):
    strange = home / "pgpass"
    wrong = secret_files.ensure_passfile(strange, ["tillmesh_admin", *databases.logins()])

    def url(database):
        return cluster.url(database).replace(
            str(cluster.passfile).replace("/", "%2F"), str(strange).replace("/", "%2F")
        )

    with pytest.raises(faults.Refusal, match="are not those of this cluster"):
        databases.bootstrap(url, wrong)


def test_an_outside_database_that_is_not_there_is_one_sentence():
    with pytest.raises(faults.Refusal, match=r"^The database of TILLMESH_X can't be reached: [^\n]+\.$"):
        databases.check_outside("postgresql://a:b@127.0.0.1:1/none", "TILLMESH_X")


def test_the_state_of_a_database_changes_with_its_revision(cluster):
    before = databases.state(cluster.url, "orders")
    with connect(cluster, ORDERS, databases.MIGRATOR) as migrator:
        migrator.execute("CREATE TABLE alembic_version AS SELECT 'abc'::text AS version_num")
        try:
            assert databases.state(cluster.url, "orders") == f"{before} abc"
        finally:
            migrator.execute("DROP TABLE alembic_version")
