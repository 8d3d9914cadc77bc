-- A rule that an operator has taken back, and the rule that it was made for.
ALTER TABLE revocation_rule ADD COLUMN lifted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE revocation_rule ADD COLUMN because TEXT COLLATE "C";

-- Certificates that tokens are bound to, so that one can be revoked by its key or its number. `serial_digest` is a hash over the number and
-- the issuer's name, which may be a person's.
CREATE TABLE seen_certificate (
    thumbprint TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key_digest TEXT COLLATE "C" NOT NULL,
    serial_digest TEXT COLLATE "C" NOT NULL,
    not_after BIGINT NOT NULL
);
CREATE INDEX seen_certificate_key ON seen_certificate (key_digest);
CREATE INDEX seen_certificate_serial ON seen_certificate (serial_digest);
CREATE INDEX seen_certificate_not_after ON seen_certificate (not_after);
