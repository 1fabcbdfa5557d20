//! The tables of the catalogue. `docs/src/store-format.md` explains them.

/// "OMNI", in the header of the database file: tells it from any other.
pub(super) const APPLICATION_ID: i64 = 0x4f4d_4e49;

/// In `user_version`. Raised whenever an older reader would misread the tables.
pub(super) const VERSION: i64 = 1;

/// Version 1.
pub(super) const TABLES: &str = "
CREATE TABLE object (
    id          INTEGER PRIMARY KEY,
    hash        BLOB    NOT NULL UNIQUE,
    bytes       INTEGER NOT NULL,
    damaged_at  INTEGER
) STRICT;
CREATE INDEX object_damaged ON object (id) WHERE damaged_at IS NOT NULL;

CREATE TABLE memory (
    id              INTEGER PRIMARY KEY,
    content_hash    BLOB    NOT NULL UNIQUE,
    layer           TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    context         TEXT    NOT NULL,
    trauma_score    REAL    NOT NULL,
    original_bytes  INTEGER NOT NULL,
    stored_bytes    INTEGER NOT NULL,
    bound           TEXT    NOT NULL,
    max_abs_error   REAL    NOT NULL,
    rel_l2_error    REAL    NOT NULL,
    tensor_count    INTEGER NOT NULL,
    stored_at       INTEGER NOT NULL,
    sealed          INTEGER REFERENCES object (id),
    metadata        TEXT    NOT NULL,
    signature       BLOB,
    row_check       BLOB    NOT NULL,
    manifest_check  BLOB    NOT NULL
) STRICT;
CREATE INDEX memory_stored_at ON memory (stored_at);
CREATE INDEX memory_sealed ON memory (sealed) WHERE sealed IS NOT NULL;

CREATE TABLE tensor (
    memory_id       INTEGER NOT NULL REFERENCES memory (id) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    dtype           TEXT    NOT NULL,
    shape           TEXT    NOT NULL,
    object          INTEGER NOT NULL REFERENCES object (id),
    original_bytes  INTEGER NOT NULL,
    max_abs_error   REAL    NOT NULL,
    rel_l2_error    REAL    NOT NULL,
    PRIMARY KEY (memory_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX tensor_object ON tensor (object);

CREATE TABLE trace (
    memory_id  INTEGER NOT NULL REFERENCES memory (id) ON DELETE CASCADE,
    context    TEXT    NOT NULL,
    first_at   INTEGER NOT NULL,
    via        TEXT    NOT NULL CHECK (via IN ('consolidated', 'reactivated')),
    row_check  BLOB    NOT NULL,
    PRIMARY KEY (memory_id, context)
) STRICT, WITHOUT ROWID;
CREATE INDEX trace_context ON trace (context);

CREATE TABLE consolidation (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    content_hash  BLOB    NOT NULL,
    layer         TEXT    NOT NULL,
    context       TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    freed_bytes   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE change (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    content_hash  BLOB    NOT NULL,
    event         TEXT    NOT NULL CHECK (event IN ('added', 'traced', 'forgotten')),
    context       TEXT,
    at            INTEGER NOT NULL
) STRICT;
";
