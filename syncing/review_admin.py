"""The review of conflicts in the admin: a queue, a page for each, many at once. Nothing changes but by POST."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from syncing import review_pages
from syncing.conflicts import AlreadyResolved
from syncing.declarations import declaration_of, declarations
from syncing.exceptions import SyncError
from syncing.models import SyncConflict
from syncing.review_forms import MOST_REASON, DecisionForm
from syncing.review_queue import MOST_COUNTED, OPEN, PAGE, Place, Queue, claim, release
from syncing.review_references import names, offered
from syncing.reviews import Choice, Review, decide, decide_all, record, review, reviews
from syncing.staff import ReadOnlyAdmin, masked_columns, reads_personal, record_reading

PERMISSION = "syncing.review_conflicts"
QUEUE = "admin:syncing_syncconflict_changelist"
#: What the pages' scripts hear, as their help tells it.
QUEUE_KEYS = (("jk", "down, up"), (["Enter"], "open"), ("x", "select"), ("?", "this help"))
CONFLICT_KEYS = (
    ("jk", "next, previous question (also with the arrows)"),
    ("sce", "take the server's, take the client's, edit"),
    ("SC", "the same for all questions"),
    ("r", "give a reason"),
    (["Enter"], "decide, after one more Enter"),
    ("np", "next, previous conflict"),
    ("m", "take on, or give back"),
    ("u", "back to all conflicts"),
    (["Esc"], "leave a field, close this"),
)
#: For the log: where a decision was made.
ORIGIN = "admin review"
#: What can be done to many at once, and the choice that it is.
BULK = {"keep": Choice.SERVER, "take": Choice.CLIENT}


class SyncConflictAdmin(ReadOnlyAdmin):
    """Writes that met others: a queue of those that wait, and a page on which each is decided."""

    icon = "call_split"

    def get_urls(self) -> list[URLPattern]:
        """What the pages ask and send, beside the usual ones."""
        wrap = self.admin_site.admin_view
        own = [
            path("many/", wrap(self.many_view), name="syncing_syncconflict_many"),
            path("<uuid:id_>/state/", wrap(self.state_view), name="syncing_syncconflict_state"),
            path("<uuid:id_>/references/", wrap(self.references_view), name="syncing_syncconflict_references"),
        ]
        return [*own, *super().get_urls()]

    def has_review_permission(self, request: HttpRequest) -> bool:
        """Whether the user decides conflicts."""
        return self.has_view_permission(request) and request.user.has_perm(PERMISSION)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The queue: the oldest first. Or those that were decided, the last one first."""
        self._admit(request)
        queue = asked_queue(request)
        found, after = queue.page(asked_place(request))
        context = {
            "keys": QUEUE_KEYS,
            "title": "Conflicts",
            "queue": queue,
            "conflicts": [(one, review_pages.named(one), review_pages.verdict(one)) for one in found],
            "after": after,
            "query": queue.parameters(),
            "paged": "after" in request.GET,
            "count": queue.count(),
            "most_counted": MOST_COUNTED,
            "tables": sorted(declarations()),
            "reviews": self.has_review_permission(request),
            "mine_id": request.user.pk,
        }
        return self._page(request, "syncing/review/queue.html", context)

    def many_view(self, request: HttpRequest) -> HttpResponse:
        """Many at once: taken on or given back, or shown what deciding them would do, and then decided."""
        if request.method != "POST":
            return HttpResponseRedirect(reverse(QUEUE))
        if not self.has_review_permission(request):
            raise PermissionDenied
        queue, ids, action = asked_queue(request), asked_ids(request), request.POST.get("action", "")
        stays = request.POST.get("stay") == "1" and len(ids) == 1  # on the page of the one that it was sent from
        address = reverse("admin:syncing_syncconflict_change", args=ids) if stays else reverse(QUEUE)
        back = HttpResponseRedirect(f"{address}?{queue.parameters()}")
        if not ids:
            messages.info(request, "No conflict was selected.")
        elif action == "claim":
            messages.success(request, f"{claim(ids, request.user)} taken on.")
        elif action == "release":
            messages.success(request, f"{release(ids, request.user)} given back.")
        elif action in BULK and request.POST.get("confirmed") != "1":
            return self._preview(request, ids, action, queue)
        elif action in BULK:
            self._decide_many(request, ids, BULK[action])
        else:
            messages.error(request, "That cannot be done to many conflicts.")
        return back

    def _preview(self, request: HttpRequest, ids: list[UUID], action: str, queue: Queue) -> HttpResponse:
        conflicts = SyncConflict.objects.select_related("user").filter(pk__in=ids, status=OPEN)
        shown = reviews(conflicts.order_by("created_at", "pk"))
        self._shown(request, shown)
        choice, called = BULK[action], names(request, shown)
        context = {
            "title": "Keep the server's rows" if action == "keep" else "Take the clients' writes",
            "action": action,
            "previews": [
                review_pages.preview(one, choice, self._hidden(request, one.conflict), called) for one in shown
            ],
            "gone": len(ids) - len(shown),
            "query": queue.parameters(),
            "most_reason": MOST_REASON,
        }
        return self._page(request, "syncing/review/many.html", context)

    def _decide_many(self, request: HttpRequest, ids: list[UUID], choice: Choice) -> None:
        looks = {id_: request.POST.get(f"look_{id_}", "") for id_ in ids}
        conflicts = list(SyncConflict.objects.filter(pk__in=ids).order_by("created_at", "pk"))
        open_ones = [one for one in conflicts if one.status == OPEN]
        reason = request.POST.get("reason", "").strip()[:MOST_REASON]
        decided = decide_all(open_ones, looks, choice, reason=reason, by=request.user, origin=ORIGIN)
        overtaken = len(conflicts) - len(open_ones) + len(decided.overtaken)
        if decided.done:
            messages.success(request, f"{decided.done} decided.")
        if decided.moved:
            messages.warning(request, f"{len(decided.moved)} still open: their rows moved on while you looked.")
        if overtaken:
            messages.info(request, f"{overtaken} had been decided by somebody else, and stay as they decided.")
        for id_, message in list(decided.failed.items())[:10]:
            messages.error(request, f"Conflict {str(id_)[-12:]} could not be decided: {message}")

    # -- one conflict ------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One conflict: what is in dispute, and by POST what is decided."""
        self._admit(request)
        conflict = self.get_object(request, object_id)
        if conflict is None:
            messages.warning(request, "There is no such conflict (any more).")
            return HttpResponseRedirect(reverse(QUEUE))
        if request.method == "POST":
            return self._decide(request, conflict)
        return self._show(request, conflict)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SyncConflict | None:
        """With the people whom its page names."""
        try:
            found = SyncConflict.objects.select_related("user", "claimed_by", "resolved_by")
            return found.filter(pk=UUID(object_id)).first()
        except ValueError:
            return None

    def state_view(self, request: HttpRequest, id_: UUID) -> HttpResponse:
        """What an open page asks from time to time: is it still open, and is the row still what was seen?

        A page asks, rather than being told: a reviewer need not be able to read the row by sync, and a look at two
        rows by their keys, for the few who review, is cheaper than another kind of subscription.
        """
        self._admit(request)
        conflict = SyncConflict.objects.filter(pk=id_).first()
        if conflict is None:
            raise Http404("no such conflict")
        look = review(conflict).look if conflict.status == OPEN else ""
        answer = JsonResponse({"status": conflict.status, "look": look, "claimed_by": conflict.claimed_by_id})
        answer["Cache-Control"] = "no-store"
        return answer

    def references_view(self, request: HttpRequest, id_: UUID) -> HttpResponse:
        """Rows to choose from while one types, for a column that refers to rows."""
        if not self.has_review_permission(request):
            raise PermissionDenied
        conflict = SyncConflict.objects.filter(pk=id_).first()
        if conflict is None:
            raise Http404("no such conflict")
        declaration = declaration_of(conflict.table_name)
        rows = offered(request, declaration, request.GET.get("column", ""), request.GET.get("term", ""))
        if rows is None:
            raise PermissionDenied
        answer = JsonResponse({"results": rows})
        answer["Cache-Control"] = "no-store"
        return answer

    def _decide(self, request: HttpRequest, conflict: SyncConflict) -> HttpResponse:
        if not self.has_review_permission(request):
            raise PermissionDenied
        if conflict.status != OPEN:
            return self._overtaken(request, conflict)
        shown = review(conflict)
        form = self._form(request, shown, request.POST)
        if not form.is_valid():
            return self._show(request, conflict, form, 422)
        try:
            after = decide(shown, form.ruling(), form.decision(), by=request.user, origin=ORIGIN)
        except AlreadyResolved:
            return self._overtaken(request, conflict)
        except SyncError as error:
            form.refused(error)
            return self._show(request, conflict, form, 422)
        if after.status == OPEN:
            messages.warning(request, "The row moved on while you looked. Nothing was written: this is how it is now.")
            moved = review(self.get_object(request, str(conflict.pk)) or after)
            data = request.POST.copy()
            data["look"] = moved.look
            return self._show(request, moved.conflict, self._form(request, moved, data, unchecked=True), 409)
        messages.success(request, f"Decided: {review_pages.verdict(after).lower()}.")
        queue = asked_queue(request)
        following = queue.next(queue.place_of(conflict)) or queue.conflicts().first()  # then those that were skipped
        address = page_address(following) if following else reverse(QUEUE)
        return HttpResponseRedirect(f"{address}?{queue.parameters()}")

    def _overtaken(self, request: HttpRequest, conflict: SyncConflict) -> HttpResponse:
        """Somebody else was faster: says who, and what they decided."""
        ended = self.get_object(request, str(conflict.pk)) or conflict
        by = "A rule of the server" if ended.resolved_by is None else str(ended.resolved_by)
        if ended.resolved_by == request.user:
            messages.info(request, "You have decided this one already. Nothing was written twice.")
        else:
            messages.info(request, f"{by} decided this one before you. Nothing of yours was written.")
        return self._show(request, ended, status=409)

    def _show(
        self, request: HttpRequest, conflict: SyncConflict, form: DecisionForm | None = None, status: int = 200
    ) -> HttpResponse:
        queue = asked_queue(request)
        hidden = self._hidden(request, conflict)
        is_open = conflict.status == OPEN
        shown = form.review if form else review(conflict) if is_open else record(conflict)
        form = form or (self._form(request, shown) if is_open else None)
        self._shown(request, [shown])
        place = queue.place_of(conflict)
        called = names(request, [shown])
        asked = review_pages.questions(form, hidden, called) if form else review_pages.answers(shown, hidden, called)
        context = {
            "keys": CONFLICT_KEYS,
            "title": f"Conflict about {conflict.table_name}",
            "conflict": conflict,
            "named": review_pages.named(conflict),
            "review": shown,
            "form": form,
            "questions": asked,
            "settling": review_pages.settled(shown.settling, hidden, called),
            "last": review_pages.last_written(shown),
            "verdict": review_pages.verdict(conflict),
            "reviews": self.has_review_permission(request),
            "mine": conflict.claimed_by_id == request.user.pk,
            "next": queue.next(place),
            "previous": queue.previous(place),
            "query": queue.parameters(),
            **review_pages.addresses(request, shown),
        }
        return self._page(request, "syncing/review/conflict.html", context, status)

    def _form(self, request: HttpRequest, shown: Review, data: Any = None, *, unchecked: bool = False) -> DecisionForm:
        """unchecked: what was typed stays, and is not judged again."""
        form = DecisionForm(shown, data, hidden=frozenset(self._hidden(request, shown.conflict)))
        if unchecked:
            form.full_clean()
            form.errors.clear()
        return form

    # -- who may see what --------------------------------------------------------------------------------------------

    def _admit(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _hidden(self, request: HttpRequest, conflict: SyncConflict) -> tuple[str, ...]:
        return tuple(masked_columns(request, conflict.table_name))

    def _shown(self, request: HttpRequest, shown: list[Review]) -> None:
        """Keeps that personal content was shown, where it was: an entry a table."""
        if not reads_personal(request):
            return
        for table in sorted({one.declaration.table for one in shown}):
            personal = {*declaration_of(table).synced.personal}
            ids = [
                one.conflict.row_id
                for one in shown
                if one.declaration.table == table and personal & {asked.column for asked in one.disputed}
            ]
            if ids:
                record_reading(request, table, "conflict", ids)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "list": reverse(QUEUE)}
        return TemplateResponse(request, template, {**common, "is_fullwidth": "1", **context}, status=status)


def asked_queue(request: HttpRequest) -> Queue:
    """The queue that the address names; an unknown table is none."""
    table = request.GET.get("table", "")
    user_id: Any = request.user.pk
    mine = user_id if request.GET.get("mine") == "1" else None
    return Queue(table if table in declarations() else None, mine, request.GET.get("decided") == "1")


def asked_place(request: HttpRequest) -> Place | None:
    """Where the page begins; the beginning, where that cannot be read."""
    try:
        return Place.parse(request.GET["after"]) if "after" in request.GET else None
    except ValueError:
        return None


def asked_ids(request: HttpRequest) -> list[UUID]:
    """The conflicts that were selected, at most a page of them."""
    ids = []
    for text in request.POST.getlist("conflict")[:PAGE]:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return ids


def page_address(conflict: SyncConflict) -> str:
    """Of its page."""
    return reverse("admin:syncing_syncconflict_change", args=[conflict.pk])
