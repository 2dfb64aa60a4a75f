-- `code` is the hash of the code that a run began with; `not_reached` are the stored steps, as a JSON list of names, that its last
-- attempt did not reach again.
ALTER TABLE runs ADD COLUMN code text COLLATE "C";
ALTER TABLE runs ADD COLUMN not_reached text;

-- The hash of the code of each workflow, as each server has it now.
CREATE TABLE code (
    server   text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    hash     text COLLATE "C" NOT NULL,
    PRIMARY KEY (server, workflow)
);
