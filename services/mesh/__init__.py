"""The embedded stack: PostgreSQL, NATS, Envoy, the services and the edge, started and watched by one process.

What runs a part belongs here; what a part does belongs to the part. No service imports this package.
"""
