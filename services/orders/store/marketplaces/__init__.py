"""SQL of marketplaces. Row-level security picks the tenant's rows."""
