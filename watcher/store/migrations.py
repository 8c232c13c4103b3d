"""The steps that bring a database from one version to the next. A step that was released never changes."""

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE apps (
        name TEXT PRIMARY KEY,
        first_success_at REAL,
        failing_since REAL,
        failure TEXT,
        alert_event TEXT
    );
    CREATE TABLE requests (
        key INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        base_url TEXT NOT NULL,
        run_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        type TEXT NOT NULL,
        prompt TEXT,
        params TEXT NOT NULL,
        editable_params TEXT NOT NULL,
        run_status TEXT NOT NULL,
        started_at REAL,
        user_id TEXT,
        session_id TEXT,
        run_input TEXT NOT NULL,
        link TEXT,
        position TEXT,
        first_seen_at REAL NOT NULL,
        resolved_at REAL,
        outcome TEXT,
        resolved_status TEXT
    );
    CREATE UNIQUE INDEX requests_pending ON requests (app, run_id, request_id, fingerprint)
        WHERE resolved_at IS NULL;
    CREATE INDEX requests_run ON requests (app, run_id, resolved_at);
    CREATE INDEX requests_resolved ON requests (resolved_at) WHERE resolved_at IS NOT NULL;
    CREATE TABLE hidden_runs (
        app TEXT NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (app, run_id)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        type TEXT NOT NULL,
        at REAL NOT NULL,
        app TEXT NOT NULL,
        base_url TEXT NOT NULL,
        request INTEGER REFERENCES requests (key),
        detail TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX events_at ON events (at);
    CREATE INDEX events_request ON events (request);
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event TEXT NOT NULL REFERENCES events (id),
        notifier TEXT NOT NULL,
        for_people INTEGER NOT NULL,
        subject TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending',
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL,
        next_attempt_at REAL NOT NULL,
        last_error TEXT,
        receipt TEXT,
        finished_at REAL
    );
    CREATE INDEX deliveries_event ON deliveries (event);
    CREATE INDEX deliveries_due ON deliveries (notifier, next_attempt_at) WHERE state = 'pending';
    CREATE INDEX deliveries_subject ON deliveries (subject, notifier);
    CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
    CREATE TABLE notifiers (
        name TEXT PRIMARY KEY,
        paused_until REAL NOT NULL
    );
    """,
    """
    ALTER TABLE apps ADD COLUMN last_success_at REAL;
    ALTER TABLE hidden_runs ADD COLUMN since REAL NOT NULL DEFAULT 0;
    ALTER TABLE notifiers ADD COLUMN failing_since REAL;
    ALTER TABLE notifiers ADD COLUMN failure TEXT;
    ALTER TABLE notifiers ADD COLUMN alert_event TEXT;
    ALTER TABLE deliveries ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX deliveries_held ON deliveries (event) WHERE held;
    CREATE TABLE digest_members (
        digest TEXT NOT NULL REFERENCES events (id),
        request INTEGER NOT NULL REFERENCES requests (key),
        PRIMARY KEY (digest, request)
    ) WITHOUT ROWID;
    CREATE INDEX digest_members_request ON digest_members (request);
    """,
    # Readiness asks for the dead every few seconds, among everything that was delivered in a month.
    "CREATE INDEX deliveries_dead ON deliveries (notifier) WHERE state = 'dead';",
    # Columns with names instead of bits, glued texts and paths into JSON; hashes of what other people name,
    # whose length no index bounds.
    """
    CREATE TABLE incidents (
        scope TEXT NOT NULL,
        name TEXT NOT NULL,
        since REAL NOT NULL,
        reason TEXT NOT NULL,
        announced_event TEXT,
        PRIMARY KEY (scope, name)
    ) WITHOUT ROWID;
    CREATE INDEX incidents_event ON incidents (announced_event);
    INSERT INTO incidents SELECT 'app', name, failing_since, failure, alert_event FROM apps
        WHERE failing_since IS NOT NULL;
    INSERT INTO incidents
        SELECT 'notifier', name, failing_since, json_object('message', failure), alert_event FROM notifiers
        WHERE failing_since IS NOT NULL;
    ALTER TABLE apps DROP COLUMN failing_since;
    ALTER TABLE apps DROP COLUMN failure;
    ALTER TABLE apps DROP COLUMN alert_event;
    ALTER TABLE notifiers DROP COLUMN failing_since;
    ALTER TABLE notifiers DROP COLUMN failure;
    ALTER TABLE notifiers DROP COLUMN alert_event;

    ALTER TABLE requests ADD COLUMN identity TEXT NOT NULL DEFAULT '';
    UPDATE requests SET identity = identity_hash(app, run_id, request_id, fingerprint);
    DROP INDEX requests_pending;
    DROP INDEX requests_run;
    CREATE UNIQUE INDEX requests_pending ON requests (identity) WHERE resolved_at IS NULL;
    CREATE INDEX requests_identity ON requests (identity, resolved_at) WHERE resolved_at IS NOT NULL;
    CREATE INDEX requests_app ON requests (app) WHERE resolved_at IS NULL;

    CREATE TABLE invisible_runs (
        app TEXT NOT NULL,
        run_hash TEXT NOT NULL,
        run_id TEXT NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (app, run_hash)
    ) WITHOUT ROWID;
    INSERT INTO invisible_runs SELECT app, identity_hash(run_id), run_id, since FROM hidden_runs;
    DROP TABLE hidden_runs;

    ALTER TABLE digest_members RENAME COLUMN digest TO digest_id;
    ALTER TABLE events ADD COLUMN digest_id TEXT;
    ALTER TABLE events ADD COLUMN age REAL;
    UPDATE events SET digest_id = json_extract(detail, '$.digest'), age = json_extract(detail, '$.age');
    UPDATE events SET detail = coalesce(json_extract(detail, '$.reminder'), json_extract(detail, '$.failure'),
        json_extract(detail, '$.notifier_failure'), '{}');
    CREATE INDEX events_digest ON events (digest_id) WHERE digest_id IS NOT NULL;

    ALTER TABLE deliveries RENAME COLUMN subject TO thread_key;
    ALTER TABLE deliveries ADD COLUMN attempt_open INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN possibly_delivered INTEGER NOT NULL DEFAULT 0;
    UPDATE deliveries SET thread_key = substr(thread_key, instr(thread_key, ':') + 1),
        attempt_open = (doubtful & 2) <> 0, possibly_delivered = doubtful & 1;
    ALTER TABLE deliveries DROP COLUMN doubtful;
    DROP INDEX deliveries_due;
    DROP INDEX deliveries_subject;
    DROP INDEX deliveries_held;
    CREATE INDEX deliveries_due ON deliveries (notifier, next_attempt_at, id) WHERE state = 'pending';
    CREATE INDEX deliveries_thread ON deliveries (thread_key, notifier);
    CREATE INDEX deliveries_held ON deliveries (held) WHERE held = 1;
    """,
    "ALTER TABLE requests ADD COLUMN masked TEXT NOT NULL DEFAULT '[]';",
    # Apps take turns at a notifier; a delivery is given up after it was really tried for long; what was given
    # up is revived; and a clock that was set between two runs is noticed.
    """
    ALTER TABLE deliveries ADD COLUMN app TEXT NOT NULL DEFAULT '';
    ALTER TABLE deliveries ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN tried_for REAL NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN last_attempt_at REAL;
    UPDATE deliveries SET app = (SELECT e.app FROM events e WHERE e.id = deliveries.event),
        priority = (SELECT CASE e.type WHEN 'run.input_requested' THEN 0 WHEN 'run.input_resolved' THEN 0
            WHEN 'run.input_reminder' THEN 1 ELSE 2 END FROM events e WHERE e.id = deliveries.event);
    CREATE INDEX deliveries_turn ON deliveries (notifier, priority, app, due_at, id) WHERE state = 'pending';
    ALTER TABLE notifiers ADD COLUMN revived_at REAL;
    ALTER TABLE notifiers ADD COLUMN revived INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE clock (
        id INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,
        booted_at REAL NOT NULL
    );
    """,
    # What a feedback request asks; and what a run asked before, which is found by a piece of its id because
    # no index bounds its length.
    """
    ALTER TABLE requests ADD COLUMN questions TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE requests ADD COLUMN is_browser_takeover TEXT NOT NULL DEFAULT 'null';
    CREATE INDEX requests_answered ON requests (fingerprint, substr(run_id, 1, 64))
        WHERE outcome = 'answered';
    """,
    # A message of months ago links to a request by its key, which no other request may get after pruning.
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
)
"""Step n brings a database from version n to n + 1. `identity_hash` is a function of the program."""
