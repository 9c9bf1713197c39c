"""Reading an answer that is none: code and message of an error in any of the forms in use, and `Retry-After`.

Pure functions; what follows from an error is decided in `sending.py`.
"""

from __future__ import annotations

import email.utils
import time

import msgspec


def read_error(body: bytes) -> tuple[str, str]:
    """(code, message) of an error body in any of the forms in use."""
    text = body[:2000].decode("utf-8", "replace").strip()
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", " ".join(text.split())[:300] or "(empty body)"
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return "", str(error)[:300]
    code = error.get("code") or error.get("type") or ""
    message = error.get("message") or error.get("detail") or text
    return (code if isinstance(code, str) else ""), str(message)[:500]


def unknown_model(status: int, code: str, message: str) -> bool:
    """Whether an error says that the endpoint does not have the model."""
    text = message.lower()
    return code == "model_not_found" or (
        status in {400, 404} and "model" in text and ("not exist" in text or "not found" in text)
    )


def retry_after(value: str) -> float:
    """Seconds from a `Retry-After` header, which holds seconds or a date; 0 when absent or unreadable."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
