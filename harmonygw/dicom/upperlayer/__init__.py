"""PS3.8: PDUs, the state machine of Table 9-10, negotiation."""
