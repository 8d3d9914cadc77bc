-- One-time passwords (RFC 6238): the secret is sealed with the person's key; `last_step` is the last time step whose code was used.
CREATE TABLE totp (
    subject TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_sealed BYTEA NOT NULL,
    last_step BIGINT NOT NULL,
    created BIGINT NOT NULL
);

-- Codes for when the device with that secret is lost; each is found by its keyed hash, and gone once it was used.
CREATE TABLE recovery_code (
    subject TEXT COLLATE "C" NOT NULL,
    code_index BYTEA NOT NULL,
    PRIMARY KEY (subject, code_index)
);
