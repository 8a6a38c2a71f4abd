"""What operators do to clients: who was told to read everything anew; the permission for it."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("syncing", "0009_review"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="syncclient",
            options={
                "permissions": [("operate_sync", "Can force clients to resync, disconnect them and run maintenance")]
            },
        ),
        migrations.AlterModelOptions(name="syncprocess", options={"verbose_name_plural": "sync processes"}),
        migrations.AddField(
            model_name="syncclient",
            name="resync_after",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="syncclient",
            index=models.Index(
                condition=models.Q(("resync_after__isnull", False)), fields=["resync_after"], name="sync_clients_resync"
            ),
        ),
    ]
