-- RFC 8628: what a device asks for, until a person with a browser has decided and the device has fetched its tokens. Both codes are found
-- by their keyed hashes. `state`: pending, allowed, denied, redeemed. `pause`: seconds that the device must leave between two questions.
CREATE TABLE device_authorization (
    device_index BLOB NOT NULL PRIMARY KEY,
    user_index BLOB NOT NULL UNIQUE,
    family_id TEXT NOT NULL,
    state TEXT NOT NULL,
    request_sealed BLOB NOT NULL,
    granted_sealed BLOB,
    pause INTEGER NOT NULL,
    polled INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX device_authorization_expires ON device_authorization (expires);
