"""What the groups may see since operators' orders are rows."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    dependencies = [("claudia", "0004_maintenance"), ("syncing", "0013_orders")]

    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
