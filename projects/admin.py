"""Projects and collaborators for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from projects import services
from projects.forms import CollaboratorForm, CollaboratorsFormSet, ProjectForm
from projects.models import Collaborator, Project
from projects.secrets import CannotOpen
from syncing import staff


class CollaboratorInline(staff.TabularInline):
    """Who works on the project."""

    model = Collaborator
    formset = CollaboratorsFormSet
    fields = ("user", "role", "user_name")
    readonly_fields = ("user_name",)
    autocomplete_fields = ("user",)
    extra = 0


@admin.register(Project)
class ProjectAdmin(staff.StaffAdmin):
    """Projects, with who works on them."""

    form = ProjectForm
    inlines = (CollaboratorInline,)
    list_display = ("name", "owner", "status", "is_archived", "version", "total_sessions", "last_build_at")
    list_filter = ("status", "is_archived", "last_build_at", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name", "description", "owner__email")
    autocomplete_fields = ("owner",)
    readonly_fields = ("secret_names", "total_sessions", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("name", "description", "owner", "status", "is_archived", "total_sessions")}),
        ("Code", {"fields": ("path", "git_url", "git_branch", "version", "last_build_at", "settings")}),
        ("Secret values", {"fields": ("secret_names", "secret_values")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    actions = ("archive", "unarchive")

    @admin.display(description="names")
    def secret_names(self, project: Project) -> str:
        try:
            return ", ".join(sorted(project.environment.open())) or "—"
        except CannotOpen as error:
            return error.message

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if values := form.cleaned_data.get("secret_values"):
            services.set_environment(obj, values)

    @admin.action(description="Archive selected projects", permissions=["change"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        count = sum(services.archive_project(project) for project in queryset)
        self.message_user(request, f"{count} archived.")

    @admin.action(description="Unarchive selected projects", permissions=["change"])
    def unarchive(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        count = sum(services.unarchive_project(project) for project in queryset)
        self.message_user(request, f"{count} unarchived.")


@admin.register(Collaborator)
class CollaboratorAdmin(staff.StaffAdmin):
    """All collaborators of all projects."""

    form = CollaboratorForm
    list_display = ("user_name", "user", "project", "role", "created_at")
    list_filter = ("role", "created_at")
    list_select_related = ("user", "project")
    search_fields = ("user_name", "user__email", "project__name")
    autocomplete_fields = ("user", "project")
    readonly_fields = ("user_name", "user_avatar_url", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("project", "user", "role", "user_name", "user_avatar_url")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Collaborator | None = None) -> bool:
        is_owner = obj is not None and obj.user_id == obj.project.owner_id
        return not is_owner and super().has_delete_permission(request, obj)
