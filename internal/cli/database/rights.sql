-- The role of the nodes reads.
GRANT USAGE ON SCHEMA :schema TO :node;
GRANT SELECT ON :schema.schema_versions, :schema.schema_compatibility, :schema.permission_table_versions TO :node;
-- The role of those who push permission tables writes further versions.
GRANT USAGE ON SCHEMA :schema TO :editor;
GRANT SELECT ON :schema.schema_versions, :schema.schema_compatibility TO :editor;
GRANT SELECT, INSERT ON :schema.permission_table_versions TO :editor;
