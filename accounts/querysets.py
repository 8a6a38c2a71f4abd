"""How accounts are looked up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.base_user import BaseUserManager
from django.db import models
from django.db.models import Count, Q, Value
from django.db.models.functions import Lower, Now

if TYPE_CHECKING:
    from accounts.models import ApiToken, User  # noqa: F401 - for the annotations in strings


class UserQuerySet(models.QuerySet["User"]):
    """People."""

    def with_email(self, email: str) -> Self:
        """The account of this address, whatever its case. The database lowers both: its rules are the index's."""
        return self.alias(lower_email=Lower("email")).filter(lower_email=Lower(Value(email.strip())))

    def by_email(self, email: str) -> User | None:
        """The account of this address, None where there is none."""
        return self.with_email(email).first()

    def active(self) -> Self:
        """Who may log in."""
        return self.filter(is_active=True)

    def staff(self) -> Self:
        """Who may enter the admin."""
        return self.filter(is_staff=True)

    def seen_within(self, **age: float) -> Self:
        """Who was there lately: `seen_within(minutes=5)`, in units of timedelta."""
        return self.filter(last_active_at__gte=Now() - timedelta(**age))

    def visible_to(self, user: User) -> Self:
        """People see their own account only; of others, collaborators carry name and avatar."""
        return self.filter(pk=user.pk)

    def stats(self) -> dict[str, int]:
        """total, active, staff, and seen within a day."""
        day = Q(last_active_at__gte=Now() - timedelta(days=1))
        return self.aggregate(
            total=Count("pk"),
            active=Count("pk", filter=Q(is_active=True)),
            staff=Count("pk", filter=Q(is_staff=True)),
            seen_today=Count("pk", filter=day),
        )


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    """Makes accounts; logs in by e-mail."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A new account; without a password it can be used by token only. Raises EmailTaken."""
        from accounts.services import create_user

        return create_user(email, password, **fields)

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A new account with all rights in the admin (`manage.py createsuperuser`)."""
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get_queryset().with_email(username or "").get()

    async def aget_by_natural_key(self, username: str | None) -> User:
        return await self.get_queryset().with_email(username or "").aget()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """API tokens."""

    def usable(self) -> Self:
        """Neither revoked nor expired, of an active person."""
        unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        return self.filter(unexpired, revoked_at__isnull=True, user__is_active=True)
