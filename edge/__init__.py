"""What Envoy can't do alone: tokens, readiness of the whole mesh, the OpenAPI document and its page.

Belongs here: things a browser or a client asks of the deployment rather than of one service. Doesn't belong here:
business rules, SQL, or anything imported from ``services.<service>``.
"""
