"""From where on the log and receipts are kept."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("syncing", "0010_operated")]

    operations = [
        migrations.CreateModel(
            name="SyncHorizon",
            fields=[
                ("id", models.SmallIntegerField(db_default=1, default=1, primary_key=True, serialize=False)),
                ("log_from", models.DateTimeField(null=True)),
                ("receipts_from", models.UUIDField(null=True)),
            ],
            options={
                "db_table": "sync_horizon",
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="sync_horizon_only_row")],
            },
        ),
    ]
