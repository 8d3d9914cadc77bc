-- The keys of people, apart from what they open: deleting one ends what every copy of the other database says of that person.

-- One row: the deployment whose people these are.
CREATE TABLE deployment (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    deployment_id TEXT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE person_key (
    subject TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key_sealed BYTEA NOT NULL,
    created BIGINT NOT NULL
);
