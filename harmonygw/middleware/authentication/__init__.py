"""What `basic_auth`, `token_auth` and `jwt_auth` check credentials with."""
