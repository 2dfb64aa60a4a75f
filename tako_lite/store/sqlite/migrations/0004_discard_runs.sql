-- When somebody acknowledged that a run is dead; null for all others.
ALTER TABLE runs ADD COLUMN discarded_at INTEGER;

-- The dead runs that nobody has acknowledged yet, which `status` counts.
CREATE INDEX runs_dead ON runs (worker_group, state, discarded_at) WHERE state = 'dead' AND discarded_at IS NULL;
