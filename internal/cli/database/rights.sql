-- The role of the nodes reads tables, tokens and roles.
GRANT USAGE ON SCHEMA :schema TO :node;
GRANT SELECT ON :schema.schema_versions, :schema.schema_compatibility, :schema.permission_table_versions TO :node;
-- It reads revocations, writes those of its webhooks and what the database has lost, and
-- removes what is over.
GRANT SELECT, INSERT, DELETE ON :schema.revocations TO :node;
GRANT USAGE ON SEQUENCE :schema.revocation_numbers TO :node;
-- It looks up API tokens, and what their owners have.
GRANT SELECT ON :schema.api_tokens, :schema.service_accounts TO :node;
-- It also notes when API tokens were used last.
GRANT SELECT, INSERT, UPDATE ON :schema.api_token_uses TO :node;
-- It reads the roles of subjects, and what changed of them.
GRANT SELECT ON :schema.subject_roles, :schema.subject_role_changes TO :node;
-- The role of those who push permission tables writes further versions.
GRANT USAGE ON SCHEMA :schema TO :editor;
GRANT SELECT ON :schema.schema_versions, :schema.schema_compatibility TO :editor;
GRANT SELECT, INSERT ON :schema.permission_table_versions TO :editor;
-- It revokes, too.
GRANT SELECT, INSERT ON :schema.revocations TO :editor;
GRANT USAGE ON SEQUENCE :schema.revocation_numbers TO :editor;
-- It makes and revokes API tokens, too.
GRANT SELECT, INSERT, UPDATE ON :schema.api_tokens, :schema.service_accounts TO :editor;
GRANT SELECT ON :schema.api_token_uses TO :editor;
-- It changes the roles of subjects. What changed stays: it is written by the owner.
GRANT SELECT, INSERT, UPDATE, DELETE ON :schema.subject_roles TO :editor;
GRANT SELECT ON :schema.subject_role_changes TO :editor;
