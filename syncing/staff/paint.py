"""All that is taken from django-unfold, which paints the admin: nothing else imports it.

For the types these are Django's own classes, which unfold's extend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite as PaintedSite
    from django.contrib.admin import BooleanFieldListFilter as YesNoFilter
    from django.contrib.admin import ChoicesFieldListFilter as ChoicesFilter
    from django.contrib.admin import DateFieldListFilter as RangeFilter
    from django.contrib.admin import ModelAdmin as PaintedModelAdmin
    from django.contrib.admin import RelatedFieldListFilter as RowFilter
    from django.contrib.admin import SimpleListFilter as OptionsFilter
    from django.contrib.admin import SimpleListFilter as TypedFilter
    from django.contrib.admin import StackedInline, TabularInline
    from django.contrib.admin.widgets import AdminTextareaWidget as TextareaWidget
    from django.contrib.admin.widgets import AdminTextInputWidget as TextWidget
    from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
else:
    from unfold.admin import ModelAdmin as PaintedModelAdmin
    from unfold.admin import StackedInline, TabularInline
    from unfold.contrib.filters.admin import AutocompleteSelectFilter as RowFilter
    from unfold.contrib.filters.admin import BooleanRadioFilter as YesNoFilter
    from unfold.contrib.filters.admin import ChoicesDropdownFilter as ChoicesFilter
    from unfold.contrib.filters.admin import DropdownFilter as OptionsFilter
    from unfold.contrib.filters.admin import RangeDateFilter as RangeFilter
    from unfold.contrib.filters.admin import TextFilter as TypedFilter
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm
    from unfold.forms import UserCreationForm as AdminUserCreationForm
    from unfold.sites import UnfoldAdminSite as PaintedSite
    from unfold.widgets import UnfoldAdminTextareaWidget as TextareaWidget
    from unfold.widgets import UnfoldAdminTextInputWidget as TextWidget

__all__ = [
    "AdminPasswordChangeForm",
    "AdminUserCreationForm",
    "ChoicesFilter",
    "OptionsFilter",
    "PaintedModelAdmin",
    "PaintedSite",
    "RangeFilter",
    "RowFilter",
    "StackedInline",
    "TabularInline",
    "TextWidget",
    "TextareaWidget",
    "TypedFilter",
    "UserChangeForm",
    "YesNoFilter",
]
