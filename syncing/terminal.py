"""The status as one looks at it in a terminal: a screen that one may leave open.

It fits into 80 columns and 24 lines, and into less: what does not fit is cut, not wrapped. Colours only underline what
the words say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from syncing.issues import Issue, duration
from syncing.monitor import Status
from syncing.schedule import Standing

#: What a screen has that none tells its size.
WIDTH = 80
BARS = " ▁▂▃▄▅▆▇█"
#: Points of a sparkline; one a look.
KEPT = 60
COLOURS = {"healthy": "green", "warning": "yellow", "critical": "red"}
#: More tables, processes and issues than these are only counted.
MOST_ROWS = 6
MOST_ISSUES = 4
#: Characters of a machine's name.
HOST = 16


class Course:
    """How the figures went while somebody looked."""

    def __init__(self) -> None:
        self.changes: deque[float] = deque(maxlen=KEPT)
        self.latency: deque[float] = deque(maxlen=KEPT)
        self.bandwidth: deque[float] = deque(maxlen=KEPT)

    def add(self, status: Status) -> None:
        """Another look."""
        self.changes.append(sum(status.changes_per_second.values()))
        self.latency.append(status.latency.p95_ms if status.latency else 0.0)
        self.bandwidth.append(status.bandwidth_bytes_per_second)


class Screen:
    """A status, with how it came to it."""

    def __init__(self, status: Status, course: Course, *, every: float | None = None) -> None:
        self.status = status
        self.course = course
        self.every = every

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        parts = [self._head(width), Text(), self._figures(width), Text(), self._tables(width)]
        if issues := self._issues():
            parts += [Text(), issues]
        if self.every is not None:
            parts += [Text(), Text(f"every {self.every:g} s · Ctrl-C ends", style="dim")]
        yield Padding(Group(*parts), (0, 1))

    def _head(self, width: int) -> RenderableType:
        status, health = self.status, self.status.health
        head = Table.grid(expand=True)
        head.add_column(no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True, min_width=8)
        colour = COLOURS[health.status]
        left = Text.assemble(
            ("Claudia ", "bold"), ("● " if status.online else "○ ", "green" if status.online else "red"),
            ("online" if status.online else "offline"), "   ", (health.status, f"bold {colour}"),
            f" {health.score}/100",
        )  # fmt: skip
        if width >= 70:
            for part, one in health.parts.items():
                left.append(f"  {part} ", style="dim")
                left.append("●", style=COLOURS[one.status])
        head.add_row(left, Text(f"{status.checked_at.astimezone():%H:%M:%S}", style="dim"))
        return head

    def _figures(self, width: int) -> RenderableType:
        status, course, latency = self.status, self.course, self.status.latency
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True, min_width=9)
        grid.add_column(no_wrap=True, justify="right", min_width=9)
        grid.add_column(no_wrap=True, overflow="crop")
        line = max(0, min(KEPT, width - 26))  # what labels, figures and gaps leave
        grid.add_row("latency", milliseconds(latency.p50_ms if latency else None), Text.assemble(
            ("p95 ", "dim"), milliseconds(latency.p95_ms if latency else None), ("  p99 ", "dim"),
            milliseconds(latency.p99_ms if latency else None), "  ", (sparkline(course.latency, line - 24), "cyan"),
        ))  # fmt: skip
        grid.add_row(
            "changes", f"{sum(status.changes_per_second.values()):,.1f}/s",
            Text(sparkline(course.changes, line), style="cyan"),
        )  # fmt: skip
        grid.add_row(
            "bandwidth", f"{size(status.bandwidth_bytes_per_second)}/s",
            Text(sparkline(course.bandwidth, line), style="cyan"),
        )  # fmt: skip
        behind = Text.assemble(("behind ", "dim"), str(status.clients_behind))
        if status.clients_behind:
            behind.append(f", one for {status.lag_seconds:.0f} s", style="yellow")
        grid.add_row("clients", f"{status.clients:,}", behind)
        waiting = Text.assemble(("last sync ", "dim"), age(status.last_sync, status.checked_at))
        grid.add_row("pending", f"{status.pending_events:,}", waiting)
        grid.add_row("conflicts", f"{status.conflicts:,}", Text("open" if status.conflicts else "", style="dim"))
        reach = Text.assemble(("catch up from ", "dim"), age(status.horizon, status.checked_at))
        grid.add_row("log", size(status.log_bytes), reach)
        return grid

    def _tables(self, width: int) -> RenderableType:
        both = Table.grid(expand=width >= 76, padding=(0, 3))
        both.add_column(vertical="top")
        both.add_column(vertical="top")
        if width >= 76:
            both.add_row(self._processes(), self._changes())
            return both
        return Group(self._processes(), Text(), self._changes())

    def _processes(self) -> RenderableType:
        table = plain_table("process", "host", ">heartbeat", ">clients")
        for process in self.status.processes[:MOST_ROWS]:
            beat: str | Text
            if process.answered:
                beat, clients = milliseconds(1000 * (process.seconds or 0)), str(process.figures.get("clients", 0))
            else:
                beat, clients = Text("silent", style="red"), ""
            # The machine's own name is enough, and what does not fit of it can be spared.
            host = Text(process.host.partition(".")[0][:HOST], no_wrap=True)
            table.add_row(str(process.pid), host, beat, clients)
        _rest(table, len(self.status.processes))
        if not self.status.processes:
            table.add_row(Text("none", style="dim"))
        return table

    def _changes(self) -> RenderableType:
        table = plain_table("table", ">changes/s")
        by_rate = sorted(self.status.changes_per_second.items(), key=lambda item: -item[1])
        for name, rate in by_rate[:MOST_ROWS]:
            table.add_row(name, f"{rate:,.2f}")
        _rest(table, len(by_rate))
        if not by_rate:
            table.add_row(Text("quiet for a minute", style="dim"))
        return table

    def _issues(self) -> RenderableType | None:
        issues = self.status.health.issues
        if not issues:
            return None
        lines: list[RenderableType] = [_issue(issue) for issue in issues[:MOST_ISSUES]]
        if len(issues) > MOST_ISSUES:
            lines.append(Text(f"and {len(issues) - MOST_ISSUES} more", style="dim"))
        return Group(*lines)


def _issue(issue: Issue) -> RenderableType:
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_row(Text("▲", style=COLOURS[issue.severity]), issue.message)
    if issue.detail:
        lines.add_row("", Text(issue.detail, style="dim"))
    lines.add_row("", Text(issue.recommendation, style="dim"))
    return lines


def maintenance_table(known: Sequence[Standing]) -> Table:
    """When each task was done, how it went, and when it is due again."""
    table = plain_table("task", ">every", ">done", ">next")
    table.add_column("last time")
    for one in known:
        every = duration(one.task.interval.total_seconds()) if one.task.interval else "–"
        if one.runs:
            due = "runs"
        elif one.due_at is None:
            due = "–"
        else:
            due = "now" if one.is_due else f"in {duration((one.due_at - one.now).total_seconds())}"
        done = "never" if one.succeeded_at is None else f"{duration((one.now - one.succeeded_at).total_seconds())} ago"
        table.add_row(one.task.command, every, done, due, _last_time(one))
    return table


def _last_time(one: Standing) -> Text:
    outcome = "broke off" if one.broke_off else one.outcome
    colour = {"failed": "red", "broke off": "red", "interrupted": "yellow"}.get(outcome, "")
    took = "" if one.seconds is None else f" after {one.seconds:.1f} s"
    return Text.assemble((f"{outcome}{took}", colour), (f": {one.said}" if one.said else "", "dim"))


def plain_table(*columns: str) -> Table:
    """A table without lines; a name that begins with > stands to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _rest(table: Table, number: int) -> None:
    if number > MOST_ROWS:
        table.add_row(Text(f"and {number - MOST_ROWS} more", style="dim"))


def sparkline(values: deque[float], width: int) -> str:
    """The newest values as bars, the highest of them at full height; as wide as there are values and room."""
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    if top <= 0:
        return BARS[1] * len(shown)
    return "".join(BARS[1 + round((len(BARS) - 2) * value / top)] for value in shown)


def milliseconds(value: float | None) -> str:
    """0.42 ms, 12 ms, 3.1 s; – where nothing was measured."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.{0 if value >= 10 else 1 if value >= 1 else 2}f} ms"


def size(number: float) -> str:
    """Bytes: 512 B, 1.2 kB, 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.{1 if unit != 'B' and number < 10 else 0}f} {unit}"
        number /= 1000
    raise AssertionError


def age(moment: datetime | None, now: datetime) -> str:
    """just now, 12 s ago, 3 min ago, 50 h ago, 7 days ago; never."""
    if moment is None:
        return "never"
    seconds = max(0.0, (now - moment.astimezone(UTC)).total_seconds())
    if seconds < 2:
        return "just now"
    for longest, unit, each in ((120, "s", 1), (7_200, "min", 60), (4 * 86_400, "h", 3_600)):
        if seconds < longest:
            return f"{seconds / each:.0f} {unit} ago"
    return f"{seconds / 86_400:,.0f} days ago"
