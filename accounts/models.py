"""People and their API tokens."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

import syncing
from accounts import rules, triggers
from accounts.querysets import ApiTokenQuerySet, UserManager
from accounts.schemas import PREFERENCES, default_preferences


class User(syncing.SyncedModel, AbstractBaseUser, PermissionsMixin):
    """A person, who logs in by e-mail."""

    email = models.EmailField("e-mail", max_length=254)
    name = models.CharField(max_length=200, blank=True, default="", db_default="")
    avatar_url = models.CharField(
        "avatar", max_length=2000, blank=True, default="", db_default="", validators=[URLValidator(["https", "http"])]
    )
    preferences = syncing.SchemaField(
        schema=PREFERENCES, blank=True, default=default_preferences, db_default=default_preferences()
    )
    is_active = models.BooleanField("active", default=True, db_default=True)
    is_staff = models.BooleanField("staff", default=False, db_default=False, help_text="May enter the admin.")
    last_active_at = syncing.SyncedTimestamp(null=True, blank=True, editable=False)
    # Django's own fields, with a default in the database beside: "!" is no hash, nobody logs in by it.
    password = models.CharField(max_length=128, db_default="!")
    is_superuser = models.BooleanField("superuser", default=False, db_default=False, help_text="Has all permissions.")

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(
                Lower("email"), name=rules.EMAIL_UNIQUE, violation_error_message=rules.EmailTaken().message
            ),
            # Follows from the one above; Django wants to see a plain one on what people log in by (auth.E003).
            models.UniqueConstraint(fields=["email"], name=rules.EMAIL_UNIQUE_AS_WRITTEN),
            models.CheckConstraint(condition=~Q(email=""), name=rules.EMAIL_NOT_EMPTY),
        ]
        indexes = [
            models.Index(fields=["scope", "id"], name="users_scope"),
            models.Index(fields=["last_active_at", "id"], name="users_last_active_at"),
            # What staff look for: the few of each kind, and parts of names.
            models.Index(fields=["email"], name="users_staff", condition=Q(is_staff=True)),
            models.Index(fields=["email"], name="users_inactive", condition=Q(is_active=False)),
            GinIndex(OpClass("email", "gin_trgm_ops"), OpClass("name", "gin_trgm_ops"), name="users_trigrams"),
        ]
        triggers = [*triggers.NORMALISE_EMAIL, *triggers.ANNOUNCE_USER]

    def __str__(self) -> str:
        return self.name or self.email

    def clean(self) -> None:
        """As the database will spell it, so that a form can tell that it is taken."""
        self.email = self.email.strip().lower()

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ")[0]


class ApiToken(models.Model):
    """What a program shows in place of a password. The secret is not kept: its SHA-256 is."""

    id = models.UUIDField(primary_key=True, default=syncing.uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=200, help_text="What it is for.")
    digest = models.CharField(max_length=64, editable=False)
    prefix = models.CharField(max_length=20, editable=False, help_text="Its first characters, to recognise it by.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        db_table = "api_tokens"
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["digest"], name=rules.TOKEN_DIGEST_UNIQUE)]
        indexes = [models.Index(fields=["prefix"], name="api_tokens_prefix")]
        triggers = triggers.ANNOUNCE_TOKEN
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
