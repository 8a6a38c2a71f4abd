"""The admin's public face: what the admin of each app is made of.

    class MemoryAdmin(staff.StaffAdmin):
        section, icon = "Conversations", "neurology"

It is imported by the apps' `admin` and `forms` only: all models must be there before.
"""

from __future__ import annotations

from syncing.staff.actions import row_action
from syncing.staff.edits import VersionedForm
from syncing.staff.filters import PeriodFilter, TextFilter, options_filter
from syncing.staff.pages import KEPT_BY_DATABASE, ReadOnlyAdmin, StaffAdmin, mask
from syncing.staff.paging import CappedPaginator
from syncing.staff.paint import (
    AdminPasswordChangeForm,
    AdminUserCreationForm,
    ChoicesFilter,
    OptionsFilter,
    RowFilter,
    StackedInline,
    TabularInline,
    TextareaWidget,
    TextWidget,
    UserChangeForm,
    YesNoFilter,
)
from syncing.staff.personal import masked_columns, reads_personal, record_reading
from syncing.staff.plots import Series, plot, shares
from syncing.staff.rows import SyncedAdmin, TableAdmin, row_link
from syncing.staff.spans import lasting

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
    "Series",
    "StackedInline",
    "StaffAdmin",
    "SyncedAdmin",
    "TableAdmin",
    "TabularInline",
    "TextFilter",
    "TextWidget",
    "TextareaWidget",
    "UserChangeForm",
    "VersionedForm",
    "YesNoFilter",
    "lasting",
    "mask",
    "masked_columns",
    "options_filter",
    "plot",
    "reads_personal",
    "record_reading",
    "row_action",
    "row_link",
    "shares",
]
