"""What went wrong with a backup, in one or two sentences for a person."""


class BackupProblem(Exception):
    """It cannot be made, is not what it should be, or cannot be restored; nothing was changed."""
