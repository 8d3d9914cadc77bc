-- Clients that registered themselves. The registration access token is found by its keyed hash.
CREATE TABLE client_registration (
    client_id TEXT NOT NULL PRIMARY KEY,
    token_index BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;
