"""Projects and collaborators for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from projects import services
from projects.forms import CollaboratorForm, CollaboratorsFormSet, ProjectForm
from projects.models import Collaborator, Project, Role
from projects.secrets import CannotOpen
from syncing import staff


class CollaboratorInline(staff.TabularInline):
    """Who works on the project."""

    model = Collaborator
    form = staff.VersionedForm
    formset = CollaboratorsFormSet
    fields = ("user", "role", "user_name", "base_version")
    readonly_fields = ("user_name",)
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name_plural = "Collaborators"


@admin.register(Project)
class ProjectAdmin(staff.SyncedAdmin):
    """Projects, with who works on them."""

    section, icon = "Work", "folder_open"
    nothing_yet = "People make projects in their workspace, or you add one here for them."
    form = ProjectForm
    inlines = (CollaboratorInline,)
    list_display = (
        "name",
        "owner",
        "status",
        "is_archived",
        "version",
        "total_sessions",
        "last_build_at",
        "created_at",
    )
    list_filter = (
        ("status", staff.ChoicesFilter),
        ("is_archived", staff.YesNoFilter),
        ("owner", staff.RowFilter),
    )
    list_select_related = ("owner",)
    list_deferred = ("description", "settings", "environment")
    search_help_text = "Words of name or description, or an id"
    found_by_reference = ("owner",)
    autocomplete_fields = ("owner",)
    readonly_fields = ("secret_names", "total_sessions", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("name", "description", "owner", ("status", "is_archived"), "total_sessions")}),
        ("Code", {"fields": ("path", ("git_url", "git_branch"), "version", "last_build_at", "settings")}),
        ("Secret values", {"fields": ("secret_names", "secret_values")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    archive = staff.row_action("Archive selected projects", services.archive_project, done="archived")
    unarchive = staff.row_action("Unarchive selected projects", services.unarchive_project, done="unarchived")
    actions = ("archive", "unarchive", *staff.SyncedAdmin.actions)

    def keeps_anew(self, request: HttpRequest, fields: dict[str, list[str]]) -> bool:
        """The owner becomes a collaborator by owning it."""
        return fields.get("user") != request.POST.getlist("owner")

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


@admin.register(Collaborator)
class CollaboratorAdmin(staff.SyncedAdmin):
    """All collaborators of all projects."""

    section, icon = "Work", "group"
    nothing_yet = "Whoever owns a project is a collaborator of it; others are added on the project's page."
    form = CollaboratorForm
    list_display = ("user_name", "user", "project", "role", "created_at")
    list_filter = (("project", staff.RowFilter), ("user", staff.RowFilter))
    list_select_related = ("user", "project")
    search_help_text = "Part of a name, or the id of a person or a project"
    found_by_part = ("user_name",)
    found_by_reference = ("user", "project")
    autocomplete_fields = ("user", "project")
    readonly_fields = ("user_name", "user_avatar_url", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("project", "user", "role", "user_name", "user_avatar_url")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Collaborator | None = None) -> bool:
        is_owner = obj is not None and obj.user_id == obj.project.owner_id
        return not is_owner and super().has_delete_permission(request, obj)

    make_viewer = staff.row_action(
        "Make selected collaborators viewers",
        lambda row: services.change_role(row.project, row.user, Role.VIEWER),
        done="made viewers",
    )
    make_editor = staff.row_action(
        "Make selected collaborators editors",
        lambda row: services.change_role(row.project, row.user, Role.EDITOR),
        done="made editors",
    )
    actions = ("make_viewer", "make_editor", *staff.SyncedAdmin.actions)
