-- The limits that servers have announced, as JSON: the newest announcement of a workflow holds on all servers.
CREATE TABLE limits (
    workflow text COLLATE "C" NOT NULL PRIMARY KEY,
    value    text NOT NULL
);
