-- Passkeys of people (W3C Web Authentication). `credential_index` is the keyed hash of the credential's id, and names one passkey of one
-- person; the key, its flags and what the person calls it are sealed with the person's key. `sign_count` is the signature counter that was
-- seen last, in the clear, so that of two who show the same one no more than one is taken.
CREATE TABLE passkey (
    passkey_id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    credential_index BLOB NOT NULL UNIQUE,
    credential_sealed BLOB NOT NULL,
    sign_count INTEGER NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT;
CREATE INDEX passkey_subject ON passkey (subject);
-- What a browser was asked to have signed, until it comes back, once.
CREATE TABLE passkey_ceremony (
    ceremony_index BLOB NOT NULL PRIMARY KEY,
    state_sealed BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX passkey_ceremony_expires ON passkey_ceremony (expires);
