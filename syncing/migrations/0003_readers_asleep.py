"""Whether readers sleep, as an expression of its own that capture triggers ask without another statement."""

from pathlib import Path

from django.db import migrations

SCRIPT = Path(__file__).resolve().parent.parent / "sql" / "0003_readers_asleep.sql"


class Migration(migrations.Migration):
    dependencies = [("syncing", "0002_clients_and_conflicts")]
    operations = [migrations.RunSQL(SCRIPT.read_text(), reverse_sql=migrations.RunSQL.noop)]
