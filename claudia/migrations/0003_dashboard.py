"""What the groups may see and do since there is a dashboard."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    dependencies = [("claudia", "0002_reviewers"), ("syncing", "0010_operated")]

    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
