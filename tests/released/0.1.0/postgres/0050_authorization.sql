-- What an authorization leaves behind while it is under way, and after. Unguessable values are found by their keyed hash.

-- A person at the authorization endpoint who still has to sign in or to consent.
CREATE TABLE interaction (
    id_index BYTEA NOT NULL PRIMARY KEY,
    state_sealed BYTEA NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX interaction_expires ON interaction (expires);

-- RFC 9126: gone as soon as it has been authorized or denied.
CREATE TABLE pushed_request (
    uri_index BYTEA NOT NULL PRIMARY KEY,
    state_sealed BYTEA NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX pushed_request_expires ON pushed_request (expires);

-- A redeemed code stays until `expires`, to notice when it comes again.
CREATE TABLE authorization_code (
    code_index BYTEA NOT NULL PRIMARY KEY,
    family_id TEXT COLLATE "C" NOT NULL,
    state_sealed BYTEA NOT NULL,
    redeemed BIGINT,
    expires BIGINT NOT NULL
);
CREATE INDEX authorization_code_expires ON authorization_code (expires);
CREATE INDEX authorization_code_family ON authorization_code (family_id);

-- A grant with a refresh token. The token names its family and its generation; `rotated` is when that generation began.
CREATE TABLE grant_family (
    family_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    client_id TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C",
    state_sealed BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    rotated BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX grant_family_expires ON grant_family (expires);
CREATE INDEX grant_family_subject ON grant_family (subject);
CREATE INDEX grant_family_session ON grant_family (session_id) WHERE session_id IS NOT NULL;

-- What a person has allowed a client.
CREATE TABLE consent (
    subject TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    state_sealed BYTEA NOT NULL,
    given BIGINT NOT NULL,
    PRIMARY KEY (subject, client_id)
);

-- Secrets of the deployment that must never change, by what they are for.
CREATE TABLE secret (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value_sealed BYTEA NOT NULL
);
