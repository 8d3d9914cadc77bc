-- Accounts of people. What is known of a person is sealed with a key of the person's own, which is kept in another database.
CREATE TABLE account (
    subject TEXT NOT NULL PRIMARY KEY,
    username_index BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    profile_sealed BLOB NOT NULL,
    password_sealed BLOB,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL
) STRICT;

-- Sessions of people in browsers. The browser's cookie is found by its keyed hash.
CREATE TABLE browser_session (
    session_id TEXT NOT NULL PRIMARY KEY,
    secret_index BLOB NOT NULL UNIQUE,
    subject TEXT NOT NULL REFERENCES account (subject),
    state_sealed BLOB NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX browser_session_subject ON browser_session (subject);
CREATE INDEX browser_session_expires ON browser_session (expires);
CREATE INDEX browser_session_used ON browser_session (used);
