-- Shipped migrations are never edited: append a new one, with the same number in both folders.
-- Every BYTEA is sealed and named *_sealed, or is a keyed hash and named *_index.

-- One row: which deployment this is, and a sealed value that opens only with the deployment's own master keys.
CREATE TABLE deployment (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    deployment_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    canary_sealed BYTEA NOT NULL
);

-- One row: the last number given to a change. Whoever changes the control plane updates this row first and so holds its lock
-- until the commit: no reader sees a number before every smaller one is committed.
CREATE TABLE change_counter (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    value BIGINT NOT NULL
);
INSERT INTO change_counter (id, value) VALUES (1, 0);

CREATE TABLE change (
    sequence BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE client (
    client_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    metadata TEXT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL
);

CREATE TABLE revocation_rule (
    kind TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL UNIQUE,
    before BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX revocation_rule_expires ON revocation_rule (expires);

CREATE TABLE signing_key (
    key_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    state TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    private_sealed BYTEA NOT NULL,
    created BIGINT NOT NULL
);

-- Events that commit with the change they tell of. `relayed` is when the event was copied to the audit trail.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    relayed BIGINT
);
CREATE INDEX audit_pending ON audit (id) WHERE relayed IS NULL;
CREATE INDEX audit_relayed ON audit (relayed) WHERE relayed IS NOT NULL;
