"""Accounts and API tokens for staff."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import services, tokens
from accounts.forms import NewUserForm, UserForm
from accounts.models import ApiToken, User
from syncing import staff


@admin.register(User)
class UserAdmin(staff.StaffAdmin, DjangoUserAdmin):
    """People."""

    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_active", "is_staff", "last_active_at", "created_at")
    list_filter = ("is_active", "is_staff", "is_superuser", "last_active_at", "created_at")
    search_fields = ("email", "name")
    search_help_text = "Part of an e-mail address or a name."
    ordering = ("email",)
    readonly_fields = ("last_login", "last_active_at", *staff.KEPT_BY_DATABASE)
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "avatar_url", "preferences")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Last seen", {"fields": ("last_login", "last_active_at")}),
        ("Sync", {"classes": ("collapse",), "fields": staff.KEPT_BY_DATABASE}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )
    actions = ("activate", "deactivate")

    @admin.action(description="Activate selected people", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        count = sum(services.activate(user) for user in queryset)
        self.message_user(request, f"{count} activated.")

    @admin.action(description="Deactivate selected people", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        count = sum(services.deactivate(user) for user in queryset if user != request.user)
        self.message_user(request, f"{count} deactivated.")


@admin.register(ApiToken)
class ApiTokenAdmin(staff.StaffAdmin):
    """Tokens are listed and revoked; they are made on the command line, which shows the secret once."""

    list_display = ("prefix", "name", "user", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = ("revoked_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("prefix", "name", "user__email")
    fields = ("prefix", "name", "user", "created_at", "expires_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Who may delete a token may as well revoke it."""
        return self.has_delete_permission(request)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        count = sum(tokens.revoke_token(token) for token in queryset)
        self.message_user(request, f"{count} revoked.")
