-- Certificates that people sign in with. Each names one account: `match_index` is the keyed hash of what a certificate is known by (its
-- key, itself, or a name in it). What the person reads of it is sealed with the person's key.
CREATE TABLE account_certificate (
    link_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    subject TEXT COLLATE "C" NOT NULL,
    match_index BYTEA NOT NULL UNIQUE,
    label_sealed BYTEA NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX account_certificate_subject ON account_certificate (subject);
