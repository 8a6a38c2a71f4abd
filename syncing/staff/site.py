"""The admin as a place: its name, its sidebar, how one enters it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.templatetags.static import static
from django.urls import reverse

from syncing.staff.paint import PaintedSite

#: Sections of the sidebar, in this order. A page says in which one it stands (`StaffAdmin.section`).
SECTIONS = ("People", "Work", "Conversations", "Sync", "Audit")


class StaffSite(PaintedSite):
    """Claudia's admin. People sign in on the same page as everywhere else."""

    site_title = site_header = "Claudia"
    index_title = "Overview"
    enable_nav_sidebar = True

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return super().each_context(request) | {
            "site_title": self.site_title,
            "site_header": self.site_header,
            "site_subheader": "Administration",
            "site_url": reverse("workspace"),
            "site_icon": static("claudia/mark.svg"),
            "site_favicons": [{"rel": "icon", "type": "image/svg+xml", "href": static("claudia/mark.svg")}],
            "styles": [static("claudia/staff.css"), static("claudia/staff-rows.css")],
            "scripts": [],
            "show_history": True,
            "show_view_on_site": False,
        }

    def _get_colors(self, key: str, *args: Any) -> dict[str, dict[str, str]]:
        """None by way of an element inside the page, which the content security policy would refuse: see staff.css."""
        return {}

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Every page that the user may look at, by section."""
        sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
        sections["People"].append(self._entry(request, "Overview", "monitoring", reverse("admin:index")))
        for model, page in self._registry.items():
            if not page.has_view_or_change_permission(request):
                continue
            options = model._meta
            link = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
            title = str(options.verbose_name_plural)
            title = title[:1].upper() + title[1:]
            entry = self._entry(request, title, getattr(page, "icon", "table_rows"), link)
            sections.setdefault(getattr(page, "section", "Sync"), []).append(entry)
        overview, *people = sections.pop("People")
        groups = [(None, [overview]), ("People", people), *sections.items()]
        return [{"title": title, "separator": False, "items": items} for title, items in groups if items]

    def _entry(self, request: HttpRequest, title: str, icon: str, link: str) -> dict[str, Any]:
        at_index = link == reverse("admin:index")
        active = request.path == link if at_index else request.path.startswith(link)
        return {"title": title, "icon": icon, "link": link, "active": active, "has_permission": True}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The page where everybody signs in; whoever is signed in and no staff is told so."""
        if request.user.is_authenticated:
            if self.has_permission(request):
                return HttpResponse(status=302, headers={"Location": reverse("admin:index")})
            return render(request, "syncing/staff/not_staff.html", status=403)
        wanted = request.GET.get("next") or reverse("admin:index")
        return redirect_to_login(wanted, resolve_url("login"))
