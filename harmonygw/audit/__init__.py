"""The audit trail (PS3.15 §A.5): what is noted of an exchange, what is told of it, and how that is delivered."""
