"""Agents: how an assistant is set up, and how its runs went."""
