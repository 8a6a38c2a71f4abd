"""Forms of the admin for accounts."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm

from accounts.models import User


class NewUserForm(AdminUserCreationForm):
    """E-mail, name, and a password or none."""

    class Meta:
        model = User
        fields = ("email", "name")
        field_classes = {"email": forms.EmailField}


class UserForm(UserChangeForm):
    """Everything about an account but its password, which has a form of its own."""

    class Meta:
        model = User
        fields = (
            "email",
            "name",
            "avatar_url",
            "preferences",
            "is_active",
            "is_staff",
            "is_superuser",
            "groups",
            "user_permissions",
        )
        field_classes = {"email": forms.EmailField}
