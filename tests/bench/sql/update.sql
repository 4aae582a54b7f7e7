-- Floor A of a hot row: one statement that commits by itself, without hold, ledger, event or key. Printed beside the others.
-- A session has its tenant from the connection's options.
UPDATE stock_level SET reserved = reserved + 1, version = version + 1, updated_at = clock_timestamp()
WHERE tenant_id = :tenant AND location_id = :location AND sku_key = 'sku-0002' AND available >= 1;
