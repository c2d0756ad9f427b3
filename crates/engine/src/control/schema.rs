//! The tables, as the steps that make them.

/// Format of a file that has seen every step, kept in `PRAGMA user_version`.
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// Each step takes a file from the format of its index to the next. Steps are never changed, only added.
///
/// Every table counts its rows in the order in which they came: that is the order of lists. `jobs.wish` is what somebody
/// asked of a job that another process may be running; `jobs.crashes` counts crashes in a row without progress between.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    status TEXT NOT NULL,
    status_details TEXT,
    expires_at INTEGER
);
CREATE INDEX files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('validating', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    wish TEXT CHECK (wish IN ('pause', 'cancel')),
    request TEXT NOT NULL,
    detail TEXT NOT NULL,
    failure TEXT,
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER,
    unit TEXT NOT NULL DEFAULT 'items',
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    owner INTEGER,
    crashes INTEGER NOT NULL DEFAULT 0,
    crashed_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_state ON jobs (state, key);
CREATE TABLE job_events (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    step INTEGER,
    metrics TEXT
);
CREATE INDEX job_events_by_job ON job_events (job, key);
CREATE UNIQUE INDEX job_events_by_step ON job_events (job, step) WHERE step IS NOT NULL;
CREATE TABLE job_files (
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    file TEXT NOT NULL,
    PRIMARY KEY (job, file)
) WITHOUT ROWID;
CREATE TABLE checkpoints (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    model TEXT NOT NULL UNIQUE,
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL
);
CREATE TABLE tuned_models (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    base TEXT NOT NULL,
    parent TEXT,
    job TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    folder TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    checkpoint_of TEXT,
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    provenance TEXT NOT NULL
);
",
    "
ALTER TABLE jobs ADD COLUMN stage TEXT;
ALTER TABLE jobs ADD COLUMN stage_started_at INTEGER;
CREATE TABLE job_results (
    job INTEGER NOT NULL REFERENCES jobs (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (job, position)
) WITHOUT ROWID;
CREATE TABLE predictors (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    collection TEXT,
    embedder TEXT NOT NULL,
    job TEXT,
    created_at INTEGER NOT NULL,
    summary TEXT NOT NULL,
    model BLOB NOT NULL,
    UNIQUE (name, version)
);
",
];
