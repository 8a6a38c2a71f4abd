"""What an assistant remembers: about a person, a project, a session, or its own work."""
