-- What may be used once: the `jti` of client assertions and of DPoP proofs, until nobody would take them any more. Rows of one
-- value differ by the master key they were hashed with.
CREATE TABLE replay (
    key_index BLOB NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX replay_until ON replay (until);
