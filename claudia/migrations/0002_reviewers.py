"""Support and operators decide conflicts."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    dependencies = [
        ("claudia", "0001_staff_groups"),
        ("syncing", "0009_review"),
    ]

    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
