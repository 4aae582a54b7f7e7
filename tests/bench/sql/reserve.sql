-- Floor sql, one statement after the other: a reservation in a transaction of its own, on the service's tables, as the
-- service's role under row-level security. Texts are as long as the service's. Variables: tenant, location.
BEGIN;
SELECT set_config('app.tenant_id', :tenant, true);
SELECT h.seq + 1 AS seq, h.epoch FROM stock_head h
WHERE h.tenant_id = :tenant AND h.location_id = :location FOR UPDATE OF h \gset
UPDATE stock_level SET reserved = reserved + 1, version = :seq, updated_at = clock_timestamp()
WHERE tenant_id = :tenant AND location_id = :location AND sku_key = 'sku-0001' AND available >= 1;
UPDATE stock_head SET seq = :seq WHERE tenant_id = :tenant AND location_id = :location;
INSERT INTO hold (tenant_id, location_id, created_at, id, line, sku, quantity, state, order_ref, expires_at, created_seq)
VALUES (:tenant, :location, clock_timestamp(), gen_random_uuid(), 1, 'SKU-0001', 1, 1, '',
    date_trunc('second', clock_timestamp()) + interval '1 day', :seq);
INSERT INTO hold_bucket AS x (tenant_id, location_id, sku_key, expires_at, quantity)
VALUES (:tenant, :location, 'sku-0001', date_trunc('second', clock_timestamp()) + interval '1 day', 1)
ON CONFLICT (tenant_id, location_id, sku_key, expires_at) DO UPDATE SET quantity = x.quantity + excluded.quantity;
INSERT INTO ledger (tenant_id, location_id, recorded_at, seq, line, sku, from_state, to_state, quantity, reason, ref_type,
    ref_id, actor, terminal, occurred_at)
VALUES (:tenant, :location, clock_timestamp(), :seq, 1, 'SKU-0001', 2, 3, 1, 14, 'reservation', 'rsv_01jd0000000000000000000000',
    'cli_01jd0000000000000000000000', '', clock_timestamp());
INSERT INTO idempotency (tenant_id, principal, method, key, fingerprint, response, day)
VALUES (:tenant, 'cli_01jd0000000000000000000000', 'ReserveStock', gen_random_uuid()::text, decode(repeat('ab', 16), 'hex'),
    decode(repeat('ab', 150), 'hex'), date_trunc('day', now(), 'UTC'));
INSERT INTO outbox (tenant_id, key, seq_to, recorded_at, seq_from, epoch, id, shard, type, occurred_at, traceparent,
    causation_id, data, published_at)
VALUES (:tenant, 'loc_01jd0000000000000000000000', :seq, clock_timestamp(), :seq, :epoch, gen_random_uuid(), 1,
    'tillmesh.inventory.v1.StockChanged', clock_timestamp(), '', '', decode(repeat('ab', 350), 'hex'), clock_timestamp());
COMMIT;
