-- `code` is the hash of the code that a run began with; `not_reached` are the stored steps, as a JSON list of names, that its last
-- attempt did not reach again.
ALTER TABLE runs ADD COLUMN code TEXT;
ALTER TABLE runs ADD COLUMN not_reached TEXT;

-- The hash of the code of each workflow, as each server has it now.
CREATE TABLE code (
    server   TEXT NOT NULL,
    workflow TEXT NOT NULL,
    hash     TEXT NOT NULL,
    PRIMARY KEY (server, workflow)
) STRICT, WITHOUT ROWID;
