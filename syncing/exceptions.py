"""One family of errors. The docstring is the default message; `code` is the protocol's, which machines read."""

from __future__ import annotations

from collections.abc import Mapping


class SyncError(Exception):
    """The request could not be carried out."""

    code = "internal"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        """What a person reads."""
        return str(self)


class BadFrame(SyncError):
    """The frame does not have the form that the protocol asks for."""

    code = "bad_frame"


class BadFilter(SyncError):
    """The filter is not one that the protocol knows."""

    code = "bad_filter"


class UnknownTable(SyncError):
    """There is no synced table of this name."""

    code = "unknown_table"


class UnknownColumn(SyncError):
    """The table has no synced column of this name."""

    code = "unknown_column"


class NotFilterable(SyncError):
    """The column cannot be filtered by."""

    code = "not_filterable"


class UnknownSubscription(SyncError):
    """There is no subscription of this id on this connection."""

    code = "unknown_subscription"


class DuplicateSubscription(SyncError):
    """A subscription of this id is already open on this connection."""

    code = "duplicate_subscription"


class TooManySubscriptions(SyncError):
    """The connection holds as many subscriptions as it may."""

    code = "too_many_subscriptions"


class RateLimited(SyncError):
    """Too many requests in too short a time."""

    code = "rate_limited"


class Unavailable(SyncError):
    """The server cannot do this now; try again later."""

    code = "unavailable"


class Rejected(SyncError):
    """The mutation cannot be applied, however often it is sent.

    fields: what is wrong, by column; messages name the path inside JSON.
    """

    code = "invalid"

    def __init__(self, message: str | None = None, fields: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.fields = dict(fields or {})


class Invalid(Rejected):
    """The values are not valid."""


class NotWritable(Rejected):
    """This cannot be written by clients."""

    code = "not_writable"


class NotFound(Rejected):
    """There is no such row."""

    code = "not_found"


class Forbidden(Rejected):
    """You may read this, but not write it."""

    code = "forbidden"


class Expired(Rejected):
    """The mutation is too old: whether it was applied is not known any more. Somebody has to look at it."""

    code = "expired"


class AtomicAborted(Rejected):
    """Another mutation of the same group could not be applied, so none was."""

    code = "atomic_aborted"


class TooLarge(SyncError):
    """There is more in it than this server takes at once."""

    code = "too_large"


class BadDeclaration(SyncError):
    """A synced model is declared in a way that cannot work."""


class Unmergeable(SyncError):
    """Both sides changed the value, and no rule makes one of the two."""
