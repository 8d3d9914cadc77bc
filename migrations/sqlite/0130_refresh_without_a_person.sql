-- Refresh tokens of services. `rebound` counts how often one was bound to another certificate. One that was given in a token exchange ends
-- with the grant of the token that was given for it, `parent_id`, and with the client of that token.
ALTER TABLE grant_family ADD COLUMN rebound INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grant_family ADD COLUMN parent_id TEXT;
ALTER TABLE grant_family ADD COLUMN parent_client_id TEXT;
CREATE INDEX grant_family_client ON grant_family (client_id);
CREATE INDEX grant_family_parent ON grant_family (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX grant_family_parent_client ON grant_family (parent_client_id) WHERE parent_client_id IS NOT NULL;
