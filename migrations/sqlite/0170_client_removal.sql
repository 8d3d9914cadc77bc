-- What is forgotten with a client is found by its name.
CREATE INDEX consent_client ON consent (client_id);
