-- +goose Up

-- What was revoked. Rows are never changed, and are removed once their time is over.
-- Numbers follow the order of the commits, so that who has read up to one has missed
-- nothing.
CREATE SEQUENCE revocation_numbers;

CREATE TABLE revocations (
  number     bigint      PRIMARY KEY,
  id         text        NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 128),
  format     integer     NOT NULL CHECK (format > 0), -- how a program has to read the row
  kind       text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
  value      text        NOT NULL CHECK (length(value) <= 2048),
  issuer     text        NOT NULL CHECK (length(issuer) <= 2048),
  verify     boolean     NOT NULL,
  at         timestamptz NOT NULL,
  until      timestamptz NOT NULL,
  source     text        NOT NULL CHECK (length(source) <= 256),
  reason     text        NOT NULL CHECK (length(reason) <= 256),
  db_role    text        NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON revocations (until);

-- +goose StatementBegin
CREATE FUNCTION revocation_is_next() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- One writer after the other, until each has committed.
  PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
  EXECUTE format('SELECT nextval(%L)', format('%I.revocation_numbers', TG_TABLE_SCHEMA)) INTO NEW.number;
  NEW.db_role := session_user;
  NEW.written_at := clock_timestamp();
  RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER next BEFORE INSERT ON revocations
  FOR EACH ROW EXECUTE FUNCTION revocation_is_next();

-- The newest row stays, whatever its time: it tells a reader where the table is.
-- +goose StatementBegin
CREATE FUNCTION revocations_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
BEGIN
  IF TG_OP = 'DELETE' THEN
    EXECUTE format('SELECT max(number) FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO newest;
    IF OLD.until < now() AND OLD.number < newest THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'revocations are never changed, and are removed once their time is over'
    USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON revocations
  FOR EACH ROW EXECUTE FUNCTION revocations_are_kept();
CREATE TRIGGER kept_whole BEFORE TRUNCATE ON revocations
  FOR EACH STATEMENT EXECUTE FUNCTION revocations_are_kept();

CREATE TRIGGER tell AFTER INSERT ON revocations
  FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes('revocations');

INSERT INTO schema_compatibility VALUES (2, 1);

-- +goose Down
DELETE FROM schema_compatibility WHERE version = 2;
DROP TABLE revocations;
DROP FUNCTION revocation_is_next();
DROP FUNCTION revocations_are_kept();
DROP SEQUENCE revocation_numbers;
