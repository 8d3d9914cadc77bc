-- Shipped migrations are never edited: append a new one, with the same number in both folders.
-- Every BLOB is sealed and named *_sealed, or is a keyed hash and named *_index.

-- One row: which deployment this is, and a sealed value that opens only with the deployment's own master keys.
CREATE TABLE deployment (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    deployment_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    canary_sealed BLOB NOT NULL
) STRICT;

-- One row: the last number given to a change. Whoever changes the control plane updates this row first and so holds its lock
-- until the commit: no reader sees a number before every smaller one is committed.
CREATE TABLE change_counter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO change_counter (id, value) VALUES (1, 0);

CREATE TABLE change (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE client (
    client_id TEXT NOT NULL PRIMARY KEY,
    metadata TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL
) STRICT;

CREATE TABLE revocation_rule (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    before INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT;
CREATE INDEX revocation_rule_expires ON revocation_rule (expires);

CREATE TABLE signing_key (
    key_id TEXT NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    state TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    private_sealed BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;

-- Events that commit with the change they tell of. `relayed` is when the event was copied to the audit trail.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    relayed INTEGER
) STRICT;
CREATE INDEX audit_pending ON audit (id) WHERE relayed IS NULL;
CREATE INDEX audit_relayed ON audit (relayed) WHERE relayed IS NOT NULL;
