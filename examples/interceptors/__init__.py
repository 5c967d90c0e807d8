"""Three interceptors from life: tokens, an audit log, a cache of results. Copy what you need, or take it as it is."""

from meshcore import BearerToken

from .audit import AuditLog
from .cache import ResultCache
from .tokens import VerifyToken

__all__ = ["AuditLog", "BearerToken", "ResultCache", "VerifyToken"]
