"""The audit trail on its way: syslog messages (PS3.15 §A.6, §A.7), where they wait, and who takes them."""
