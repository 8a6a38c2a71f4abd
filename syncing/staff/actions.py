"""Actions on rows chosen in a list: by the app's service, row by row; confirmed where they are not easily undone.

archive = row_action("Archive selected projects", services.archive_project, done="archived", confirm="They …")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from syncing.exceptions import SyncError
from syncing.rules import RuleBroken

#: Rows of one action: what a request can do while somebody waits.
MOST_ROWS = 1_000
#: Rows that a confirmation lists, and refusals that are told one by one.
MOST_NAMED, MOST_TOLD = 50, 10


def row_action(
    description: str,
    do: Callable[[Any], Any],
    *,
    done: str,
    confirm: str = "",
    permission: str = "change",
) -> Any:
    """An action of a ModelAdmin. do: the service; what it refuses (RuleBroken) is told, False means: it was so already.

    confirm: what follows from it; asks before it is done. permission: `change` is asked as has_change_permission, of
    each row too.
    """

    @admin.action(description=description, permissions=[permission])
    def action(page: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        name = request.POST["action"]
        rows = list(queryset[: MOST_ROWS + 1])
        if len(rows) > MOST_ROWS:
            page.message_user(request, f"At most {MOST_ROWS:,} rows at a time: choose fewer.", messages.ERROR)
            return None
        if confirm and not request.POST.get("confirmed"):
            return confirmation(page, request, rows, name, description, confirm)
        carry_out(page, request, rows, do, done, permission)
        return None

    return action


def confirmation(
    page: Any, request: HttpRequest, rows: list[Any], name: str, description: str, consequence: str
) -> HttpResponse:
    """The page that asks. It sends the same choice again, confirmed."""
    context = {
        **page.admin_site.each_context(request),
        "title": description.replace("selected ", ""),
        "opts": page.model._meta,
        "consequence": consequence,
        "rows": rows[:MOST_NAMED],
        "count": len(rows),
        "others": max(0, len(rows) - MOST_NAMED),
        "ids": [str(row.pk) for row in rows],
        "action": name,
        "verb": description.split(" ", 1)[0],
        "checkbox": helpers.ACTION_CHECKBOX_NAME,
        "media": page.media,
    }
    return TemplateResponse(request, "syncing/staff/confirm.html", context)


def carry_out(
    page: Any, request: HttpRequest, rows: list[Any], do: Callable[[Any], Any], done: str, permission: str
) -> None:
    """Does it row by row, and tells what was done and what was refused."""
    allowed = getattr(page, f"has_{permission}_permission")
    count, unchanged, refused = 0, 0, []
    for row in rows:
        if not allowed(request, row):
            refused.append(f"{row}: you may not do this.")
            continue
        try:
            if do(row) is False:
                unchanged += 1
            else:
                count += 1
        except (RuleBroken, SyncError) as wrong:
            refused.append(f"{row}: {wrong.message}")
    for refusal in refused[:MOST_TOLD]:
        page.message_user(request, refusal, messages.WARNING)
    if len(refused) > MOST_TOLD:
        page.message_user(request, f"… and {len(refused) - MOST_TOLD} more were refused.", messages.WARNING)
    were = "was" if unchanged == 1 else "were"
    told = f"{count} {done}." + (f" {unchanged} {were} so already." if unchanged else "")
    page.message_user(request, told, messages.SUCCESS if count else messages.INFO)
