"""HTTP towards a server: one connection, a pool of them, and what of a message may pass a proxy."""
