-- The roles of a fleet: who owns the schema and changes it by gatehouse db migrate, who
-- pushes permission tables, who the nodes are. What the last two may do is in rights.sql.
-- The passwords are read here: in arguments, a list of processes would show them.
\set owner `cat /run/secrets/postgres_owner_password`
\set editor `cat /run/secrets/postgres_editor_password`
\set node `cat /run/secrets/postgres_node_password`
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['gatehouse_owner', 'gatehouse_editor', 'gatehouse_node']) AS name
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE gatehouse_owner PASSWORD :'owner';
ALTER ROLE gatehouse_editor PASSWORD :'editor';
ALTER ROLE gatehouse_node PASSWORD :'node';
-- None of them comes to the data of Kratos and Hydra, nor does anybody else who is no superuser.
ALTER DATABASE gatehouse OWNER TO gatehouse_owner;
REVOKE CONNECT ON DATABASE gatehouse, kratos, hydra FROM PUBLIC;
GRANT CONNECT ON DATABASE gatehouse TO gatehouse_editor, gatehouse_node;
