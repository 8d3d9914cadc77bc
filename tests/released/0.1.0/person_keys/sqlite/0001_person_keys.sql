-- The keys of people, apart from what they open: deleting one ends what every copy of the other database says of that person.

-- One row: the deployment whose people these are.
CREATE TABLE deployment (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    deployment_id TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE person_key (
    subject TEXT NOT NULL PRIMARY KEY,
    key_sealed BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;
