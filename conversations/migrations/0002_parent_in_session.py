"""A message's parent lies in the same session: one foreign key over the pair, which Django's models cannot express.

Deferred, so that a thread can be moved message by message, and so that the trigger on DELETE can let replies go.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("conversations", "0001_initial")]

    operations = [
        migrations.RunSQL(
            """
            ALTER TABLE messages ADD CONSTRAINT messages_parent_in_session
                FOREIGN KEY (session_id, parent_id) REFERENCES messages (session_id, id)
                DEFERRABLE INITIALLY DEFERRED
            """,
            "ALTER TABLE messages DROP CONSTRAINT messages_parent_in_session",
        )
    ]
