-- Accounts of people. What is known of a person is sealed with a key of the person's own, which is kept in another database.
CREATE TABLE account (
    subject TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    username_index BYTEA NOT NULL UNIQUE,
    state TEXT NOT NULL,
    profile_sealed BYTEA NOT NULL,
    password_sealed BYTEA,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL
);

-- Sessions of people in browsers. The browser's cookie is found by its keyed hash.
CREATE TABLE browser_session (
    session_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_index BYTEA NOT NULL UNIQUE,
    subject TEXT COLLATE "C" NOT NULL REFERENCES account (subject),
    state_sealed BYTEA NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX browser_session_subject ON browser_session (subject);
CREATE INDEX browser_session_expires ON browser_session (expires);
CREATE INDEX browser_session_used ON browser_session (used);
