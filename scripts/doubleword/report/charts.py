"""Markup with one door: a text becomes part of the page only escaped, and charts are SVG with text in it.

Positions are shares of the width, so that text keeps its size on any screen.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from .counts import Bar, Histogram
from .page_rows import clean

LABEL_CHARACTERS = 30  # as many as fit beside the numbers at 360 px
BAR_HEIGHT, BAR_STEP = 8, 42
PLOT_HEIGHT, PLOT_TOP = 120, 24
DIGIT = 3  # percent of a phone's width
FEWEST_BINS = 6  # fewer bars are not drawn wider


class Html(str):
    """Markup made here; any other text is escaped where it is put in."""


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element; `class_` and `aria_label` are written `class` and `aria-label`."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(value))}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{words}>{joined(*content)}</{name}>")


def joined(*content: object) -> Html:
    return Html("".join(part if isinstance(part, Html) else html.escape(clean(part)) for part in content))


def number(value: float) -> str:
    """`1234` and `12,345`; of a fraction four significant digits."""
    if value != int(value):
        return f"{value:.4g}"
    return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))


def spread(counts: Histogram, unit: str = "") -> str:
    """Where numbers lie: `3 to 12,345, median 40 tokens`."""
    if counts.least == counts.most:
        return f"each {number(counts.least)} {unit}".rstrip()
    figures = f"{number(counts.least)} to {number(counts.most)}, median {number(counts.at(0.5))}"
    return f"{figures} {unit}".rstrip()


def percent(count: float, total: float) -> str:
    """A share without pretence: `41 %`, `0.3 %`, and neither 0 nor 100 where it is not quite that."""
    share = 100 * count / total if total else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    if share != 100 and round(share, 1) == 100:
        return "> 99.9 %"
    return f"{share:.0f} %" if share >= 10 and round(share) != 100 else f"{share:.1f} %".replace(".0 %", " %")


def frequency(title: str, bars: Sequence[Bar], total: int, remark: str = "") -> Html:
    """A horizontal bar for each kind of answer, its name and number above it."""
    drawn, words = list[Html](), list[str]()
    for index, (label, rows) in enumerate(bars):
        top, name, share = index * BAR_STEP, label or "(empty)", f"{100 * rows / (total or 1):.2f}%"
        shown = name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"
        figures = joined(number(rows), tag("tspan", percent(rows, total), class_="soft", dx=10))
        words.append(f"{name}: {rows:,}, {percent(rows, total)}")
        drawn += [
            tag("text", tag("title", name), shown, x=0, y=top + 15),
            tag("text", figures, x="100%", y=top + 15, text_anchor="end"),
            tag("rect", class_="track", x=0, y=top + 22, width="100%", height=BAR_HEIGHT),
            tag("rect", class_="bar", x=0, y=top + 22, width=share, height=BAR_HEIGHT),
        ]
    return _figure(title, remark, _picture(drawn, len(bars) * BAR_STEP, f"{title}. {'; '.join(words)}"))


def columns(
    title: str,
    bars: Sequence[tuple[float, float, int]],
    remark: str = "",
    written: Callable[[float], str] = number,
) -> Html:
    """A histogram: an upright bar for each bin (from, up to, count); of a single number the remark alone."""
    if len(bars) == 1 and bars[0][0] == bars[0][1]:
        return _figure(title, remark, Html(""))
    most = max(count for _, _, count in bars)
    wide = 100 / max(FEWEST_BINS, len(bars))
    words = list[str]()
    drawn = [
        tag("text", f"{most:,}", class_="axis", x=0, y=14),
        tag("line", class_="grid", x1=0, x2="100%", y1=PLOT_TOP + 0.5, y2=PLOT_TOP + 0.5),
        tag("line", class_="line", x1=0, x2="100%", y1=PLOT_TOP + PLOT_HEIGHT + 0.5, y2=PLOT_TOP + PLOT_HEIGHT + 0.5),
    ]
    for index, (start, end, count) in enumerate(bars):
        # A single row among thousands stays to be seen.
        high = max(2.0, PLOT_HEIGHT * count / most) if count else 0.0
        place = {"x": f"{index * wide + wide * 0.06:.3f}%", "width": f"{wide * 0.88:.3f}%"}
        place |= {"y": f"{PLOT_TOP + PLOT_HEIGHT - high:.1f}", "height": f"{high:.1f}"}
        words.append(f"{_span(start, end, written)}: {count:,}")
        drawn.append(tag("rect", tag("title", words[-1]), class_="bar", **place))
    spoken = "; ".join(text for text, (_, _, count) in zip(words, bars, strict=True) if count)
    picture = _picture([*drawn, *_axis(bars, wide, written)], PLOT_TOP + PLOT_HEIGHT + 24, f"{title}. {spoken}")
    return _figure(title, remark, picture)


def _picture(drawn: Sequence[Html], height: int, spoken: str) -> Html:
    return tag("svg", *drawn, width="100%", height=height, role="img", aria_label=spoken)


def _span(start: float, end: float, written: Callable[[float], str]) -> str:
    if start == end:
        return written(start)
    return f"{written(start)} and more" if math.isinf(end) else f"{written(start)} to {written(end)}"


def _axis(bars: Sequence[tuple[float, float, int]], wide: float, written: Callable[[float], str]) -> list[Html]:
    """Labels below: of each bar where they are few single numbers, else of the two ends and the middle."""
    longest, half = max(len(written(start)) for start, _, _ in bars), len(bars) // 2
    if all(start == end for start, end, _ in bars) and longest * DIGIT < wide:
        labels = [(written(start), (index + 0.5) * wide, "middle") for index, (start, _, _) in enumerate(bars)]
    else:
        last, end, _ = bars[-1]
        right = f"{written(last)} and more" if math.isinf(end) else written(end)
        labels = [(written(bars[0][0]), 0.0, "start"), (right, len(bars) * wide, "end")]
        labels += [(written(bars[half][0]), half * wide, "middle")] if half >= 2 else []
    place = {"class_": "axis", "y": PLOT_TOP + PLOT_HEIGHT + 19}
    return [tag("text", text, **place, x=f"{x:.3f}%", text_anchor=anchor) for text, x, anchor in labels]


def _figure(title: str, remark: str, picture: Html) -> Html:
    caption = tag("figcaption", title, tag("span", remark, class_="soft") if remark else "")
    return tag("figure", caption, picture)


# Each kind of outcome has a fill of its own, told apart without colour: plain, striped, dotted, crossed, outlined.
_PATTERNS = Html(
    "<defs>"
    '<pattern id="fill-cut" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="pattern-ground" width="6" height="6"/>'
    '<line class="pattern-line" x1="3" x2="3" y1="0" y2="6"/></pattern>'
    '<pattern id="fill-empty" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="pattern-ground" width="6" height="6"/><circle class="pattern-dot" cx="3" cy="3" r="1.2"/></pattern>'
    '<pattern id="fill-failed" width="7" height="7" patternUnits="userSpaceOnUse">'
    '<rect class="pattern-ground" width="7" height="7"/><path class="pattern-bad" d="M0 0L7 7M7 0L0 7"/></pattern>'
    "</defs>"
)


def _segment(kind: str, **place: object) -> Html:
    fill = {"fill": f"url(#fill-{kind})"} if kind in ("cut", "empty", "failed") else {}
    edge = tag("rect", class_="failed-edge", **place) if kind == "failed" else ""
    return joined(tag("rect", class_=kind, **fill, **place), edge)


def outcome_bar(counts: dict[str, tuple[str, int]]) -> Html:
    """One bar of all requests, and below it each kind with its number. `counts`: class -> (name, count)."""
    total = sum(count for _, count in counts.values())
    drawn, start = [_PATTERNS], 0.0
    # A single row among thousands stays to be seen: half a percent of the width at least.
    shares = {kind: max(0.5, 100 * count / total) if count else 0.0 for kind, (_, count) in counts.items()}
    scale = 100 / (sum(shares.values()) or 1)
    for kind, share in shares.items():
        if share:
            place = {"x": f"{start:.3f}%", "width": f"{share * scale:.3f}%", "y": 1, "height": 22}
            drawn.append(_segment(kind, **place))
            start += share * scale
    words = "; ".join(f"{name}: {count:,}" for name, count in counts.values())
    bar = _picture(drawn, 24, f"Of {total:,} requests: {words}")
    swatch: dict[str, object] = {"width": 14, "height": 14, "aria_hidden": "true"}
    legend = [
        joined(
            tag("dt", tag("svg", _segment(kind, x=1, y=1, width=12, height=12), **swatch), name),
            tag("dd", f"{count:,}", " ", tag("span", percent(count, total), class_="share"), data_count=kind),
        )
        for kind, (name, count) in counts.items()
    ]
    return joined(bar, tag("dl", *(tag("div", entry) for entry in legend), class_="counts"))
