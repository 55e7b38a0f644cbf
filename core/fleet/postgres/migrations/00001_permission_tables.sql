-- +goose Up

-- Programs that need an older version of the schema and work with a newer one: a
-- migration that takes nothing away from them says so here. What is not in it is
-- refused by older programs.
CREATE TABLE schema_compatibility (
  version bigint PRIMARY KEY,
  oldest  bigint NOT NULL -- the oldest version that a program may need
);

-- One row is one version of one permission table, whole. Rows are never changed.
CREATE TABLE permission_table_versions (
  name        text        NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  version     bigint      NOT NULL CHECK (version > 0),
  format      integer     NOT NULL CHECK (format > 0), -- how a program has to read the row
  digest      bytea       NOT NULL CHECK (length(digest) = 32),
  file_names  text[]      NOT NULL,
  file_texts  bytea[]     NOT NULL,
  bytes       bigint      NOT NULL CHECK (bytes BETWEEN 0 AND 16777216), -- of all files
  base        bigint      NOT NULL CHECK (base >= 0 AND base < version), -- what the author had before; 0: nothing
  restores    bigint      CHECK (restores > 0 AND restores < version), -- of a rollback: the version whose content this is
  author      text        NOT NULL CHECK (length(author) BETWEEN 1 AND 200),
  db_role     text        NOT NULL DEFAULT session_user,
  reason      text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  program     text        NOT NULL CHECK (length(program) <= 200), -- the version of the program that wrote it
  pushed_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (name, version),
  CHECK (cardinality(file_names) BETWEEN 1 AND 1000 AND cardinality(file_names) = cardinality(file_texts))
);

-- +goose StatementBegin
CREATE FUNCTION permission_table_versions_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'versions of permission tables are never changed or removed; push another version'
    USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON permission_table_versions
  FOR EACH ROW EXECUTE FUNCTION permission_table_versions_are_kept();
CREATE TRIGGER kept_whole BEFORE TRUNCATE ON permission_table_versions
  FOR EACH STATEMENT EXECUTE FUNCTION permission_table_versions_are_kept();

-- The author may say who they are; the role, the time and the size are the database's. Versions
-- follow each other without a gap.
-- +goose StatementBegin
CREATE FUNCTION permission_table_version_is_next() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
BEGIN
  NEW.db_role := session_user;
  NEW.pushed_at := now();
  NEW.bytes := (SELECT coalesce(sum(octet_length(t)), 0) FROM unnest(NEW.file_texts) t);
  EXECUTE format('SELECT coalesce(max(version), 0) FROM %I.%I WHERE name = $1', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO newest USING NEW.name;
  IF NEW.version <> newest + 1 THEN
    RAISE EXCEPTION 'the newest version of % is %, so the next one is not %', NEW.name, newest, NEW.version
      USING ERRCODE = 'unique_violation';
  END IF;
  RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER next BEFORE INSERT ON permission_table_versions
  FOR EACH ROW EXECUTE FUNCTION permission_table_version_is_next();

-- Nodes listen on a channel named after the schema.
-- +goose StatementBegin
CREATE FUNCTION tell_nodes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_TABLE_SCHEMA || '.' || TG_ARGV[0], '');
  RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER tell AFTER INSERT ON permission_table_versions
  FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes('permission_tables');

-- +goose Down
DROP TABLE permission_table_versions;
DROP FUNCTION permission_table_versions_are_kept();
DROP FUNCTION permission_table_version_is_next();
DROP FUNCTION tell_nodes();
DROP TABLE schema_compatibility;
