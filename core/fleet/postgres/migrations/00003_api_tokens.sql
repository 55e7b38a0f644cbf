-- +goose Up

-- Service accounts own API tokens. Users, who own tokens too, are not in this schema.
CREATE TABLE service_accounts (
  name        text        PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9._-]{1,200}$'),
  format      integer     NOT NULL CHECK (format > 0), -- how a program has to read the row
  roles       text[]      NOT NULL DEFAULT '{}',
  permissions text[]      NOT NULL DEFAULT '{}',
  scopes      text[]      NOT NULL DEFAULT '{}',
  suspended   boolean     NOT NULL DEFAULT false,
  created_at  timestamptz NOT NULL DEFAULT now(),
  changed_by  text        NOT NULL CHECK (length(changed_by) BETWEEN 1 AND 200),
  changed_at  timestamptz NOT NULL DEFAULT now()
);

-- Of a token only its digest is kept (SHA-256).
CREATE TABLE api_tokens (
  id              text        PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9._-]{1,200}$'),
  format          integer     NOT NULL CHECK (format > 0), -- how a program has to read the row
  digest          bytea       NOT NULL UNIQUE CHECK (length(digest) = 32),
  name            text        NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  subject         text        CHECK (length(subject) BETWEEN 1 AND 2000),
  issuer          text        NOT NULL DEFAULT '' CHECK (length(issuer) <= 2000),
  service_account text        REFERENCES service_accounts (name),
  roles           text[]      NOT NULL DEFAULT '{}',
  permissions     text[]      NOT NULL DEFAULT '{}',
  scopes          text[]      NOT NULL DEFAULT '{}',
  networks        cidr[]      CHECK (cardinality(networks) BETWEEN 1 AND 100), -- NULL: any
  hosts           text[]      CHECK (cardinality(hosts) BETWEEN 1 AND 100),    -- NULL: any
  created_at      timestamptz NOT NULL DEFAULT now(),
  created_by      text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 200),
  expires_at      timestamptz CHECK (expires_at > created_at), -- NULL: never, which nodes accept only where they are told to
  revoked_at      timestamptz,
  CHECK ((subject IS NULL) <> (service_account IS NULL)),
  CHECK (service_account IS NULL OR issuer = '')
);

CREATE INDEX api_tokens_of_a_user ON api_tokens (subject, issuer);
CREATE INDEX api_tokens_of_an_account ON api_tokens (service_account);

-- When a token was used last, about. Nodes may write here and nowhere else.
CREATE TABLE api_token_uses (
  token_id text        PRIMARY KEY REFERENCES api_tokens (id) ON DELETE CASCADE,
  used_at  timestamptz NOT NULL
);

-- A further token is no news: nobody has it cached.
CREATE TRIGGER tell AFTER UPDATE OR DELETE OR TRUNCATE ON api_tokens
  FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes('api_tokens');
CREATE TRIGGER tell AFTER UPDATE OR DELETE OR TRUNCATE ON service_accounts
  FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes('api_tokens');

-- Programs of the versions before need nothing that changed.
INSERT INTO schema_compatibility (version, oldest) VALUES (3, 1);

-- +goose Down
DROP TABLE api_token_uses;
DROP TABLE api_tokens;
DROP TABLE service_accounts;
DELETE FROM schema_compatibility WHERE version = 3;
