-- Clients that registered themselves. The registration access token is found by its keyed hash.
CREATE TABLE client_registration (
    client_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token_index BYTEA NOT NULL,
    created BIGINT NOT NULL
);
