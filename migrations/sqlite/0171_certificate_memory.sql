-- A certificate is remembered for as long as tokens that are bound to it can live, whatever its own dates say.
ALTER TABLE seen_certificate RENAME COLUMN not_after TO expires;
