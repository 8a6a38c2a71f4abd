"""permessage-deflate with Daphne, which never offers it by itself: through autobahn's hook for offers.

Neither side keeps a context between messages. What goes out is deflated once for all (see `packets`); what comes in is
inflated by a decompressor that lives for one message, since a window for each idle connection would cost more memory
than all else that is kept of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autobahn.websocket.compress import PERMESSAGE_COMPRESSION_EXTENSION
from autobahn.websocket.compress_deflate import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)


class ContextlessAccept(PerMessageDeflateOfferAccept):
    """The answer to an offer: nobody keeps a context.

    A server may ask that of a client which did not offer it (RFC 7692, section 7.1.1.2); autobahn asks only those
    that did.
    """

    def __init__(self, offer: PerMessageDeflateOffer) -> None:
        super().__init__(offer, no_context_takeover=True)
        self.request_no_context_takeover = True


class ContextlessDeflate(PerMessageDeflate):
    """Forgets its decompressor with each message."""

    def end_decompress_message(self) -> None:
        """The message is whole."""
        super().end_decompress_message()
        self._decompressor = None


def accept_compression(offers: Iterable[Any]) -> ContextlessAccept | None:
    """The first offer of permessage-deflate; None without one: then nothing is compressed."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and not offer.request_max_window_bits:
            return ContextlessAccept(offer)
    return None


def use_contextless_deflate() -> None:
    """Makes autobahn inflate with `ContextlessDeflate`; before a server starts."""
    PERMESSAGE_COMPRESSION_EXTENSION[PerMessageDeflate.EXTENSION_NAME]["PMCE"] = ContextlessDeflate
