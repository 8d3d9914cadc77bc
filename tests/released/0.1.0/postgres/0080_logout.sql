-- Clients that were told who is signed in in a session: they are told of its end.
CREATE TABLE session_client (
    session_id TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (session_id, client_id)
);

-- Ends of sessions that a client is still to be told of. `due` is when it is tried next.
CREATE TABLE logout_notice (
    session_id TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    ended BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    PRIMARY KEY (session_id, client_id)
);
CREATE INDEX logout_notice_due ON logout_notice (due);
