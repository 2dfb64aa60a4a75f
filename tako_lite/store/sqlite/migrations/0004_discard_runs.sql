-- When a user acknowledged that the run is dead; null for all others.
ALTER TABLE runs ADD COLUMN discarded_at INTEGER;

-- The dead runs that are not acknowledged yet. `status` counts these.
CREATE INDEX runs_dead ON runs (worker_group, state, discarded_at) WHERE state = 'dead' AND discarded_at IS NULL;
