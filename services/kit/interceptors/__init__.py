"""What happens around every rpc, in one fixed order: telemetry, access, deadline, validation, and the error funnel.

One server interceptor, composed rather than chained: a method is wrapped when it is first called (or at start, by
`prepare`) and the wrapped handler is kept, so that a call costs no more than its checks. Order of refusals: 401, role,
scope, validation, location.
"""

from __future__ import annotations

from services.kit.interceptors.interceptor import Interceptor

__all__ = ["Interceptor"]
