"""What the groups may see since operators' orders are rows."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    dependencies = [("claudia", "0003_dashboard"), ("syncing", "0011_orders")]

    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
