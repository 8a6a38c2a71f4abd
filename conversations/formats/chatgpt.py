"""Conversations of a ChatGPT data export (`conversations.json`): a tree of messages, of which one path is current."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from conversations.formats import values
from conversations.formats.calls import Calls
from conversations.formats.conversation import BadRecord, Conversation, Turn, title_of

SOURCE = "chatgpt"
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}
#: Members of a message's content that may hold its text, by the types of content that have been seen in exports.
TEXTS = ("text", "result", "content", "user_profile", "user_instructions", "model_set_context")


def is_chat(record: Any) -> bool:
    """Whether this looks like a conversation of an export."""
    return isinstance(record, dict) and "mapping" in record


def parse(record: dict[str, Any]) -> Conversation:
    """The conversation along the current path; BadRecord, with the node's name, where there is none."""
    started_at = values.first_timestamp(record, ("create_time",), "")
    model = values.short_text(record.get("default_model_slug"))
    calls = Calls()
    turns: list[Turn] = []
    latest = started_at
    for name, message in _current_path(record):
        turn = _turn(message, f"mapping[{values.shown(name)}].message", len(turns), calls)
        if turn is None:
            continue
        latest = turn.created_at or latest
        turns.append(replace(turn, created_at=latest, model=turn.model or (model if turn.role == "assistant" else "")))
    if not turns:
        raise BadRecord("no message on the current path has any content")
    digest = values.digest_of(record)
    return Conversation(
        source=SOURCE,
        key=values.key_of(SOURCE, record.get("conversation_id") or record.get("id"), digest),
        digest=digest,
        title=title_of(values.short_text(record.get("title"), 1000), turns),
        turns=turns,
        model=model or next((turn.model for turn in turns if turn.model), ""),
        started_at=started_at or turns[0].created_at,
    )


def _current_path(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and messages of the nodes from the root to the current one; nodes without a message are left out."""
    mapping = record["mapping"]
    if not isinstance(mapping, dict) or not mapping:
        raise BadRecord(f"mapping is no tree of messages: {values.shown(mapping)}")
    name = record.get("current_node") or _latest_leaf(mapping)
    path: list[tuple[str, Mapping[str, Any]]] = []
    seen: set[str] = set()
    while name is not None:
        node = mapping.get(name) if isinstance(name, str) else None
        if not isinstance(node, dict):
            raise BadRecord(f"mapping has no node {values.shown(name)}")
        if name in seen:
            raise BadRecord(f"mapping runs in a circle at node {values.shown(name)}")
        seen.add(name)
        if isinstance(message := node.get("message"), dict):
            path.append((name, message))
        name = node.get("parent")
    path.reverse()
    return path


def _latest_leaf(mapping: Mapping[str, Any]) -> str:
    """The node that no other one follows and whose message is the newest: where the conversation was left."""
    parents = {node.get("parent") for node in mapping.values() if isinstance(node, dict)}
    leaves = [name for name in mapping if name not in parents]
    if not leaves:
        raise BadRecord("mapping runs in a circle: it has no last node")

    def written_at(name: str) -> float:
        message = mapping[name].get("message") if isinstance(mapping[name], dict) else None
        moment = message.get("create_time") if isinstance(message, dict) else None
        return moment if isinstance(moment, int | float) else 0.0

    return max(leaves, key=written_at)


def _turn(message: Mapping[str, Any], place: str, index: int, calls: Calls) -> Turn | None:
    """The message as a turn; None for the empty ones that exports keep as joints of the tree."""
    author = message.get("author")
    given = author.get("role") if isinstance(author, dict) else None
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise BadRecord(f"{place}.author.role is not one of {', '.join(ROLES)}: {values.shown(given)}")
    text, attachments = _content(message.get("content"), f"{place}.content")
    if not text.strip() and not attachments:
        return None
    about = message.get("metadata")
    details: Mapping[str, Any] = about if isinstance(about, dict) else {}
    metadata: dict[str, Any] = {"attachments": attachments} if attachments else {}
    if details.get("is_visually_hidden_from_conversation"):
        metadata["hidden"] = True
    tool_calls: list[dict[str, Any]] = []
    tool_results: list[dict[str, Any]] = []
    parent = None
    recipient = values.short_text(message.get("recipient"))
    if role == "assistant" and recipient not in ("", "all"):
        identity = values.short_text(message.get("id")) or f"call_{index}"
        tool_calls = [{"id": identity, "name": recipient, "arguments": values.json_or_text(text)}]
        calls.made(index, tool_calls)
    elif role == "tool":
        name = values.short_text(author.get("name")) if isinstance(author, dict) else ""
        parent, result = calls.answered(None, name, values.json_or_text(text))
        tool_results = [result]
    return Turn(
        role=role,
        content=text,
        created_at=values.timestamp(message.get("create_time"), f"{place}.create_time"),
        model=values.short_text(details.get("model_slug")) if role == "assistant" else "",
        parent=parent,
        tool_calls=tool_calls,
        tool_results=tool_results,
        response_metadata=metadata,
    )


def _content(content: Any, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The text of any type of content, and what was attached. What is no text leaves a mark in the text."""
    if content is None:
        return "", []
    if not isinstance(content, dict):
        raise BadRecord(f"{place} is no object: {values.shown(content)}")
    texts: list[str] = []
    attachments: list[dict[str, Any]] = []
    if isinstance(parts := content.get("parts"), list):
        for at, part in enumerate(parts):
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, dict):
                _part(part, texts, attachments)
            elif part is not None:
                raise BadRecord(f"{place}.parts[{at}] is no part: {values.shown(part)}")
    elif isinstance(thoughts := content.get("thoughts"), list):
        texts += [thought["content"] for thought in thoughts if isinstance(thought, dict) and "content" in thought]
    else:
        texts += [content[name] for name in TEXTS if content.get(name)]
    joined = "\n".join(text for text in texts if isinstance(text, str) and text)
    return values.content_of(joined, place), attachments


def _part(part: Mapping[str, Any], texts: list[str], attachments: list[dict[str, Any]]) -> None:
    """A part that is an object: spoken text, or a pointer to a file that the export keeps elsewhere."""
    if isinstance(said := part.get("text"), str):
        texts.append(said)
        return
    kind = values.short_text(part.get("content_type")) or "part"
    found: dict[str, Any] = {"type": kind}
    if pointer := values.short_text(part.get("asset_pointer"), 2000):
        found["url"] = pointer
    attachments.append(found)
    texts.append(f"[{kind}]")
