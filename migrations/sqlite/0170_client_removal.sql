-- What is forgotten with a client is found by its name; its grants already are.
CREATE INDEX consent_client ON consent (client_id);
