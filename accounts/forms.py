"""Forms of the admin for accounts."""

from __future__ import annotations

import hashlib
from typing import Any

from django import forms
from django.utils.html import format_html

from accounts.models import User
from syncing import staff


class NewUserForm(staff.AdminUserCreationForm):
    """E-mail, name, and a password or none."""

    class Meta:
        model = User
        fields = ("email", "name")
        field_classes = {"email": forms.EmailField}


class SeenField(forms.CharField):
    """What a form showed when it was opened; not an input of the person's."""

    widget = forms.HiddenInput

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class UserForm(staff.VersionedForm, staff.UserChangeForm):
    """Everything about an account but its password, which has a form of its own.

    Rights are in no version and in no log of synced changes: the form knows by itself whether they moved on.
    """

    rights_seen = SeenField(required=False)

    class Meta:
        model = User
        fields = ("email", "name", "avatar_url", "preferences", "is_active", "is_staff", "is_superuser", "groups")
        field_classes = {"email": forms.EmailField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "password" in self.fields:
            self.fields["password"].help_text = format_html(
                'Kept as a hash, which nobody can read. <a class="staff-link" href="{}">Set another</a>.',
                "../password/",
            )
        self.initial["rights_seen"] = rights_of(self.instance)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        edits = {"is_staff", "is_superuser", "groups"} & self.fields.keys()
        now = rights_of(self.instance)
        if edits and cleaned.get("rights_seen") != now:
            self.add_error(None, "Somebody else changed this person's rights meanwhile. Look at them, then save again.")
            data: Any = self.data.copy()  # type: ignore[attr-defined]
            data[self.add_prefix("rights_seen")] = now
            self.data = data
        return cleaned


def rights_of(person: User) -> str:
    """A digest of the person's rights, as the database has them now."""
    if person._state.adding:
        return ""
    rows = User.objects.filter(pk=person.pk).values_list("is_staff", "is_superuser")
    groups = sorted(person.groups.values_list("pk", flat=True))
    return hashlib.sha256(repr((list(rows), groups)).encode()).hexdigest()[:16]
