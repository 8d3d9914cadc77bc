-- Accounts at other OpenID Providers that people sign in with. Each opens one account: `match_index` is the keyed hash of provider, issuer
-- and subject. What the person reads of it is sealed with the person's key.
CREATE TABLE linked_account (
    link_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    subject TEXT COLLATE "C" NOT NULL,
    match_index BYTEA NOT NULL UNIQUE,
    label_sealed BYTEA NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX linked_account_subject ON linked_account (subject);
