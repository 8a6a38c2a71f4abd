"""Accounts, groups and API tokens for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Q
from django.http import HttpRequest

from accounts import services, tokens
from accounts.forms import NewUserForm, UserForm
from accounts.models import ApiToken, User
from syncing import staff

#: What makes somebody staff. A superuser alone gives it: whoever could give it to themselves would have all rights.
RIGHTS = ("is_staff", "is_superuser", "groups")


@admin.register(User)
class UserAdmin(staff.SyncedAdmin, DjangoUserAdmin):
    """People. Accounts of staff are a superuser's to change: their address or password would give their rights."""

    section, icon = "People", "person"
    made_anew = False  # an account begins with a password, and rights are not given back along the way
    nothing_yet = "People appear here when they get an account: add one, or run createsuperuser for the first."
    form = UserForm
    add_form = NewUserForm
    add_form_template = None
    change_password_form = staff.AdminPasswordChangeForm
    list_display = ("email", "name", "is_active", "is_staff", "last_active_at", "created_at")
    list_filter = (
        staff.options_filter("kind", {"inactive": Q(is_active=False), "staff": Q(is_staff=True)}),
        ("last_active_at", staff.PeriodFilter),
    )
    list_deferred = ("preferences",)
    search_help_text = "Part of an address or a name, or an id"
    found_by_part = ("email", "name")
    ordering = ("email",)
    sortable_by = ("email", "last_active_at")
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    readonly_fields = ("last_login", "last_active_at", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("email", "name", "password", "avatar_url", "preferences", "is_active")}),
        ("Rights", {"fields": RIGHTS}),
        ("Last seen", {"fields": (("last_login", "last_active_at"),)}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )
    activate = staff.row_action("Activate selected people", services.activate, done="activated")
    deactivate = staff.row_action(
        "Deactivate selected people",
        services.deactivate,
        done="deactivated",
        confirm="They can no longer sign in, and all their browsers are disconnected at once. Nothing is lost.",
        permission="deactivate",
    )
    actions = ("activate", "deactivate", *staff.SyncedAdmin.actions)

    def get_ordering(self, request: HttpRequest) -> Any:
        """By address. Those who were there at the same time (most were never) follow each other as in the index."""
        by_time = str(self.list_display.index("last_active_at") + 1)
        sorted_by = request.GET.get("o", "")
        if sorted_by.removeprefix("-") == by_time:
            return ("-id",) if sorted_by.startswith("-") else ("id",)
        return super().get_ordering(request)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(() if request.user.is_superuser else RIGHTS))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and may_touch(request, obj) and obj != request.user

    def has_deactivate_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whoever may change an account, except their own: they would lock themselves out."""
        return self.has_change_permission(request, obj) and obj != request.user

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Those that the user may delete."""
        for person in queryset:
            if self.has_delete_permission(request, person):
                person.delete()


def may_touch(request: HttpRequest, person: User | None) -> bool:
    """Whether the person's account is this user's to change, as far as it is an account of staff."""
    return bool(request.user.is_superuser or person is None or not (person.is_staff or person.is_superuser))


@admin.register(ApiToken)
class ApiTokenAdmin(staff.TableAdmin):
    """Tokens are listed and revoked; they are made on the command line, which shows the secret once."""

    section, icon = "People", "key"
    nothing_yet = "Programs sign in by tokens. Make one with manage.py create_token."
    list_display = ("prefix", "name", "user", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (("user", staff.RowFilter),)
    list_select_related = ("user",)
    search_help_text = "The beginning of a token up to the dots, or a person's id"
    found_exactly = ("prefix",)
    found_by_reference = ("user",)
    fields = ("prefix", "name", "user", "created_at", "expires_at", "last_used_at", "revoked_at")
    export_columns = ("id", "prefix", "name", "user_id", "created_at", "expires_at", "last_used_at", "revoked_at")
    revoke = staff.row_action(
        "Revoke selected tokens",
        tokens.revoke_token,
        done="revoked",
        confirm="Programs that use them are disconnected at once. A revoked token never works again.",
        permission="revoke",
    )
    actions = ("revoke", *staff.TableAdmin.actions)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Who may delete a token may as well revoke it."""
        return self.has_delete_permission(request, obj)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(staff.StaffAdmin, DjangoGroupAdmin):
    """Groups of staff; viewer, support and operator are there from the beginning."""

    section, icon = "People", "groups"
    list_display = ("name",)
    ordering = ("name",)
    search_fields = ("name",)
    filter_horizontal = ("permissions",)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A group takes its people's rights with it, and nothing else."""
        return [f"Group: {group}" for group in objs], {"groups": len(objs)}, set(), []
