"""Charts as SVG that stands in a page: drawn by Vega-Lite when the page is made, so that the page needs no library."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Colours that stand for the page's, which differ between light and dark.
_VARIABLES = {"#010101": "var(--ink)", "#020202": "var(--line)", "#030303": "var(--first)", "#040404": "var(--second)"}
_INK, _LINE, _FIRST, _SECOND = _VARIABLES
_WIDTH = 330
_NAMES = {"exact": "exact match", "execution": "execution"}
MOST_BARS = 40
"""Rows of a chart; more cannot be read."""


def intervals_chart(totals: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> str:
    """Draw shares with their 95% intervals, a row for each entry of `totals`.

    Raises:
        QsqlError: If altair is not installed.
    """
    alt = _altair()
    names = [one_line(name, 40) for name in totals]
    # By position: to Vega some names mean something already, in expressions and as properties of objects.
    rows = [
        {
            "row": place,
            "metric": _NAMES[metric],
            "share": row[metric],
            "low": row[f"{metric}_interval"][0],
            "high": row[f"{metric}_interval"][1],
        }
        for place, row in enumerate(totals.values())
        for metric in metrics
        if row[metric] is not None and row[f"{metric}_interval"] is not None
    ]
    y = alt.Y("row:O", title=None, axis=alt.Axis(labelLimit=260, labelExpr="names[datum.value]"))
    offset = alt.YOffset("metric:N", sort=[_NAMES[metric] for metric in metrics])
    scale = alt.Scale(domain=[_NAMES["exact"], _NAMES["execution"]], range=[_SECOND, _FIRST])
    colour = alt.Color("metric:N", scale=scale, title=None)
    # Shapes tell the metrics apart where colours do not.
    shapes = alt.Scale(domain=[_NAMES["exact"], _NAMES["execution"]], range=["diamond", "circle"])
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"), title=None)
    base = alt.Chart(alt.Data(values=rows)).encode(y=y, yOffset=offset)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=None), x2="high:Q", color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, color=colour, shape=alt.Shape("metric:N", scale=shapes, title=None)
    )
    chart = (bars + points).add_params(alt.param(name="names", value=names))
    return _svg(chart.properties(width=_WIDTH, height={"step": 22, "for": "position"}))


def differences_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw differences with their intervals; a row has `level`, `metric`, `difference` and `interval`.

    Raises:
        QsqlError: If altair is not installed.
    """
    alt = _altair()
    values = [
        {
            "level": f"{row['level']} ({_NAMES[row['metric']]})",
            "difference": row["difference"],
            "low": row["interval"][0],
            "high": row["interval"][1],
        }
        for row in rows
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("level:N", sort=[value["level"] for value in values], title=None, axis=alt.Axis(labelLimit=260))
    )
    zero = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(color=_INK).encode(x="at:Q")
    axis = alt.Axis(format="+.0%")
    bars = base.mark_rule(strokeWidth=2, color=_FIRST).encode(x=alt.X("low:Q", title=None, axis=axis), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1, color=_FIRST).encode(
        x=alt.X("difference:Q", title=None, axis=axis)
    )
    return _svg((zero + bars + points).properties(width=_WIDTH, height={"step": 22}))


def curves_chart(title: str, lines: Mapping[str, Sequence[tuple[int, float]]], best_step: int | None) -> str:
    """Draw values over training steps, a line each, and mark the step of the best checkpoint.

    Raises:
        QsqlError: If altair is not installed.
    """
    alt = _altair()
    values = [{"line": name, "step": step, "value": value} for name, points in lines.items() for step, value in points]
    colours = alt.Scale(domain=list(lines), range=[_FIRST, _SECOND])
    dashes = alt.Scale(domain=list(lines), range=[[1, 0], [5, 3]])
    legend = None if len(lines) == 1 else alt.Undefined
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(point={"size": 24, "filled": True} if len(values) <= 80 else False)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("line:N", scale=colours, title=None, legend=legend),
            strokeDash=alt.StrokeDash("line:N", scale=dashes, title=None, legend=legend),
        )
    )
    if best_step is not None:
        mark = alt.Chart(alt.Data(values=[{"step": best_step}])).mark_rule(color=_INK, strokeDash=[2, 3])
        chart += mark.encode(x="step:Q")
    return _svg(chart.properties(width=_WIDTH, height=160))


def _altair() -> Any:
    try:
        import altair as alt  # noqa: PLC0415 - an extra, and heavy
        import vl_convert  # noqa: F401, PLC0415 - what altair draws with
    except ImportError as error:
        raise QsqlError(
            f"pages need {error.name}, which is not installed\nhint: pip install 'qsql-lab[report]'"
        ) from None
    return alt


def _svg(chart: Any) -> str:
    axis = {
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": _LINE,
        "domainColor": _LINE,
        "tickColor": _LINE,
        "labelFontSize": 12,
        "titleFontWeight": "normal",
    }
    legend = {"labelColor": _INK, "orient": "top", "labelFontSize": 12, "symbolSize": 70, "columnPadding": 24}
    # The reader's fonts may be wider than the one that is measured here.
    room = {"left": 28, "right": 16, "top": 4, "bottom": 4}
    chart = chart.configure(background="transparent", font="sans-serif", padding=room, axis=axis, legend=legend)
    chart = chart.configure_view(stroke=None)
    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    svg = buffer.getvalue()
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg
