"""PS3.7: command sets, messages, statuses, fragments."""
