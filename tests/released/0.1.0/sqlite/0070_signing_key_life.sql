-- When a key began to sign, and when it stopped.
ALTER TABLE signing_key ADD COLUMN activated INTEGER;
ALTER TABLE signing_key ADD COLUMN retired INTEGER;
UPDATE signing_key SET activated = created WHERE state = 'current';
CREATE UNIQUE INDEX signing_key_one_current ON signing_key (algorithm) WHERE state = 'current';
CREATE UNIQUE INDEX signing_key_one_next ON signing_key (algorithm) WHERE state = 'next';
