"""Chats in the format of OpenAI's chat completions: `{"id"?, "model"?, "messages": [...]}`, or the bare list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conversations.formats import values
from conversations.formats.calls import Calls
from conversations.formats.conversation import BadRecord, Conversation, Turn, title_of

SOURCE = "openai"
ROLES = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
IDS = ("id", "conversation_id", "session_id", "custom_id")
TIMES = ("created_at", "create_time", "created", "timestamp")


def is_chat(record: Any) -> bool:
    """Whether this looks like a chat in this format."""
    return isinstance(record, dict) and "messages" in record


def is_message(record: Any) -> bool:
    """Whether this looks like a single message, so that a list of them is one chat."""
    return isinstance(record, dict) and "role" in record and "messages" not in record


def parse(record: Any) -> Conversation:
    """The conversation; BadRecord, with the place inside, where there is none."""
    chat: dict[str, Any] = {"messages": record} if isinstance(record, list) else record
    messages = chat.get("messages")
    if not isinstance(messages, list):
        raise BadRecord(f"messages is no list: {values.shown(messages)}")
    if not messages:
        raise BadRecord("messages is empty")
    model = values.short_text(chat.get("model"))
    calls = Calls()
    turns = [_turn(message, index, model, calls) for index, message in enumerate(messages)]
    digest = values.digest_of(record)
    identity = next((chat[name] for name in IDS if chat.get(name) not in (None, "")), None)
    return Conversation(
        source=SOURCE,
        key=values.key_of(SOURCE, identity, digest),
        digest=digest,
        title=title_of(values.short_text(chat.get("title"), 1000), turns),
        turns=turns,
        model=model,
        started_at=values.first_timestamp(chat, TIMES, "") or next((t.created_at for t in turns if t.created_at), None),
        tools=_tools(chat),
    )


def _turn(message: Any, index: int, model: str, calls: Calls) -> Turn:
    place = f"messages[{index}]"
    if not isinstance(message, dict):
        raise BadRecord(f"{place} is no object: {values.shown(message)}")
    given = message.get("role")
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise BadRecord(f"{place}.role is not one of {', '.join(ROLES)}: {values.shown(given)}")
    content, attachments = _content(message.get("content"), f"{place}.content")
    metadata: dict[str, Any] = {"attachments": attachments} if attachments else {}
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        metadata["refusal"] = values.text(refusal)
        content = content or values.content_of(refusal, f"{place}.refusal")
    tool_calls: list[dict[str, Any]] = []
    tool_results: list[dict[str, Any]] = []
    parent = None
    if role == "assistant":
        tool_calls = _calls(message, index, place)
        calls.made(index, tool_calls)
    elif role == "tool":
        name = values.short_text(message.get("name"))
        parent, result = calls.answered(message.get("tool_call_id"), name, values.json_or_text(content))
        tool_results = [result]
    elif name := values.short_text(message.get("name")):
        metadata["name"] = name
    usage = message.get("usage")
    return Turn(
        role=role,
        content=content,
        created_at=values.first_timestamp(message, TIMES, place),
        model=values.short_text(message.get("model")) or (model if role == "assistant" else ""),
        tokens=values.count(usage.get("completion_tokens") if isinstance(usage, dict) else message.get("tokens")),
        parent=parent,
        tool_calls=tool_calls,
        tool_results=tool_results,
        response_metadata=metadata,
    )


def _content(content: Any, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The text, and what was attached to it. Parts that are no text leave a mark in the text."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return values.content_of(content, place), []
    if not isinstance(content, list):
        raise BadRecord(f"{place} is neither text nor a list of parts: {values.shown(content)}")
    texts: list[str] = []
    attachments: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            raise BadRecord(f"{place}[{index}] is no part: {values.shown(part)}")
        elif isinstance(said := part.get("text", part.get("refusal")), str):
            texts.append(said)
        else:
            attachment = _attachment(part)
            attachments.append(attachment)
            texts.append(f"[{attachment.get('name') or attachment['type']}]")
    return values.content_of("\n".join(texts), place), attachments


def _attachment(part: Mapping[str, Any]) -> dict[str, Any]:
    """What a part that is no text was, without its bytes: those are not ours to keep."""
    kind = values.short_text(part.get("type")) or "part"
    inner = part.get(kind)
    found: dict[str, Any] = {"type": kind}
    if isinstance(inner, dict):
        url, name = inner.get("url"), inner.get("filename") or inner.get("file_id")
        if isinstance(url, str) and not url.startswith("data:"):
            found["url"] = values.short_text(url, 2000)
        if isinstance(name, str):
            found["name"] = values.short_text(name)
    return found


def _calls(message: Mapping[str, Any], index: int, place: str) -> list[dict[str, Any]]:
    """The calls of a message, those of the older form (`function_call`) too, each with an id."""
    given = message.get("tool_calls") or []
    if not isinstance(given, list):
        raise BadRecord(f"{place}.tool_calls is no list: {values.shown(given)}")
    found = [_call(call, f"{place}.tool_calls[{at}]", f"call_{index}_{at}") for at, call in enumerate(given)]
    if legacy := message.get("function_call"):
        found.append(_call({"function": legacy}, f"{place}.function_call", f"function_call_{index}"))
    return found


def _call(call: Any, place: str, spare_id: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise BadRecord(f"{place} is no object: {values.shown(call)}")
    function = call.get("function", call.get("custom"))
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise BadRecord(f"{place} names no function: {values.shown(call)}")
    identity = call.get("id")
    return {
        "id": values.text(identity) if isinstance(identity, str) and identity else spare_id,
        "name": values.text(function["name"]),
        "arguments": values.json_or_text(function.get("arguments", function.get("input"))),
    }


def _tools(chat: Mapping[str, Any]) -> list[str]:
    """Names of the tools that the assistant was offered."""
    names = []
    for tool in chat.get("tools") or chat.get("functions") or []:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            names.append(values.text(function["name"]))
    return names
