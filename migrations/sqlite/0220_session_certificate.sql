-- The certificate by which somebody signed in in a session, its key, and its number with the issuer's name: keyed hashes, so that a rule on one of
-- them ends the session. None of sign-ins without a certificate.
ALTER TABLE browser_session ADD COLUMN certificate_index BLOB;
ALTER TABLE browser_session ADD COLUMN certificate_key_index BLOB;
ALTER TABLE browser_session ADD COLUMN certificate_serial_index BLOB;
CREATE INDEX browser_session_certificate ON browser_session (certificate_index) WHERE certificate_index IS NOT NULL;
CREATE INDEX browser_session_certificate_key ON browser_session (certificate_key_index) WHERE certificate_key_index IS NOT NULL;
CREATE INDEX browser_session_certificate_serial ON browser_session (certificate_serial_index) WHERE certificate_serial_index IS NOT NULL;
