package signinimport

import (
	"slices"
	"strings"
)

// plurals are the settings of oauth2-proxy whose flags are called by the singular.
var plurals = []string{
	"allowed_groups", "allowed_roles", "api_routes", "cookie_domains", "email_domains", "entra_id_allowed_tenants", "exclude_logging_paths", "github_users", "gitlab_groups", "gitlab_projects",
	"google_groups", "htpasswd_user_groups", "keycloak_groups", "oidc_audience_claims", "oidc_enabled_signing_algs", "oidc_extra_audiences", "oidc_public_key_files", "provider_ca_files",
	"skip_auth_routes", "tls_cipher_suites", "trusted_ips", "trusted_proxy_ips", "upstreams", "whitelist_domains",
}

// lists are further settings that are lists.
var lists = []string{"skip_auth_regex", "extra_jwt_issuers", "redis_sentinel_connection_urls", "redis_cluster_connection_urls"}

// OAuth2ProxyFlag is the flag of a setting of oauth2-proxy's configuration file.
func OAuth2ProxyFlag(setting string) string {
	if slices.Contains(plurals, setting) {
		setting = strings.TrimSuffix(setting, "s")
	}
	return "--" + strings.ReplaceAll(setting, "_", "-")
}

// settingOf is the setting of a flag, without its dashes, or of an environment variable
// without its prefix.
func settingOf(name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	if slices.Contains(plurals, name+"s") {
		return name + "s"
	}
	return name
}

func isList(setting string) bool {
	return slices.Contains(plurals, setting) || slices.Contains(lists, setting)
}

func oauth2ProxyDefaults() map[string]any {
	return map[string]any{
		"cookie_name": "_oauth2_proxy", "cookie_path": "/", "cookie_httponly": true, "cookie_csrf_expire": "15m0s", "cookie_csrf_per_request": false, "cookie_csrf_per_request_limit": 0,
		"display_htpasswd_form": true, "show_debug_on_error": false, "pass_host_header": true, "proxy_websockets": true, "ssl_upstream_insecure_skip_verify": false, "disable_keep_alives": false,
		"flush_interval": "1s", "upstream_timeout": "30s", "pass_basic_auth": true, "pass_access_token": false, "pass_authorization_header": false, "set_basic_auth": false,
		"set_authorization_header": false, "skip_auth_strip_headers": true, "http_address": "127.0.0.1:4180", "https_address": ":443", "azure_tenant": "common", "entra_id_federated_token_auth": false,
		"use_system_trust_store": false, "insecure_oidc_skip_issuer_verification": false, "insecure_oidc_skip_nonce": true, "skip_oidc_discovery": false, "oidc_audience_claims": []string{"aud"},
		"approval_prompt": "force", "user_id_claim": "email", "auth_logging": true, "standard_logging": true, "request_logging": true, "errors_to_info_log": false, "logging_local_time": true,
		"silence_ping_logging": false, "request_id_header": "X-Request-Id", "logging_max_size": 100, "logging_max_age": 7, "logging_max_backups": 0, "logging_compress": false, "reverse_proxy": false,
		"real_client_ip_header": "X-Real-IP", "force_https": false, "relative_redirect_url": false, "skip_provider_button": false, "bearer_token_login_fallback": true, "force_json_errors": false,
		"encode_state": false, "allow_query_semicolons": false, "ping_path": "/ping", "ready_path": "/ready", "session_store_type": "cookie", "session_cookie_minimal": false,
		"redis_connection_idle_timeout": 0, "gcp_healthchecks": false, "google_use_application_default_credentials": false, "google_use_organization_id": false,
	}
}

// OAuth2ProxySettings are those of oauth2-proxy 7.15, by their names in its file.
var OAuth2ProxySettings = []Setting{
	{"provider, oidc_issuer_url", "`login.oidc.providers[].discovery` and `issuer`. GitHub, Bitbucket, Facebook, DigitalOcean, Nextcloud, SourceHut, login.gov, LinkedIn and the old Keycloak provider: none; they are not OpenID Connect, or are registered in another way"},
	{"azure_tenant, entra_id_allowed_tenants", "`discovery` of one tenant; a condition `raw.tid in [\"…\"]`"},
	{"azure_graph_group_field, entra_id_federated_token_auth", "none; use app roles, and `private_key_jwt` or a secret"},
	{"client_id, client_secret, client_secret_file", "`client_id`, `client_secret`: `$env://NAME`, `$file:///path`"},
	{"redirect_url", "`redirect_uri`, required"},
	{"relative_redirect_url", "none: `redirect_uri` is one address"},
	{"proxy_prefix", "`start_path`, `logout_path`: `/oauth2/start` and `/oauth2/sign_out` are kept, with `return_to` instead of `rd`. `/oauth2/auth` is an endpoint of the [forward-auth service](forward-auth.md); `/oauth2/userinfo`: none"},
	{"scope", "`scope`"},
	{"prompt, acr_values", "`authorization_params`; see [step-up](sign-in.md#step-up)"},
	{"approval_prompt", "none: it is Google's older form of `prompt`"},
	{"resource", "`resource`"},
	{"auth_request_response_mode", "`response_mode`: `query` or `form_post`"},
	{"code_challenge_method, force_code_challenge_method", "none: always S256"},
	{"login_url, redeem_url, profile_url, validate_url, oidc_jwks_url, oidc_public_key_files, skip_oidc_discovery", "none: endpoints and keys are those of the discovery document"},
	{"skip_claims_from_profile_url", "`userinfo: false`"},
	{"backend_logout_url", "none: the logout goes on at the provider's `end_session_endpoint`"},
	{"jwt_key, jwt_key_file, pubjwk_url", "`client_private_key` with `token_endpoint_auth_method: private_key_jwt`"},
	{"provider_display_name", "`name` of the provider"},
	{"provider_ca_files, use_system_trust_store", "`login.oidc.http.ca_file`, one file"},
	{"ssl_insecure_skip_verify", "`login.oidc.http.ssl_verify: false`, in development only"},
	{"insecure_oidc_skip_issuer_verification, insecure_oidc_skip_nonce", "none: always verified"},
	{"insecure_oidc_allow_unverified_email", "a condition on `email_verified` of your own"},
	{"oidc_enabled_signing_algs", "`algorithms`"},
	{"oidc_audience_claims, oidc_extra_audiences", "the audience of an ID token is `client_id`; `jwt.issuers[].audience` of access tokens"},
	{"oidc_email_claim, user_id_claim", "`upstream_headers`, and the claim of the conditions below"},
	{"oidc_groups_claim", "`login.oidc.session.roles_claim`"},
	{"email_domains", "a condition: `raw.email.endsWith(\"@example.com\")`; with `*` any address"},
	{"authenticated_emails_file", "a condition: `raw.email in [\"…\"]`; or roles by [`subject_roles`](operations.md#roles-of-subjects-in-the-database)"},
	{"allowed_groups, keycloak_groups, gitlab_groups", "a condition on the claim of groups; or roles of the permission table"},
	{"allowed_roles", "a condition on `realm_access.roles`, which Keycloak has to add to the ID token; or `roles_claim` and roles"},
	{"google_group, google_groups, google_admin_email, google_service_account_json, google_use_application_default_credentials, google_target_principal, google_use_organization_id, google_admin_api_user_scope", "none: Google's directory is not asked. Decide by `raw.hd`, or grant roles by `subject_roles`"},
	{"gitlab_projects", "none; use groups"},
	{"github_org, github_team, github_repo, github_token, github_users, bitbucket_team, bitbucket_workspace, bitbucket_repository", "none: the provider is not OpenID Connect"},
	{"htpasswd_file, htpasswd_user_groups, display_htpasswd_form", "none: passwords belong to a provider"},
	{"whitelist_domains", "`return_origins`, with scheme and port"},
	{"skip_auth_routes, skip_auth_regex", "`public` activities with `override`, of whole paths; `!=` has no counterpart"},
	{"skip_auth_preflight", "a public activity `OPTIONS /.*`; or `cors` of the gate"},
	{"trusted_ips", "`public` activities, with a condition on `peer` where they have to be of some network"},
	{"api_routes, force_json_errors", "none needed: only a browser that opens a page is led to the sign-in"},
	{"skip_jwt_bearer_tokens, extra_jwt_issuers, bearer_token_login_fallback", "`jwt.issuers`, for access tokens; a bad token is always refused"},
	{"cookie_secret, cookie_secret_file", "`login.oidc.session.secret`, a new one of at least 32 bytes"},
	{"cookie_name, cookie_domains, cookie_samesite, cookie_secure", "`login.oidc.session.cookie`: `name`, `domain`, `same_site`, `secure`"},
	{"cookie_path, cookie_httponly", "none: always for the whole host, never for scripts"},
	{"cookie_expire", "`login.oidc.session.absolute_timeout` with `remember: true`"},
	{"cookie_refresh", "`renew_access_token_on_expiry`: tokens are renewed when they are about to end"},
	{"cookie_csrf_per_request, cookie_csrf_per_request_limit, cookie_csrf_expire, cookie_csrf_samesite", "none needed: a cookie for each attempt, five at most; `authorization_rolling_timeout`"},
	{"session_store_type", "`login.oidc.session.storage`"},
	{"session_cookie_minimal", "`keep_access_token` is off; `keep_id_token: false`, `renew_access_token_on_expiry: false`"},
	{"redis_connection_url, redis_username, redis_password, redis_ca_path, redis_insecure_skip_tls_verify", "`redis`: `host`, `port`, `username`, `password`, `ssl`, `ca_file`, `ssl_verify`"},
	{"redis_use_sentinel, redis_sentinel_connection_urls, redis_sentinel_master_name, redis_sentinel_password, redis_use_cluster, redis_cluster_connection_urls", "`redis`: `sentinel_nodes`, `sentinel_master`, `sentinel_password`; `cluster_nodes`"},
	{"redis_connection_idle_timeout", "none"},
	{"pass_user_headers, set_xauthrequest, prefer_email_to_user, injectRequestHeaders", "`upstream_headers`, and `strip_headers` for the names that are not set"},
	{"skip_auth_strip_headers", "always: identity headers of clients are removed, on public calls, too"},
	{"pass_basic_auth, basic_auth_password, set_basic_auth", "none; `upstream_headers`"},
	{"pass_access_token, pass_authorization_header, set_authorization_header, injectResponseHeaders", "`upstream_token`: a token of the gate's own"},
	{"signature_key", "none: `upstream_token` is signed"},
	{"upstreams, upstream_timeout, flush_interval, pass_host_header, proxy_websockets, ssl_upstream_insecure_skip_verify, disable_keep_alives, upstreamConfig.*", "the gateway's services and routes"},
	{"http_address, https_address, tls_cert_file, tls_key_file, tls_min_version, tls_cipher_suites, force_https, server.*", "the gateway's; `listen` of the forward-auth service"},
	{"metrics_address, metrics_secure_address, metrics_tls_cert_file, metrics_tls_key_file, metricsServer.*", "the [admin listener](operations.md#health-readiness-metrics)"},
	{"ping_path, ping_user_agent, ready_path, gcp_healthchecks", "`/healthz` and `/readyz` of the admin listener"},
	{"reverse_proxy, trusted_proxy_ips, real_client_ip_header", "the gateway's; `trusted_proxies` and `real_ip_from` of the forward-auth service"},
	{"auth_logging, auth_logging_format, standard_logging, standard_logging_format, request_logging, request_logging_format, errors_to_info_log, exclude_logging_paths, silence_ping_logging, logging_filename, logging_local_time, logging_max_size, logging_max_age, logging_max_backups, logging_compress", "the [log](operations.md#log), to standard error; requests are in the gateway's access log"},
	{"request_id_header", "the gateway's request id"},
	{"skip_provider_button", "always, with one provider"},
	{"custom_templates_dir, custom_sign_in_logo, banner, footer, show_debug_on_error", "`error_pages.template_file`; causes are in the log alone"},
	{"encode_state", "none: the state says nothing"},
	{"allow_query_semicolons", "none: the query takes no part in a decision"},
	{"config, alpha_config, config_test, convert_config_to_alpha, version", "`gatehouse check`"},
}
