"""The status as JSON, for commands and scripts. Only for operators and staff: it may hold queries."""

from __future__ import annotations

from typing import Any

from syncing.heartbeats import Process
from syncing.issues import Health
from syncing.monitor import Status


def health_report(health: Health) -> dict[str, Any]:
    """status, score, parts, and every issue with all that is known of it."""
    return {
        "status": health.status,
        "score": health.score,
        "parts": {part: {"status": one.status, "score": one.score} for part, one in health.parts.items()},
        "issues": [
            {
                "code": issue.code, "part": issue.part, "severity": issue.severity, "subject": issue.subject,
                "message": issue.message, "recommendation": issue.recommendation, "detail": issue.detail,
            }
            for issue in health.issues
        ],
    }  # fmt: skip


def status_report(status: Status) -> dict[str, Any]:
    """All figures; times in ISO 8601, what is not known as null."""
    latency = status.latency
    return {
        "checked_at": status.checked_at.isoformat(),
        "online": status.online,
        "last_sync": status.last_sync.isoformat() if status.last_sync else None,
        "pending_events": status.pending_events,
        "conflicts": status.conflicts,
        "latency": {
            "count": latency.count, "p50_ms": latency.p50_ms, "p95_ms": latency.p95_ms, "p99_ms": latency.p99_ms,
        } if latency else None,
        "bandwidth_bytes_per_second": status.bandwidth_bytes_per_second,
        "changes_per_second": status.changes_per_second,
        "clients": status.clients,
        "clients_behind": status.clients_behind,
        "lag_seconds": status.lag_seconds,
        "horizon": status.horizon.isoformat() if status.horizon else None,
        "log_bytes": status.log_bytes,
        "processes": [_process(process) for process in status.processes],
        "health": health_report(status.health),
    }  # fmt: skip


def _process(process: Process) -> dict[str, Any]:
    return {
        "host": process.host,
        "pid": process.pid,
        "started_at": process.started_at.isoformat(),
        "answered": process.answered,
        "heartbeat_ms": 1000 * process.seconds if process.answered and process.seconds is not None else None,
        "clients": process.figures.get("clients", 0) if process.answered else None,
        "behind": process.figures.get("behind", 0) if process.answered else None,
    }
