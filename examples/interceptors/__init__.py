"""Three interceptors from life: tokens, an audit log, a cache of results. Copy what you need, or take it as it is."""

from .audit import AuditLog
from .cache import ResultCache
from .tokens import BearerToken, VerifyToken

__all__ = ["AuditLog", "BearerToken", "ResultCache", "VerifyToken"]
