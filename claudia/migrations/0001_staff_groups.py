"""The groups viewer, support and operator."""

from django.db import migrations

from claudia.groups import make_groups


class Migration(migrations.Migration):
    initial = True

    # All that has permissions of which a group is made.
    dependencies = [
        ("accounts", "0002_cheaper_capture"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("agents", "0002_cheaper_capture"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("conversations", "0003_cheaper_capture"),
        ("memory", "0002_cheaper_capture"),
        ("projects", "0002_cheaper_capture"),
        ("syncing", "0008_personal_reading"),
    ]

    # A group that a person has filled since is not emptied: going back leaves the groups.
    operations = [migrations.RunPython(lambda apps, schema_editor: make_groups(apps), migrations.RunPython.noop)]
