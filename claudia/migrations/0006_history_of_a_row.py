"""The page "History" of a row finds its entries by index: Django's table of them has none for that."""

from django.db import migrations

CREATE = "CREATE INDEX django_admin_log_object ON public.django_admin_log (object_id, content_type_id)"


class Migration(migrations.Migration):
    dependencies = [("claudia", "0005_orders"), ("admin", "0003_logentry_add_action_flag_choices")]

    operations = [migrations.RunSQL(CREATE, "DROP INDEX public.django_admin_log_object")]
