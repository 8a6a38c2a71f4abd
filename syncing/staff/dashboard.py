"""The admin's index: how the system is, moving by itself.

The page watches the status over the WebSocket; with every status it asks here for what no status tells: what stands
now, and what was measured over a range of time. Everything is for staff who may see metrics.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from syncing.maintenance import startable
from syncing.staff import figures, operations
from syncing.staff.charts import RANGES, charts
from syncing.staff.personal import reads_personal

PERMISSION = "syncing.view_syncmetric"
#: Lists to which tiles lead, by the permission to look at them.
LISTS = {
    "log": ("syncing.view_syncevent", "admin:syncing_syncevent_changelist"),
    "clients": ("syncing.view_syncclient", "admin:syncing_syncclient_changelist"),
    "conflicts": ("syncing.view_syncconflict", "admin:syncing_syncconflict_changelist"),
    "checkpoints": ("syncing.view_synccheckpoint", "admin:syncing_synccheckpoint_changelist"),
    "alerts": ("syncing.view_syncalert", "admin:syncing_syncalert_changelist"),
    "processes": ("syncing.view_syncprocess", "admin:syncing_syncprocess_changelist"),
    "mutations": ("syncing.view_mutationreceipt", "admin:syncing_mutationreceipt_changelist"),
    "metrics": ("syncing.view_syncmetric", "admin:syncing_syncmetric_changelist"),
}
TITLES = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}


def urls(site: AdminSite) -> list[URLPattern]:
    """Beside the index."""
    return [
        path("dashboard/now/", site.admin_view(require_GET(now)), name="dashboard_now"),
        path("dashboard/series/", site.admin_view(require_GET(series)), name="dashboard_series"),
        *operations.urls(site),
    ]


def context(request: HttpRequest) -> dict[str, Any]:
    """What the index's template shows. No figures: those come by themselves."""
    sees = request.user.has_perm(PERMISSION)
    operates = request.user.has_perm(operations.PERMISSION)
    return {
        "sees_dashboard": sees,
        "operates": operates,
        "lists": lists(request) if sees else {},
        "ranges": [(name, TITLES[name]) for name in RANGES],
        "tasks": startable() if operates else {},
    }


def lists(request: HttpRequest) -> dict[str, str]:
    """Addresses of the lists at which this user may look."""
    return {name: reverse(view) for name, (permission, view) in LISTS.items() if request.user.has_perm(permission)}


def now(request: HttpRequest) -> HttpResponse:
    """How it stands: see `figures`."""
    _require(request)
    running = figures.processes()
    answer = {
        "at": figures.stamp(timezone.now()),
        "processes": [figures.process(one) for one in running],
        "clients": figures.clients(running),
        "conflicts": figures.conflicts(),
        "log": figures.log(),
        "transaction": figures.oldest_transaction(with_query=reads_personal(request)),
        "operations": operations.recent(),
    }
    return JsonResponse(answer)


def series(request: HttpRequest) -> HttpResponse:
    """What was measured over `?range=1h`, `24h`, `7d` or `30d`: see `charts`."""
    _require(request)
    name = request.GET.get("range", "1h")
    if name not in RANGES:
        return JsonResponse({"error": f"The range must be one of {', '.join(RANGES)}."}, status=400)
    return JsonResponse(charts(name))


def _require(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
