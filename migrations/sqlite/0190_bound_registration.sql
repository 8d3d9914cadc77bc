-- The certificate that a registration access token is bound to, by its thumbprint. None of a bearer token.
ALTER TABLE client_registration ADD COLUMN certificate TEXT;
