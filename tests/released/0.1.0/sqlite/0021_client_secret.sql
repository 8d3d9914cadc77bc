-- The secret of a client that authenticates with one: sealed, and only what is needed of it.
CREATE TABLE client_secret (
    client_id TEXT NOT NULL PRIMARY KEY,
    secret_sealed BLOB NOT NULL,
    changed INTEGER NOT NULL
) STRICT;
