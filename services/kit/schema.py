"""DDL that every service's migrations share: tenants kept apart, messaging tables, partitions by time.

Only migrations import this. Statements are idempotent where a later migration may repeat them.
"""

from __future__ import annotations

AUDIT_YEARS = 10  # as long as books have to be kept
TENANT = "nullif(current_setting('app.tenant_id', true), '')::uuid"


def tenant_table(
    service: str, table: str, *, app: str = "SELECT, INSERT, UPDATE, DELETE", worker: str = ""
) -> list[str]:
    """Row-level security for a table with a tenant_id: the app role sees its tenant, the worker what it is granted.

    app and worker are privileges, e.g. `SELECT, INSERT`. A worker's policy admits rows of all tenants.
    """
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} TO {service}_app USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})",
        f"GRANT {app} ON {table} TO {service}_app",
    ]
    if worker:
        statements += [
            f"CREATE POLICY worker ON {table} TO {service}_worker USING (true) WITH CHECK (true)",
            f"GRANT {worker} ON {table} TO {service}_worker",
        ]
    return statements


def partitions(service: str) -> list[str]:
    """A table of what is partitioned and for how long it is kept, and the function that keeps it so.

    maintain_partitions() makes partitions two weeks ahead (steps of a day or a month) and drops what has aged; a default
    partition takes what none fits, so that a stopped maintenance never stops a sale.
    """
    return [
        """CREATE TABLE partition_policy (
            table_name text PRIMARY KEY,
            step text NOT NULL CHECK (step IN ('day', 'month')),
            keep interval
        )""",
        """CREATE FUNCTION maintain_partitions() RETURNS int LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = public, pg_temp AS $$
        DECLARE
            policy record; part record; from_at timestamptz; until_at timestamptz; made int := 0;
        BEGIN
            LOCK TABLE partition_policy IN SHARE ROW EXCLUSIVE MODE;  -- one at a time
            SET LOCAL timezone = 'UTC';
            FOR policy IN SELECT * FROM partition_policy LOOP
                from_at := date_trunc(policy.step, clock_timestamp()) - ('1 ' || policy.step)::interval;
                WHILE from_at < clock_timestamp() + interval '14 days' LOOP
                    until_at := from_at + ('1 ' || policy.step)::interval;
                    IF to_regclass(format('%I', policy.table_name || to_char(from_at, '_YYYYMMDD'))) IS NULL THEN
                        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                            policy.table_name || to_char(from_at, '_YYYYMMDD'), policy.table_name, from_at, until_at);
                        made := made + 1;
                    END IF;
                    from_at := until_at;
                END LOOP;
                CONTINUE WHEN policy.keep IS NULL;
                FOR part IN
                    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = to_regclass(format('%I', policy.table_name))
                      AND c.relname ~ '_[0-9]{8}$'
                      AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + ('1 ' || policy.step)::interval
                          < clock_timestamp() - policy.keep
                LOOP
                    EXECUTE format('DROP TABLE %I', part.relname);
                END LOOP;
            END LOOP;
            RETURN made;
        END $$""",
        "REVOKE ALL ON FUNCTION maintain_partitions() FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION maintain_partitions() TO {service}_worker",
    ]


def partitioned(table: str, step: str, keep: str | None) -> list[str]:
    """Puts a table `PARTITION BY RANGE (timestamptz)` under maintenance. keep: an interval, None for ever."""
    kept = f"interval '{keep}'" if keep else "NULL"
    return [
        f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT",
        f"INSERT INTO partition_policy VALUES ('{table}', '{step}', {kept})",
    ]


def idempotency(service: str) -> list[str]:
    """What was answered to a key. One row for each UTC day that the claim's moment, give or take 5 minutes, touches."""
    return [
        """CREATE TABLE idempotency (
            tenant_id uuid NOT NULL, principal text NOT NULL, method text NOT NULL, key text NOT NULL,
            day timestamptz NOT NULL, fingerprint bytea NOT NULL, response bytea,
            PRIMARY KEY (tenant_id, principal, method, key, day)
        ) PARTITION BY RANGE (day)""",
        *partitioned("idempotency", "day", "3 days"),
        *tenant_table(service, "idempotency", app="SELECT, INSERT, UPDATE"),
    ]


def messaging(service: str) -> list[str]:
    """Outbox, relay leases, inbox cursors and dead letters (services/kit/{outbox,relay,inbox}.py say how they are used)."""
    return [
        """CREATE TABLE outbox (
            tenant_id uuid NOT NULL, key text NOT NULL, seq_to bigint NOT NULL, recorded_at timestamptz NOT NULL,
            seq_from bigint NOT NULL, epoch bigint NOT NULL, id uuid NOT NULL, shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 63),
            type text NOT NULL, occurred_at timestamptz NOT NULL, traceparent text NOT NULL DEFAULT '',
            causation_id text NOT NULL DEFAULT '', data bytea NOT NULL, published_at timestamptz,
            CHECK (seq_from <= seq_to),
            PRIMARY KEY (tenant_id, key, seq_to, recorded_at)
        ) PARTITION BY RANGE (recorded_at)""",
        "CREATE INDEX outbox_unpublished ON outbox (shard, recorded_at) WHERE published_at IS NULL",
        "CREATE INDEX outbox_recorded ON outbox (recorded_at)",
        *partitioned("outbox", "day", "7 days"),
        *tenant_table(service, "outbox", app="SELECT, INSERT", worker="SELECT, UPDATE"),
        """CREATE TABLE relay_lease (
            shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
            holder text NOT NULL DEFAULT '', fence bigint NOT NULL DEFAULT 0, expires_at timestamptz NOT NULL DEFAULT '-infinity'
        )""",
        "INSERT INTO relay_lease (shard) SELECT generate_series(0, 63)",
        f"GRANT SELECT, UPDATE ON relay_lease TO {service}_worker",
        # The relays that live, by which a fair share of the shards is known.
        "CREATE TABLE relay_member (holder text PRIMARY KEY, expires_at timestamptz NOT NULL)",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON relay_member TO {service}_worker",
        """CREATE TABLE inbox_cursor (
            tenant_id uuid NOT NULL, consumer text NOT NULL, key text NOT NULL,
            epoch bigint NOT NULL, seq bigint NOT NULL, updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (tenant_id, consumer, key)
        )""",
        *tenant_table(service, "inbox_cursor", app="SELECT, INSERT, UPDATE", worker="SELECT"),
        """CREATE TABLE dead_letter (
            tenant_id uuid NOT NULL, consumer text NOT NULL, key text NOT NULL, seq_from bigint NOT NULL, seq_to bigint NOT NULL,
            event_id text NOT NULL, envelope bytea NOT NULL, error text NOT NULL, attempts int NOT NULL,
            dead_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (tenant_id, consumer, key, seq_from)
        )""",
        *tenant_table(service, "dead_letter", worker="SELECT, INSERT, UPDATE, DELETE"),
        """CREATE TABLE worker_lease (
            name text PRIMARY KEY, holder text NOT NULL, fence bigint NOT NULL, expires_at timestamptz NOT NULL
        )""",
        f"GRANT SELECT, INSERT, UPDATE ON worker_lease TO {service}_worker",
    ]


def audit(service: str) -> list[str]:
    """The audit log (services/kit/audit). Nobody but the owner can change or remove an entry or a seal.

    The worker's part is to seal: it takes entries out of audit_pending, in the transaction that writes their seal.
    """
    return [
        """CREATE TABLE audit_entry (
            tenant_id uuid NOT NULL, id uuid NOT NULL, recorded_at timestamptz NOT NULL,
            actor text NOT NULL, service text NOT NULL, method text NOT NULL, action text NOT NULL,
            resource text NOT NULL, resource_id text NOT NULL, request_id text NOT NULL, traceparent text NOT NULL,
            changes text NOT NULL,
            PRIMARY KEY (tenant_id, recorded_at, id)
        ) PARTITION BY RANGE (recorded_at)""",
        "CREATE INDEX audit_entry_resource ON audit_entry (tenant_id, resource, resource_id, recorded_at, id)",
        "CREATE INDEX audit_entry_actor ON audit_entry (tenant_id, actor, recorded_at, id)",
        *partitioned("audit_entry", "month", f"{AUDIT_YEARS} years"),
        *tenant_table(service, "audit_entry", app="SELECT, INSERT", worker="SELECT"),
        """CREATE TABLE audit_pending (
            tenant_id uuid NOT NULL, id uuid NOT NULL, recorded_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, id)
        )""",
        *tenant_table(service, "audit_pending", app="SELECT, INSERT", worker="SELECT, DELETE"),
        # Kept for ever: 48 bytes an entry. hashes: 32 bytes for each of entries.
        """CREATE TABLE audit_seal (
            tenant_id uuid NOT NULL, seq bigint NOT NULL CHECK (seq > 0), sealed_at timestamptz NOT NULL,
            first_at timestamptz NOT NULL, last_at timestamptz NOT NULL, entries uuid[] NOT NULL, hashes bytea NOT NULL,
            digest bytea NOT NULL, key_id text NOT NULL, mac bytea NOT NULL,
            CHECK (octet_length(hashes) = 32 * cardinality(entries)),
            PRIMARY KEY (tenant_id, seq)
        )""",
        *tenant_table(service, "audit_seal", app="SELECT", worker="SELECT, INSERT"),
    ]
