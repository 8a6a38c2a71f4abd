"""The groups of staff, and what each may do. A superuser may do everything, and alone makes staff and superusers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management import create_permissions

MODELS = {
    "accounts": ("user",),
    "projects": ("project", "collaborator"),
    "agents": ("agent",),
    "conversations": ("session", "message"),
    "memory": ("memory",),
}


def permissions(*verbs: str) -> set[str]:
    """Those of all models of the domain: `accounts.view_user`, …"""
    return {f"{app}.{verb}_{model}" for app, models in MODELS.items() for model in models for verb in verbs}


#: Looks at everything, except at what people wrote.
VIEWER = permissions("view") | {
    "syncing.view_syncevent",
    "syncing.view_synccheckpoint",
    "syncing.view_syncclient",
    "syncing.view_syncconflict",
    "syncing.view_mutationreceipt",
    "syncing.view_syncmetric",
    "syncing.view_syncalert",
    "syncing.view_syncprocess",
    "syncing.view_synctask",
    "syncing.view_syncorder",
}
#: Helps people: reads what they wrote, mends rows, decides conflicts, shares projects, revokes tokens.
SUPPORT = (
    VIEWER
    | permissions("change")
    | {
        "syncing.read_personal_content",
        "syncing.review_conflicts",
        "projects.add_collaborator",
        "projects.delete_collaborator",
        "accounts.view_apitoken",
        "accounts.delete_apitoken",
    }
)
#: Runs the system: makes and deletes rows too, sees who read what, forces resyncs and runs maintenance.
OPERATOR = (
    SUPPORT
    | permissions("add", "delete")
    | {"syncing.view_personalreading", "admin.view_logentry", "syncing.operate_sync"}
)

GROUPS = {"viewer": VIEWER, "support": SUPPORT, "operator": OPERATOR}


def make_groups(apps: Any) -> None:
    """Makes the groups that are missing, and gives each the permissions of GROUPS that it lacks; takes none away.

    apps: the app registry, of a migration or the present one. Permissions are otherwise made after all migrations, so
    they are made here; those of models that come with a later migration are left to that one.
    """
    for config in list(apps.get_app_configs()):
        module = getattr(config, "models_module", None)
        config.models_module = True  # a migration's app knows no module, by which Django tells those without models
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = module
    permission_model = apps.get_model("auth", "Permission")
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in permission_model.objects.select_related("content_type")
    }
    for name, wanted in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*(known[permission] for permission in sorted(wanted) if permission in known))
