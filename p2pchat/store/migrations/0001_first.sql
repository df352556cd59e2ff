-- Devices outlive their forgetting: the counters of the two streams and the ids in message_ids hang on them.
-- Key 0 is this device.
CREATE TABLE devices (
  key            INTEGER PRIMARY KEY,
  device_id      TEXT NOT NULL UNIQUE,
  next_seq       INTEGER NOT NULL DEFAULT 1,
  acked          INTEGER NOT NULL DEFAULT 0,
  settled_seq    INTEGER NOT NULL DEFAULT 0,
  applied        INTEGER NOT NULL DEFAULT 0,
  last_seq       INTEGER NOT NULL DEFAULT 0,
  clock          INTEGER NOT NULL DEFAULT 0,  -- the highest place that was ever given out with it
  last_incoming  BLOB,                        -- its message with the highest clock, and that clock
  incoming_hlc   INTEGER NOT NULL DEFAULT 0,
  incoming_place INTEGER                      -- the highest place of a message of it
) STRICT;

INSERT INTO devices (key, device_id) VALUES (0, '');

CREATE TABLE peers (
  device            INTEGER PRIMARY KEY REFERENCES devices (key),
  name              TEXT NOT NULL,
  alias             TEXT NOT NULL,
  trust             TEXT NOT NULL CHECK (trust IN ('request', 'unverified', 'verified', 'blocked')),
  last_seen_ms      INTEGER,
  last_linked_ms    INTEGER,
  stranger_messages INTEGER NOT NULL DEFAULT 0,
  stranger_bytes    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A higher key is a later proof.
CREATE TABLE addresses (
  key    INTEGER PRIMARY KEY,
  device INTEGER NOT NULL REFERENCES peers (device) ON DELETE CASCADE,
  host   TEXT NOT NULL,
  port   INTEGER NOT NULL,
  at_ms  INTEGER NOT NULL,
  UNIQUE (device, host, port)
) STRICT;

CREATE TABLE conversations (
  key    INTEGER PRIMARY KEY,
  kind   TEXT NOT NULL CHECK (kind IN ('direct')),
  device INTEGER UNIQUE REFERENCES devices (key)
) STRICT;

-- Narrow rows that change a few times; what never changes and is wide is in contents, so that a tick does not write
-- the texts of its neighbours again. A rowid table: rows are appended to full pages, and both the order of insertion
-- and the joins are by a small integer (a table clustered by the 16-byte id would have 13 rows a page at every level).
CREATE TABLE messages (
  key                INTEGER PRIMARY KEY,
  id                 BLOB NOT NULL CHECK (length(id) = 16),
  conversation       INTEGER NOT NULL REFERENCES conversations (key),
  author             INTEGER NOT NULL REFERENCES devices (key),
  place              INTEGER NOT NULL,
  seq                INTEGER NOT NULL,
  state              TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'delivered', 'read', 'failed', 'cancelled')),
  transmitted        INTEGER NOT NULL DEFAULT 0,
  cancelling         INTEGER NOT NULL DEFAULT 0,
  untold             INTEGER NOT NULL DEFAULT 0,  -- read by us, and the peer is to be told
  attempts           INTEGER NOT NULL DEFAULT 0,
  auto_returns       INTEGER NOT NULL DEFAULT 0,
  sent_at_ms         INTEGER NOT NULL,            -- the author's clock; for ours also the time of pending
  handed_at_ms       INTEGER,                     -- ours: became sent
  delivered_at_ms    INTEGER,                     -- ours: acknowledged; theirs: stored here
  read_at_ms         INTEGER,
  ended_at_ms        INTEGER,                     -- became failed or cancelled
  retried_at_ms      INTEGER,                     -- went back from failed to pending
  next_attempt_at_ms INTEGER,
  last_reason        TEXT,
  last_detail        TEXT
) STRICT;

CREATE INDEX messages_place ON messages (conversation, place);
-- To find ours by number without an entry for each: their places and numbers grow together, but for revived letters. So
-- every 64th marks where to look, and the revived ones are listed.
CREATE INDEX messages_milestones ON messages (conversation, seq)
  WHERE author = 0 AND retried_at_ms IS NULL AND seq % 64 = 0;
CREATE INDEX messages_revived ON messages (conversation, seq) WHERE retried_at_ms IS NOT NULL;
CREATE INDEX messages_waiting ON messages (conversation, seq) WHERE state IN ('pending', 'sent');
CREATE INDEX messages_unread ON messages (conversation, place) WHERE author > 0 AND state = 'delivered';
CREATE INDEX messages_untold ON messages (conversation, place) WHERE untold = 1;

CREATE TABLE contents (
  message INTEGER PRIMARY KEY REFERENCES messages (key) ON DELETE CASCADE,
  hlc     INTEGER NOT NULL,
  seen    BLOB,
  body    TEXT NOT NULL
) STRICT;

-- Every (id, author) that was ever stored: finds our messages by their id, and refuses what was applied before. Rows of
-- other authors stay for ever; message is NULL once their history was forgotten.
CREATE TABLE message_ids (
  id      BLOB NOT NULL,
  author  INTEGER NOT NULL,
  message INTEGER,
  PRIMARY KEY (id, author)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
  message     INTEGER PRIMARY KEY REFERENCES messages (key) ON DELETE CASCADE,
  reason      TEXT NOT NULL,
  detail      TEXT NOT NULL,
  attempts    INTEGER NOT NULL,
  peer_has_it TEXT NOT NULL CHECK (peer_has_it IN ('no', 'unknown')),
  moved_at_ms INTEGER NOT NULL
) STRICT;

-- Ids are never reused without AUTOINCREMENT: pruning always leaves the newest row. An event does not repeat what its
-- message says (id, text, times); detail has what is left, as a JSON array laid out by the table in notices.py.
CREATE TABLE events (
  event_id INTEGER PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  kind     INTEGER NOT NULL,
  device   INTEGER,
  message  INTEGER,
  stranger TEXT,                                  -- the id of a device that is not in devices
  detail   TEXT
) STRICT;

-- Holds a block for a moment when the store tries whether the disk takes writes.
CREATE TABLE probe (
  key   INTEGER PRIMARY KEY CHECK (key = 1),
  block BLOB NOT NULL
) STRICT;
