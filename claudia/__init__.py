"""Claudia: the database and real-time sync backend of an AI-assistant platform."""
