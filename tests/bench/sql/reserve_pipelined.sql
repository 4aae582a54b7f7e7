-- Floor sql, all statements sent at once: what SQL alone can do if nothing is decided outside of it. Otherwise reserve.sql.
\startpipeline
BEGIN;
SELECT set_config('app.tenant_id', :tenant, true);
UPDATE stock_head SET seq = seq + 1 WHERE tenant_id = :tenant AND location_id = :location;
UPDATE stock_level x SET reserved = x.reserved + 1, version = h.seq, updated_at = clock_timestamp() FROM stock_head h
WHERE h.tenant_id = :tenant AND h.location_id = :location AND x.tenant_id = :tenant AND x.location_id = :location
  AND x.sku_key = 'sku-0001' AND x.available >= 1;
INSERT INTO hold (tenant_id, location_id, created_at, id, line, sku, quantity, state, order_ref, expires_at, created_seq)
SELECT h.tenant_id, h.location_id, clock_timestamp(), gen_random_uuid(), 1, 'SKU-0001', 1, 1, '',
    date_trunc('second', clock_timestamp()) + interval '1 day', h.seq
FROM stock_head h WHERE h.tenant_id = :tenant AND h.location_id = :location;
INSERT INTO hold_bucket AS x (tenant_id, location_id, sku_key, expires_at, quantity)
VALUES (:tenant, :location, 'sku-0001', date_trunc('second', clock_timestamp()) + interval '1 day', 1)
ON CONFLICT (tenant_id, location_id, sku_key, expires_at) DO UPDATE SET quantity = x.quantity + excluded.quantity;
INSERT INTO ledger (tenant_id, location_id, recorded_at, seq, line, sku, from_state, to_state, quantity, reason, ref_type,
    ref_id, actor, terminal, occurred_at)
SELECT h.tenant_id, h.location_id, clock_timestamp(), h.seq, 1, 'SKU-0001', 2, 3, 1, 14, 'reservation',
    'rsv_01jd0000000000000000000000', 'cli_01jd0000000000000000000000', '', clock_timestamp()
FROM stock_head h WHERE h.tenant_id = :tenant AND h.location_id = :location;
INSERT INTO idempotency (tenant_id, principal, method, key, fingerprint, response, day)
VALUES (:tenant, 'cli_01jd0000000000000000000000', 'ReserveStock', gen_random_uuid()::text, decode(repeat('ab', 16), 'hex'),
    decode(repeat('ab', 150), 'hex'), date_trunc('day', now(), 'UTC'));
INSERT INTO outbox (tenant_id, key, seq_to, recorded_at, seq_from, epoch, id, shard, type, occurred_at, traceparent,
    causation_id, data, published_at)
SELECT h.tenant_id, 'loc_01jd0000000000000000000000', h.seq, clock_timestamp(), h.seq, h.epoch, gen_random_uuid(), 1,
    'tillmesh.inventory.v1.StockChanged', clock_timestamp(), '', '', decode(repeat('ab', 350), 'hex'), clock_timestamp()
FROM stock_head h WHERE h.tenant_id = :tenant AND h.location_id = :location;
COMMIT;
\endpipeline
