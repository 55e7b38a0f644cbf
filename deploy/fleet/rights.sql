-- The role of the nodes reads tables, tokens and roles.
GRANT USAGE ON SCHEMA "gatehouse" TO "gatehouse_node";
GRANT SELECT ON "gatehouse".schema_versions, "gatehouse".schema_compatibility, "gatehouse".permission_table_versions TO "gatehouse_node";
-- It reads revocations, writes those of its webhooks and what the database has lost, and
-- removes what is over.
GRANT SELECT, INSERT, DELETE ON "gatehouse".revocations TO "gatehouse_node";
GRANT USAGE ON SEQUENCE "gatehouse".revocation_numbers TO "gatehouse_node";
-- It looks up API tokens, and what their owners have.
GRANT SELECT ON "gatehouse".api_tokens, "gatehouse".service_accounts TO "gatehouse_node";
-- It also notes when API tokens were used last.
GRANT SELECT, INSERT, UPDATE ON "gatehouse".api_token_uses TO "gatehouse_node";
-- It reads the roles of subjects, and what changed of them.
GRANT SELECT ON "gatehouse".subject_roles, "gatehouse".subject_role_changes TO "gatehouse_node";
-- The role of those who push permission tables writes further versions.
GRANT USAGE ON SCHEMA "gatehouse" TO "gatehouse_editor";
GRANT SELECT ON "gatehouse".schema_versions, "gatehouse".schema_compatibility TO "gatehouse_editor";
GRANT SELECT, INSERT ON "gatehouse".permission_table_versions TO "gatehouse_editor";
-- It revokes, too.
GRANT SELECT, INSERT ON "gatehouse".revocations TO "gatehouse_editor";
GRANT USAGE ON SEQUENCE "gatehouse".revocation_numbers TO "gatehouse_editor";
-- It makes and revokes API tokens, too.
GRANT SELECT, INSERT, UPDATE ON "gatehouse".api_tokens, "gatehouse".service_accounts TO "gatehouse_editor";
GRANT SELECT ON "gatehouse".api_token_uses TO "gatehouse_editor";
-- It changes the roles of subjects. What changed stays: it is written by the owner.
GRANT SELECT, INSERT, UPDATE, DELETE ON "gatehouse".subject_roles TO "gatehouse_editor";
GRANT SELECT ON "gatehouse".subject_role_changes TO "gatehouse_editor";
