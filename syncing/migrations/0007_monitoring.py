"""What server processes say of themselves, what is wrong now, and heartbeats."""

from pathlib import Path

import django.db.models.functions.datetime
from django.db import migrations, models

import syncing.identity

SCRIPT = Path(__file__).resolve().parent.parent / "sql" / "0007_heartbeats.sql"
UNDO = "DROP TABLE public.sync_heartbeats; DROP FUNCTION syncing.log_heartbeat()"


class Migration(migrations.Migration):
    dependencies = [("syncing", "0006_metrics")]

    operations = [
        migrations.CreateModel(
            name="SyncAlert",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("code", models.TextField()),
                ("part", models.TextField()),
                ("severity", models.TextField()),
                ("message", models.TextField()),
                ("raised_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"db_table": "sync_alerts"},
        ),
        migrations.CreateModel(
            name="SyncProcess",
            fields=[
                (
                    "id",
                    models.UUIDField(default=syncing.identity.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("backend_pid", models.IntegerField(null=True)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("answered_at", models.DateTimeField(null=True)),
                ("missed_at", models.DateTimeField(null=True)),
                ("snapshot", models.TextField(db_default="")),
                ("figures", models.JSONField(db_default={})),
            ],
            options={"db_table": "sync_processes"},
        ),
        migrations.RunSQL(SCRIPT.read_text(), reverse_sql=UNDO),
    ]
