-- Authorities by anchor set: the key (SPKI SHA-256, in base64url) names one in its set. Its certificate, its label and when it was added are
-- sealed for set and key, so that nobody who can write here makes an authority of his own accepted.
CREATE TABLE anchor (
    anchor_set TEXT NOT NULL,
    spki TEXT NOT NULL,
    anchor_sealed BLOB NOT NULL,
    PRIMARY KEY (anchor_set, spki)
) STRICT;
