"""A session's messages as staff read them: in their order, a page at a time, tool calls folded."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast, Left, Length
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from conversations.models import Message, Session
from syncing import staff

#: Messages of a page, and characters of each that it shows; the message's own page has all of it.
PAGE = 50
SHOWN = 4_000
#: The parameter that says after which message a page begins.
AFTER = "after"


def transcript(request: HttpRequest, session: Session) -> SafeString:
    """The page of the conversation that the request asks for (`?after=50`), as HTML."""
    after = asked(request)
    reads = staff.reads_personal(request)
    rows: Any = Message.objects.filter(session=session, sequence_number__gt=after).order_by("sequence_number")
    rows = rows.defer("content", "tool_calls", "tool_results", "response_metadata")
    if reads:
        rows = rows.annotate(
            shown=Left("content", SHOWN),
            length=Length("content"),
            calls=Left(Cast("tool_calls", TextField()), SHOWN),
            results=Left(Cast("tool_results", TextField()), SHOWN),
        )
    messages = list(rows[: PAGE + 1])
    context = {
        "session": session,
        "reads": reads,
        "messages": [told(message, reads) for message in messages[:PAGE]],
        "next": messages[PAGE - 1].sequence_number if len(messages) > PAGE else None,
        "last": max(0, session.last_sequence - PAGE),
        "after": after,
        "parameter": AFTER,
    }
    return SafeString(render_to_string("conversations/transcript.html", context))


def asked(request: HttpRequest) -> int:
    """After which number the page begins; 0 for what is none."""
    text = request.GET.get(AFTER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def told(message: Any, reads: bool) -> dict[str, Any]:
    """What the template shows of a message."""
    about = {"row": message, "role": message.role, "number": message.sequence_number}
    if not reads:
        return about
    return about | {
        "content": message.shown,
        "more": max(0, message.length - SHOWN),
        "calls": [] if message.calls == "[]" else named(message.calls, "call"),
        "results": [] if message.results == "[]" else named(message.results, "result"),
    }


def named(text: str, what: str) -> list[tuple[str, str]]:
    """Tool calls or results, each by a name and its JSON; as one piece where they were too long to be shown whole."""
    try:
        items = json.loads(text)
    except ValueError:
        return [(f"{what}s, cut", text)]
    return [
        (str(item.get("name") or item.get("id") or what), json.dumps(item, indent=2, ensure_ascii=False))
        for item in items
    ]
