"""Two lines of migrations meet: what servers say of themselves, and what staff read."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("syncing", "0006_personal_reading"), ("syncing", "0007_monitoring")]
    operations: list[migrations.operations.base.Operation] = []
