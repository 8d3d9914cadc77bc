-- Clients that were told who is signed in in a session: they are told of its end.
CREATE TABLE session_client (
    session_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    PRIMARY KEY (session_id, client_id)
) STRICT;

-- Ends of sessions that a client is still to be told of. `due` is when it is tried next.
CREATE TABLE logout_notice (
    session_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    ended INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due INTEGER NOT NULL,
    PRIMARY KEY (session_id, client_id)
) STRICT;
CREATE INDEX logout_notice_due ON logout_notice (due);
