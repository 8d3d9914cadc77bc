-- The keys that seal rows and bearers (purpose `ring`), and the one that never changes (purpose `lasting`), each wrapped by the
-- master key that is named beside it. A ring key seals from `activates` until `retired`, when its successor's turn comes; it is known to
-- every process before. `resealed` is when no row was left under it; `bearers_expire` when nothing is alive any more that others carry.
CREATE TABLE seal_key (
    id TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    created INTEGER NOT NULL,
    activates INTEGER NOT NULL,
    retired INTEGER,
    resealed INTEGER,
    bearers_expire INTEGER NOT NULL,
    master_key TEXT NOT NULL,
    wrapped_sealed BLOB NOT NULL
) STRICT;
