"""Small plots, drawn by the server as SVG, which needs no script and fits any content security policy. Pure but for the
escaping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 320, 96
LEFT, RIGHT, TOP, BOTTOM = 6, 6, 8, 18


@dataclass(frozen=True)
class Series:
    """A quantity over time, oldest first. unit: what stands behind a number."""

    title: str
    points: Sequence[tuple[datetime, float]]
    unit: str = ""


def plot(series: Series) -> SafeString:
    """A line with its area, the lowest and highest value, the first and last moment; each point tells its value."""
    points = list(series.points)
    values = [value for _, value in points]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    first, last = (points[0][0], points[-1][0]) if points else (None, None)
    span = (last - first).total_seconds() if first and last else 0.0
    places = []
    for moment, value in points:
        share = (moment - first).total_seconds() / span if first and span else 1.0
        height = (value - low) / (high - low) if high > low else 0.5
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM)
        places.append((f"{x:.1f}", f"{y:.1f}", f"{moment:%Y-%m-%d %H:%M}: {number(value)}{series.unit}"))
    line = " ".join(f"{x},{y}" for x, y, _ in places)
    floor = HEIGHT - BOTTOM
    area = f"{places[0][0]},{floor} {line} {places[-1][0]},{floor}" if len(places) > 1 else ""
    dots = format_html_join("", '<circle cx="{}" cy="{}" r="2.5"><title>{}</title></circle>', places[-60:])
    latest = f"{number(values[-1])}{series.unit}" if values else "—"
    return format_html(
        '<figure class="staff-plot"><figcaption>{title}<strong>{latest}</strong></figcaption>'
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}: {latest} now, {low} to {high}">'
        '<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/>{dots}'
        '<text x="{left}" y="{base}">{first}</text><text x="{right}" y="{base}" text-anchor="end">{last}</text>'
        "</svg></figure>",
        title=series.title,
        latest=latest,
        width=WIDTH,
        height=HEIGHT,
        low=number(low),
        high=number(high),
        area=area,
        line=line,
        dots=dots,
        left=LEFT,
        right=WIDTH - RIGHT,
        base=HEIGHT - 4,
        first=f"{first:%d %b %H:%M}" if first and span else "",
        last=f"{last:%d %b %H:%M}" if last else "nothing measured yet",
    )


def shares(title: str, parts: Sequence[tuple[str, float]]) -> SafeString:
    """A bar of parts of a whole, each with its name and share."""
    total = sum(amount for _, amount in parts)
    bars, at = [], 0.0
    for index, (name, amount) in enumerate(parts):
        width = WIDTH * amount / total if total else 0.0
        bars.append((f"{at:.1f}", f"{width:.1f}", index, f"{name}: {number(amount)}"))
        at += width
    drawn = format_html_join(
        "", '<rect x="{}" y="4" width="{}" height="18" class="part-{}"><title>{}</title></rect>', bars
    )
    legend = format_html_join(
        "",
        '<li class="part-{}">{} <strong>{}</strong></li>',
        ((at, name, number(n)) for at, (name, n) in enumerate(parts)),
    )
    return format_html(
        '<figure class="staff-plot"><figcaption>{}</figcaption>'
        '<svg viewBox="0 0 {} 26" role="img" aria-label="{}">{}</svg><ul>{}</ul></figure>',
        title,
        WIDTH,
        title,
        drawn,
        legend,
    )


def number(value: float) -> str:
    """A number for people: 1,234 or 0.123."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
