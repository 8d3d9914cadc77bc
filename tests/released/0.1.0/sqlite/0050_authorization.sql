-- What an authorization leaves behind while it is under way, and after. Unguessable values are found by their keyed hash.

-- A person at the authorization endpoint who still has to sign in or to consent.
CREATE TABLE interaction (
    id_index BLOB NOT NULL PRIMARY KEY,
    state_sealed BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX interaction_expires ON interaction (expires);

-- RFC 9126: gone as soon as it has been authorized or denied.
CREATE TABLE pushed_request (
    uri_index BLOB NOT NULL PRIMARY KEY,
    state_sealed BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX pushed_request_expires ON pushed_request (expires);

-- A redeemed code stays until `expires`, to notice when it comes again.
CREATE TABLE authorization_code (
    code_index BLOB NOT NULL PRIMARY KEY,
    family_id TEXT NOT NULL,
    state_sealed BLOB NOT NULL,
    redeemed INTEGER,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX authorization_code_expires ON authorization_code (expires);
CREATE INDEX authorization_code_family ON authorization_code (family_id);

-- A grant with a refresh token. The token names its family and its generation; `rotated` is when that generation began.
CREATE TABLE grant_family (
    family_id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    session_id TEXT,
    state_sealed BLOB NOT NULL,
    generation INTEGER NOT NULL,
    rotated INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX grant_family_expires ON grant_family (expires);
CREATE INDEX grant_family_subject ON grant_family (subject);
CREATE INDEX grant_family_session ON grant_family (session_id) WHERE session_id IS NOT NULL;

-- What a person has allowed a client.
CREATE TABLE consent (
    subject TEXT NOT NULL,
    client_id TEXT NOT NULL,
    state_sealed BLOB NOT NULL,
    given INTEGER NOT NULL,
    PRIMARY KEY (subject, client_id)
) STRICT;

-- Secrets of the deployment that must never change, by what they are for.
CREATE TABLE secret (
    name TEXT NOT NULL PRIMARY KEY,
    value_sealed BLOB NOT NULL
) STRICT;
