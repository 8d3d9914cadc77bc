-- The secret of a client that authenticates with one: sealed, and only what is needed of it.
CREATE TABLE client_secret (
    client_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_sealed BYTEA NOT NULL,
    changed BIGINT NOT NULL
);
