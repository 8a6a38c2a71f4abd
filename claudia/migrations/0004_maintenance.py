"""The groups may see how maintenance stands."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    dependencies = [("claudia", "0003_dashboard"), ("syncing", "0012_tasks")]

    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
