-- Accounts at other OpenID Providers that people sign in with. Each opens one account: `match_index` is the keyed hash of provider, issuer
-- and subject. What the person reads of it is sealed with the person's key.
CREATE TABLE linked_account (
    link_id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    match_index BLOB NOT NULL UNIQUE,
    label_sealed BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX linked_account_subject ON linked_account (subject);
