-- +goose Up

-- What a subject, or a client that acts for itself, may do whatever its credential
-- says. Names are unique within one issuer only.
CREATE TABLE subject_roles (
  issuer      text    NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2000),
  is_client   boolean NOT NULL, -- the name is that of a client, and not of a subject
  name        text    NOT NULL CHECK (length(name) BETWEEN 1 AND 2000),
  roles       text[]  NOT NULL CHECK (cardinality(roles) <= 1000 AND array_position(roles, NULL) IS NULL),
  permissions text[]  NOT NULL CHECK (cardinality(permissions) <= 1000 AND array_position(permissions, NULL) IS NULL),
  author      text    NOT NULL CHECK (length(author) BETWEEN 1 AND 200), -- of this state
  reason      text    NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  PRIMARY KEY (issuer, is_client, name)
);

-- Every change, in the order of the database. Nodes read from here what they must ask
-- anew. Without a name a change is about all rows.
CREATE TABLE subject_role_changes (
  id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
  issuer      text,
  is_client   boolean,
  name        text,
  roles       text[],     -- NULL: the row was removed
  permissions text[],
  author      text        NOT NULL,
  db_role     text        NOT NULL,
  reason      text        NOT NULL,
  changed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subject_role_changes_xid ON subject_role_changes (xid);
CREATE INDEX subject_role_changes_name ON subject_role_changes (issuer, is_client, name, id);

-- Runs with the rights of the owner: who changes roles cannot change what is known of it.
-- +goose StatementBegin
CREATE FUNCTION subject_role_is_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changes text := format('INSERT INTO %I.subject_role_changes (issuer, is_client, name, roles, permissions, author, db_role, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', TG_TABLE_SCHEMA);
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    EXECUTE changes USING NULL::text, NULL::boolean, NULL::text, NULL::text[], NULL::text[], session_user::text, session_user::text, 'all rows were removed';
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (OLD.issuer, OLD.is_client, OLD.name) <> (NEW.issuer, NEW.is_client, NEW.name) THEN
    EXECUTE changes USING OLD.issuer, OLD.is_client, OLD.name, NULL::text[], NULL::text[], session_user::text, session_user::text, 'the row was removed';
  END IF;
  IF TG_OP <> 'DELETE' THEN
    EXECUTE changes USING NEW.issuer, NEW.is_client, NEW.name, NEW.roles, NEW.permissions, NEW.author, session_user::text, NEW.reason;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON subject_roles
  FOR EACH ROW EXECUTE FUNCTION subject_role_is_changed();
CREATE TRIGGER emptied AFTER TRUNCATE ON subject_roles
  FOR EACH STATEMENT EXECUTE FUNCTION subject_role_is_changed();
CREATE TRIGGER tell AFTER INSERT ON subject_role_changes
  FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes('subject_roles');

-- +goose Down
DROP TABLE subject_roles;
DROP TABLE subject_role_changes;
DROP FUNCTION subject_role_is_changed();
