-- What may be used once: the `jti` of client assertions and of DPoP proofs, until nobody would take them any more. Rows of one
-- value differ by the master key they were hashed with.
CREATE TABLE replay (
    key_index BYTEA NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX replay_until ON replay (until);
