"""The admin's public face: what the admin of each app is made of.

    class MemoryAdmin(staff.StaffAdmin):
        section, icon = "Conversations", "neurology"

It is imported by the apps' `admin` and `forms` only: all models must be there before.
"""

from __future__ import annotations

from syncing.staff.pages import KEPT_BY_DATABASE, ReadOnlyAdmin, StaffAdmin, mask
from syncing.staff.paging import CappedPaginator
from syncing.staff.paint import (
    AdminPasswordChangeForm,
    AdminUserCreationForm,
    ChoicesFilter,
    OptionsFilter,
    PeriodFilter,
    RowFilter,
    StackedInline,
    TabularInline,
    TextareaWidget,
    TextWidget,
    UserChangeForm,
    YesNoFilter,
)
from syncing.staff.personal import masked_columns, reads_personal, record_reading

__all__ = [
    "KEPT_BY_DATABASE",
    "AdminPasswordChangeForm",
    "AdminUserCreationForm",
    "CappedPaginator",
    "ChoicesFilter",
    "OptionsFilter",
    "PeriodFilter",
    "ReadOnlyAdmin",
    "RowFilter",
    "StackedInline",
    "StaffAdmin",
    "TabularInline",
    "TextWidget",
    "TextareaWidget",
    "UserChangeForm",
    "YesNoFilter",
    "mask",
    "masked_columns",
    "reads_personal",
    "record_reading",
]
