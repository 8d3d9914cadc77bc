-- What is forgotten with a client is found by its name.
CREATE INDEX grant_family_client ON grant_family (client_id);
CREATE INDEX consent_client ON consent (client_id);
