-- Passkeys of people (W3C Web Authentication). `credential_index` is the keyed hash of the credential's id, and names one passkey of one
-- person; the key, its flags and what the person calls it are sealed with the person's key. `sign_count` is the signature counter that was
-- seen last, in the clear, so that of two who show the same one no more than one is taken.
CREATE TABLE passkey (
    passkey_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    subject TEXT COLLATE "C" NOT NULL,
    credential_index BYTEA NOT NULL UNIQUE,
    credential_sealed BYTEA NOT NULL,
    sign_count BIGINT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT NOT NULL
);
CREATE INDEX passkey_subject ON passkey (subject);
-- What a browser was asked to have signed, until it comes back, once.
CREATE TABLE passkey_ceremony (
    ceremony_index BYTEA NOT NULL PRIMARY KEY,
    state_sealed BYTEA NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX passkey_ceremony_expires ON passkey_ceremony (expires);
