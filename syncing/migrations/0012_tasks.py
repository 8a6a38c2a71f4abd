"""What is known of the last run of each maintenance task."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("syncing", "0011_horizon")]

    operations = [
        migrations.CreateModel(
            name="SyncTask",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField()),
                ("succeeded_at", models.DateTimeField(null=True)),
                ("outcome", models.TextField()),
                ("said", models.TextField(blank=True, db_default="")),
                ("seconds", models.FloatField(null=True)),
            ],
            options={"db_table": "sync_tasks", "verbose_name": "maintenance task"},
        ),
    ]
