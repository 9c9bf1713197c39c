"""Questions with answers that a page marks as such (schema.org: QAPage, FAQPage, Quiz), in JSON-LD or microdata.

Of a thread only the accepted answer counts, and a thread without one gives nothing: other answers may be
wrong. Knows no other way of marking; what a page merely looks like is left to `markdown.items`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from boostqa.readers.items import Raw
from boostqa.text.spans import spans

THREAD = "thread"
"""`question_type` by which `html.page_items` knows an answer that was accepted in a thread."""

_JSON_LD = re.compile(r"<script\b(?=[^<>]*application/ld\+json)[^<>]*+>", re.IGNORECASE)
_SCRIPT_END = re.compile(r"</script>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<(?:br|p|div|li|tr|h[1-6])\b[^<>]*>|</(?:p|div|li|tr|h[1-6])>", re.IGNORECASE)
_DEPTH = 12


def answered(page: str) -> Iterator[Raw]:
    """Questions with their accepted answers, in the order of the page, each once."""
    if "acceptedAnswer" not in page:
        return
    seen = set()
    for raw in [*_linked_data(page), *_microdata(page)]:
        if raw.question and raw.answer and raw.question not in seen:
            seen.add(raw.question)
            yield raw


def _linked_data(page: str) -> Iterator[Raw]:
    for start, end in spans(page, _JSON_LD, lambda _: _SCRIPT_END):
        try:
            data = json.loads(page[page.index(">", start) + 1 : end - len("</script>")])
        except (ValueError, RecursionError):
            continue
        yield from _questions(data, False, 0)


def _questions(data: Any, thread: bool, depth: int) -> Iterator[Raw]:
    if depth > _DEPTH:
        return
    if isinstance(data, list):
        for part in data:
            yield from _questions(part, thread, depth + 1)
    elif isinstance(data, dict):
        kinds = data.get("@type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "Question" in kinds:
            accepted = data.get("acceptedAnswer")
            accepted = accepted[0] if isinstance(accepted, list) and accepted else accepted
            title, body = _plain(data.get("name")), _plain(data.get("text"))
            question = body if not title or body.startswith(title) else f"{title}\n\n{body}".strip()
            if isinstance(accepted, dict):
                yield _raw(question, _plain(accepted.get("text")), thread)
            return
        for name in ("@graph", "mainEntity", "hasPart"):
            yield from _questions(data.get(name), thread or "QAPage" in kinds, depth + 1)


def _raw(question: str, answer: str, thread: bool) -> Raw:
    return Raw(question=question, answer=answer, question_type=THREAD if thread else None)


def _plain(markup: Any) -> str:
    """The text of a value, which may hold HTML."""
    if not isinstance(markup, str):
        return ""
    text = _TAG.sub("", _BREAK.sub("\n", markup))
    lines = [" ".join(line.split()) for line in html.unescape(text).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _microdata(page: str) -> Iterator[Raw]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    if "itemprop" not in page:
        return
    tree = HTMLTree.parse(page)
    if tree.body is None or tree.document is None:
        return
    thread = tree.body.query_selector("[itemtype$='/QAPage']") is not None or "/QAPage" in page
    # As lists: to go through what a selector returns takes quadratic time.
    for node in tree.document.query_selector_all("[itemtype$='/Question']")[:]:
        accepted = node.query_selector("[itemprop~='acceptedAnswer']")
        if accepted is None:
            continue
        answer = accepted.query_selector("[itemprop='text']") or accepted
        name = node.query_selector("[itemprop='name']")
        body = next(
            (
                one
                for one in node.query_selector_all("[itemprop='text']")[:]
                if one.closest("[itemtype$='/Answer']") is None
            ),
            None,
        )
        title, text, reply = (
            extract_plain_text(part.html, alt_texts=False).strip() if part is not None else ""
            for part in (name, body, answer)
        )
        yield _raw("\n\n".join(filter(None, (title, text))), reply, thread)
