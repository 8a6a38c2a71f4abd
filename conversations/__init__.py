"""Sessions and their messages: what people and assistants say to each other."""
