-- RFC 8628: what a device asks for, until a person with a browser has decided and the device has fetched its tokens. Both codes are found
-- by their keyed hashes. `state`: pending, allowed, denied, redeemed. `pause`: seconds that the device must leave between two questions.
CREATE TABLE device_authorization (
    device_index BYTEA NOT NULL PRIMARY KEY,
    user_index BYTEA NOT NULL UNIQUE,
    family_id TEXT COLLATE "C" NOT NULL,
    state TEXT NOT NULL,
    request_sealed BYTEA NOT NULL,
    granted_sealed BYTEA,
    pause BIGINT NOT NULL,
    polled BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX device_authorization_expires ON device_authorization (expires);
