"""Pictures as inline SVG: geometry only, no fonts to measure, no script; colours come from the page's style.

All text in them is escaped. Shapes that stretch hold no text; those with text keep their proportions and are
drawn narrow enough for a phone. Numbers in, `Markup` out; knows nothing of runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

_FLOW_WIDTH, _FLOW_HEIGHT, _BAR_HEIGHT = 1000, 60, 26
FALL = Markup(
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>'
    '<linearGradient id="fall" x1="0" y1="0" x2="0" y2="1"><stop class="fall0" offset="0"/>'
    '<stop class="fall1" offset="1"/></linearGradient></defs></svg>'
)
"""Stands once in a page: how what is dropped fades out in `flow`."""


def flow(kept: int, dropped: int, after: int | None, most: int, title: str) -> Markup:
    """One stage of the flow: what stays, what is dropped and fades out, and what goes on to the next row.

    Widths are shares of `most`. `after` is what the next stage has to decide on, or None for the last of a
    chain. The shape stretches with the page, so it holds no text.
    """
    scale = _FLOW_WIDTH / max(most, 1)
    stay, fall = kept * scale, dropped * scale
    parts = []
    if after is not None:
        end = after * scale
        half = (_BAR_HEIGHT + _FLOW_HEIGHT) / 2
        parts.append(
            f'<path class="on" d="M0 {_BAR_HEIGHT}H{stay:.1f}C{stay:.1f} {half} {end:.1f} {half} {end:.1f} '
            f'{_FLOW_HEIGHT}H0Z"/>'
        )
    if dropped:
        fall = max(fall, 3)
        slant = min(26.0, _FLOW_WIDTH - stay - fall)
        low = _BAR_HEIGHT + 22
        parts.append(f'<rect class="off" x="{stay:.1f}" y="0" width="{fall:.1f}" height="{_BAR_HEIGHT}"/>')
        parts.append(
            f'<path fill="url(#fall)" d="M{stay:.1f} {_BAR_HEIGHT}H{stay + fall:.1f}'
            f'L{stay + fall + slant:.1f} {low}H{stay + slant:.1f}Z"/>'
        )
    if kept:
        parts.append(f'<rect class="kept" x="0" y="0" width="{max(stay, 2):.1f}" height="{_BAR_HEIGHT}"/>')
    return _svg(f"0 0 {_FLOW_WIDTH} {_FLOW_HEIGHT}", "flow", title, parts, stretch=True)


def bar(value: float, most: float, *, second: float | None = None, title: str = "") -> Markup:
    """A horizontal bar; `second` is drawn as a thinner one below it. Stretches."""
    parts = []
    heights = [(value, "first", 0, 12 if second is None else 8)]
    if second is not None:
        heights.append((second, "second", 9, 4))
    for number, kind, top, height in heights:
        width = 100 * min(number / most, 1) if most else 0
        if number:
            width = max(width, 0.8)
        parts.append(f'<rect class="{kind}" x="0" y="{top}" width="{width:.2f}" height="{height}"/>')
    return _svg("0 0 100 13", "bar", title, parts, stretch=True)


def interval(low: float, high: float, point: float, title: str) -> Markup:
    """A share in 0..1 with its interval on a line from 0 to 1. Stretches."""
    left, right, middle = (100 * min(max(x, 0.0), 1.0) for x in (low, high, point))
    parts = [
        '<line class="rule" x1="0" y1="4" x2="100" y2="4"/>',
        f'<line class="span" x1="{left:.1f}" y1="4" x2="{right:.1f}" y2="4"/>',
        f'<line class="point" x1="{middle:.1f}" y1="0.5" x2="{middle:.1f}" y2="7.5"/>',
    ]
    return _svg("0 0 100 8", "interval", title, parts, stretch=True)


def bubbles(
    pairs: Mapping[tuple[str, str], int], rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str]
) -> Markup:
    """Circles over rows (asked for) and columns (obtained), area by count; the diagonal is marked."""
    step, left, top = 52, 64, 44
    width, height = left + step * len(columns) + 6, top + step * len(rows) + 6
    most = max(pairs.values(), default=1)
    parts: list[str] = [
        Markup('<text class="axis" x="{}" y="13">{} →</text>').format(left, labels[1]),
        Markup('<text class="axis" x="0" y="{}">{} ↓</text>').format(top - 12, labels[0]),
    ]
    for j, name in enumerate(columns):
        x = left + step * (j + 0.5)
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, top - 12, name
            )
        )
    for i, wish in enumerate(rows):
        y = top + step * (i + 0.5)
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
                left - 10, y + 4, wish
            )
        )
        for j, got in enumerate(columns):
            x = left + step * (j + 0.5)
            kind = "cell same" if wish == got else "cell"
            parts.append(
                f'<rect class="{kind}" x="{left + step * j + 2}" y="{top + step * i + 2}" '
                f'width="{step - 4}" height="{step - 4}" rx="4"/>'
            )
            count = pairs.get((wish, got), 0)
            if count:
                text = f"{count:,}"
                radius = max(4.0, (step / 2 - 5) * math.sqrt(count / most))
                inside = radius >= 5 + 3.7 * len(text)
                middle = y if inside else y - 7
                parts.append(f'<circle class="dot" cx="{x}" cy="{middle:.1f}" r="{radius:.1f}"/>')
                place = y + 4.5 if inside else y + 19
                parts.append(
                    Markup('<text class="{}" x="{}" y="{:.1f}" text-anchor="middle">{}</text>').format(
                        "in" if inside else "out", x, place, text
                    )
                )
    title = f"{labels[0]} against {labels[1]}: the table beside it has the same numbers"
    return _svg(f"0 0 {width} {height}", "bubbles", title, parts)


def _svg(box: str, kind: str, title: str, parts: Sequence[str], *, stretch: bool = False) -> Markup:
    """The frame. With a title it is an image to a screen reader; without, decoration."""
    ratio = Markup(' preserveAspectRatio="none"') if stretch else ""
    # The parts are made of numbers and of texts that were escaped where they were put in.
    body = Markup("").join(Markup(part) for part in parts)  # noqa: S704
    if not title:
        frame = Markup('<svg class="{}" viewBox="{}"{} aria-hidden="true">{}</svg>')
        return frame.format(kind, box, ratio, body)
    frame = Markup('<svg class="{}" viewBox="{}"{} role="img"><title>{}</title>{}</svg>')
    return frame.format(kind, box, ratio, title, body)
