"""Reads the events that the page of the explorer sends, before Gradio does."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_FIELDS = ("data", "event_data", "fn_index", "trigger_id", "session_hash")


async def read_body(receive: Receive, most: int) -> bytes | None:
    """Returns the body of a request; None if it has more than `most` bytes."""
    parts, size, is_more = [], 0, True
    while is_more:
        message = await receive()
        if message["type"] != "http.request":  # the browser is gone
            return b""
        parts.append(message.get("body", b""))
        size, is_more = size + len(parts[-1]), message.get("more_body", False)
        if size > most:
            return None
    return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Returns what gives this body first, and then what comes after it."""
    pending = [body]

    async def replay() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replay


def plain_event(body: bytes) -> bytes | None:
    """Returns an event of the page, written anew; None for anything else.

    The values of an event are numbers and texts. Gradio would take a dictionary for a file, and copy or fetch it.
    """
    try:
        event = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("data"), list):
        return None
    extra = event.get("event_data")
    values = [*event["data"], *(extra.values() if isinstance(extra, dict) else [extra])]
    values += [event.get(name) for name in _FIELDS[2:]]
    if not all(one is None or isinstance(one, bool | int | float | str) for one in values):
        return None
    return json.dumps({name: event[name] for name in _FIELDS if name in event}).encode()


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")
