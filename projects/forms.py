"""Forms of the admin for projects: secret values go in and never out, and the owner keeps their place."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.models import BaseInlineFormSet

from projects.models import Collaborator, Project, Role
from projects.rules import OwnerStays
from syncing import staff


class ProjectForm(staff.VersionedForm):
    """A project, with a place to set secret values."""

    secret_values = forms.CharField(
        required=False,
        widget=staff.TextareaWidget(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
        help_text="One NAME=value a line, to set it; NAME= removes it. Values are encrypted and never shown.",
    )

    class Meta:
        model = Project
        fields = (
            "name",
            "description",
            "owner",
            "status",
            "is_archived",
            "version",
            "path",
            "git_url",
            "git_branch",
            "settings",
            "last_build_at",
        )

    def clean_secret_values(self) -> dict[str, str | None]:
        """By name; None for those to remove."""
        values: dict[str, str | None] = {}
        for line in self.cleaned_data["secret_values"].splitlines():
            if not line.strip():
                continue
            name, equals, value = line.partition("=")
            if not equals or not name.strip().isidentifier():
                # The line is not repeated: it may hold a secret.
                raise ValidationError("Each line must be NAME=value, the name of letters, digits and underscores.")
            values[name.strip()] = value.strip() or None
        return values


class CollaboratorForm(staff.VersionedForm):
    """A collaborator by itself."""

    class Meta:
        model = Collaborator
        fields = ("project", "user", "role")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        row: Collaborator = self.instance
        if not row._state.adding and row.user_id == row.project.owner_id and set(self.changed_data) - {"role"}:
            raise ValidationError(OwnerStays().message)
        if not row._state.adding and row.user_id == row.project.owner_id and cleaned.get("role") != Role.ADMIN:
            raise ValidationError(OwnerStays().message)
        return cleaned


class CollaboratorsFormSet(BaseInlineFormSet):
    """The collaborators of one project, beside the form in which its owner may change."""

    def clean(self) -> None:
        super().clean()
        owner_id = self.instance.owner_id
        for form in self.forms:
            values = getattr(form, "cleaned_data", {})
            person = values.get("user")
            if form.instance._state.adding:
                if person and person.pk == owner_id:
                    form.add_error("user", "The owner is a collaborator without being added.")
            elif form.initial.get("user") != owner_id or not form.has_changed():
                continue  # whoever becomes the owner becomes an admin by that
            elif values.get("DELETE") or values.get("role") != Role.ADMIN or (person and person.pk != owner_id):
                raise ValidationError(OwnerStays().message)  # a form that deletes is not asked for its own errors
