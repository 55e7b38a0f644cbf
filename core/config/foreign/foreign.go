// Package foreign knows the names of settings that people type from habit: those of
// the gateways' own plugins (APISIX's openid-connect, jwt-auth, authz-keycloak,
// forward-auth and key-auth; Kong's openid-connect, jwt, oauth2-introspection, key-auth
// and acl), and of oauth2-proxy, Oathkeeper, nginx, Envoy, Istio and Traefik.
package foreign

import "gatehouse/core/setting"

// Names lead to the settings of a gate. A name that a setting of ours has, too, is here
// only if it means something else.
var Names = []setting.Foreign{
	// The issuer and its keys.
	{Names: "discovery, oidc_discovery_url, well_known, well_known_url, openid_configuration, oidc_issuer_url, issuer_url, valid_issuers, trusted_issuers, issuers_allowed, extra_jwt_issuers, authorization_server, iss",
		Paths: "jwt.issuers[].issuer", Note: "It is the value of iss; the discovery document is found from it."},
	{Names: "providers, provider, jwt_rules, jwt_provider", Paths: "jwt.issuers", Note: "Each issuer is an item of this list."},
	{Names: "use_jwks, skip_oidc_discovery, jwks, jwks_url, jwks_urls, jwks_endpoint, oidc_jwks_url, remote_jwks, http_uri, extra_jwks_uris, auth_jwt_key_request, jwk_uri, certs_url",
		Paths: "jwt.issuers[].jwks_uri", Note: "Keys are always taken from a key set; leave it out for the one that the issuer names."},
	{Names: "local_jwks, auth_jwt_key_file, jwks_string, inline_jwks", Paths: "jwt.issuers[].jwks_file", Note: "It is the path of a file."},
	{Names: "public_key, public_keys, pem, key_file, secret, signing_secret, base64_secret, secret_is_base64, enable_hs_signatures, jwt_key, jwt_key_file, rsa_public_key",
		Paths: "jwt.issuers[].jwks_file", Note: "A key is given as a key set (RFC 7517); symmetric keys are not supported."},
	{Names: "token_signing_alg_values_expected, algorithm, allowed_algorithms, signing_alg, signing_algorithms, jwt_algorithms, alg",
		Paths: "jwt.issuers[].algorithms", Note: "It is a list."},
	{Names: "accept_none_alg, accept_unsupported_alg, ignore_signature, verify_signature, insecure_oidc_skip_issuer_verification, verify_claims, verify_parameters",
		Note: "Signature, issuer and times are always verified."},
	{Names: "audiences, audience_required, oidc_audience_claim, oidc_extra_audiences, target_audience, allowed_audiences, aud, client_ids", Paths: "jwt.issuers[].audience, introspection.audience",
		Note: "A token must name at least one of them."},
	{Names: "oidc_audience_claims, audience_claims, aud_claim", Paths: "jwt.issuers[].audience_claim, introspection.audience_claim"},
	{Names: "match_with_client_id", Paths: "jwt.issuers[].audience_claim, introspection.audience_claim", Note: "Write client_id there, and the client into audience."},
	{Names: "claim_validator, claim_schema, auth_jwt_require, claims_to_verify, claims, custom_claims, claims_forbidden, claim_schemas, subjects", Paths: "jwt.issuers[].audience",
		Note: "Issuer, audience and times are always verified; a condition about another claim is require.when in the permission table."},
	{Names: "iat_slack, clock_skew, clock_skew_seconds, auth_jwt_leeway, lifetime_grace_period, access_token_expires_leeway, jwt_leeway, grace_period",
		Paths: "jwt.leeway, introspection.leeway", Note: "It is in seconds and never extends exp."},
	{Names: "maximum_expiration, max_lifetime, exp", Note: "exp of the token counts; the age of the sign-in is bounded by require.max_age in the permission table."},
	{Names: "jwk_expires_in, rediscovery_lifetime, jwks_ttl, cache_duration, auth_jwt_key_cache, jwks_refresh_interval", Paths: "jwt.jwks_cache_ttl", Note: "It is in seconds."},
	{Names: "jwks_max_wait", Paths: "jwt.http.timeout"},
	{Names: "token_type, auth_jwt_type, allowed_token_types, typ", Paths: "jwt.issuers[].token_types"},

	// Introspection.
	{Names: "introspection_url, introspect_url, introspection_uri, introspection_endpoint_url, hydra, hydra_url", Paths: "introspection.introspection_endpoint"},
	{Names: "token_endpoint_auth_method, client_auth, introspection_auth_method, auth_method, auth_style", Paths: "introspection.introspection_endpoint_auth_method"},
	{Names: "client_rsa_private_key, client_rsa_private_key_id, client_jwk, client_jwt_assertion_alg", Note: "For private_key_jwt set client_private_key, client_private_key_id and client_alg in introspection, upstream_token.exchange or login.oidc.providers."},
	{Names: "introspection_signed_response_alg", Paths: "introspection.introspection_accept", Note: "Write application/token-introspection+jwt for responses that the server signs; it needs issuer."},
	{Names: "client_secret_file", Paths: "introspection.client_secret", Note: "Write $file:// and the path."},
	{Names: "authorization_value, introspection_authorization, introspection_request_headers, introspection_addon_headers, introspection_headers_names, custom_introspection_headers, pre_authorization",
		Paths: "introspection.client_secret", Note: "With introspection_endpoint_auth_method bearer or header it is sent as the key."},
	{Names: "introspect_jwt_tokens, introspect_jwt", Paths: "introspection.jwt_tokens", Note: "Write always, unknown_issuer or never."},
	{Names: "introspection_interval, introspection_ttl, introspection_cache_ttl, cache_introspection, cache_ttl_max, cache_ttl_min, cache_ttl_seconds, ttl, jwt_verification_cache_ignore, jwt_cache_config, cache_tokens, cache_size",
		Paths: "introspection.cache_ttl, jwt.cache_ttl, session.cache_ttl", Note: "It is in seconds; 0 caches nothing."},
	{Names: "cache_ttl_neg, negative_ttl", Paths: "introspection.negative_cache_ttl, jwt.negative_cache_ttl, session.negative_cache_ttl", Note: "It is in seconds."},
	{Names: "introspection_expiry_claim, require_expiration, introspection_check_active, access_token_expires_in", Paths: "introspection.insecure_no_expiry", Note: "active and exp are always checked; only this setting accepts an answer without exp."},
	{Names: "token_type_hint, introspection_hint, introspection_token_param_name", Note: "The request is that of RFC 7662 with token_type_hint=access_token."},
	{Names: "userinfo_endpoint, search_user_info, cache_user_info, set_userinfo_header, profile_url, validate_url", Note: "The userinfo endpoint is not called; claims come from the token, its introspection or the session."},

	// Limits.
	{Names: "limit_count, rate_limits, limit_req, rate_limiting, rate_limit, ratelimit, max_failures, failures, login_attempts, max_attempts, brute_force", Paths: "failed_attempts", Note: "It limits failed attempts alone; a limit on all requests is the gateway's own plugin."},
	{Names: "limit, burst, minute", Paths: "failed_attempts.count"},
	{Names: "window_size, window, per, period, interval, rate_limit_window", Paths: "failed_attempts.time_window", Note: "It is in seconds."},
	{Names: "rejected_code, error_code, rejected_msg, error_message, limit_by, key_type, sync_rate, hide_client_headers", Note: "Failed attempts are counted for each client address and each credential in this process, and are refused with 429."},
	{Names: "trusted_ips, trusted_addresses, real_ip_header, set_real_ip_from", Note: "Who the client is, the gateway says: trusted_ips in kong.conf, the plugin real-ip of APISIX, real_ip_from at an endpoint of the forward-auth service."},

	// Sessions.
	{Names: "kratos, kratos_public_url, check_session_url, whoami_url, session_url, sessions_endpoint, sdk_url, ory_sdk_url", Paths: "session.kratos_url", Note: "It is the URL of the public API, without /sessions/whoami."},
	{Names: "session_cookie_name, session_cookie", Paths: "session.cookie_name", Note: "That is the cookie of Kratos; of a sign-in at the gate it is login.oidc.session.cookie.name."},
	{Names: "cookie, cookies, cookie_names, from_cookies, bearer_token_cookie_name, jwt_session_cookie, auth_cookie, only", Paths: "token_cookie, session.cookie_name",
		Note: "token_cookie holds a token, session.cookie_name a Kratos session."},
	{Names: "session_secret, cookie_secret, secret_key, session_storage, session_store_type, session_contents, cookie_domain, cookie_domains, cookie_lifetime, cookie_secure, cookie_same_site, cookie_expire, cookie_refresh, cookie_path, absolute_timeout, rolling_timeout, idling_timeout",
		Note: "Sessions of a sign-in at the gate are set in login.oidc.session: secret, storage, cookie, idling_timeout, absolute_timeout. Those of Ory Kratos are set in Kratos."},
	{Names: "subject_from, extra_from, subject_claim, key_claim_name, username_claim, user_id_claim, user_claim, credential_claim, oidc_email_claim",
		Paths: "upstream_headers", Note: "It names the claim that each header contains, such as X-User-Id: sub."},
	{Names: "authenticated_group_by, certificate_header_name, certificate_header_format, secure_source, cert_cache_ttl, http_timeout, send_ca_dn, ssl_verify_depth, ssl_client_certificate, ssl_crl, ssl_ocsp, ssl_ocsp_responder, client_ca, crl_file",
		Note: "Client certificates are credentials by the section mtls, with ca_certificates, subjects and their roles, crl_files and ocsp; client_certificate_header tells one that a load balancer passes on."},
	{Names: "consumer, consumer_claim, consumer_claims, consumer_by, consumer_optional", Paths: "consumers", Note: "Each issuer whose users are consumers is an item of this list."},

	{Names: "url, base_url, endpoint, host, server", Paths: "session.kratos_url, introspection.introspection_endpoint, jwt.issuers[].jwks_uri, login.url"},

	// Where a credential is.
	{Names: "header, header_names, key_names, from_headers, token_from, auth_headers, token_header, source, credentials_header", Paths: "token_headers", Note: "Authorization is always read."},
	{Names: "query, uri_param_names, from_params, bearer_token_param_type, key_in_query, query_parameter", Paths: "token_query_parameter", Note: "It holds for WebSocket upgrades alone, because a token in a query is in every log; elsewhere token_headers or token_cookie may hold it."},
	{Names: "key_in_header, key_in_body, key_auth, api_key, apikey, api_keys, key", Paths: "introspection.introspection_endpoint", Note: "API keys of a gateway are not read; a key that an authorization server knows can be introspected."},
	{Names: "strip_authorization, key_auth_hide, forward, forward_authorization, forward_original_token, hide_credential, pass_access_token, pass_authorization_header, set_authorization_header, access_token_in_authorization_header, set_access_token_header, store_in_ctx, strip_token",
		Paths: "hide_credentials", Note: "The credential goes to the upstream as the client sent it unless this is true."},

	// Browsers.
	{Names: "bearer_only, skip_jwt_bearer_tokens, redirect_on_unauthorized, set_www_authenticate", Note: "Without login nobody is redirected: leave out login. Bearer tokens are accepted by jwt and introspection."},
	{Names: "unauth_action, on_unauthenticated, access_denied_redirect_uri, unauthorized_redirect_uri, login_url, login_uri, sign_in_url, login_redirect_uri, auth_url, redirect_url, redirect_uri, login_page",
		Paths: "login.url", Note: "With it browsers are redirected, without it they get 401; a sign-in at the gate itself is login.oidc, which has redirect_uri and unauth_action. Calls that pass without a credential are listed under optional or public in the permission table."},
	{Names: "return_to, redirect_param, rd", Paths: "login.return_to_parameter"},
	{Names: "scope, authorization_params, use_pkce, use_nonce, token_endpoint, authorization_endpoint, prompt, force_reauthorize, response_type, auth_methods, grant_type, verify_nonce, login_action, login_methods, resource_registration_endpoint, acr_values, refresh_tokens, renew_access_token_on_expiry, renew_access_token, approval_prompt, code_challenge_method",
		Note: "A sign-in at the gate is set in login.oidc, with scope, authorization_params and further settings of each of its providers; gatehouse import makes it of what another program has. Scopes that a call needs are scopes_required."},
	{Names: "whitelist_domains, whitelist_domain, allowed_redirect_domains, redirect_allowlist", Note: "Origins to which people may return after a sign-in at the gate are login.oidc.return_origins."},
	{Names: "logout_path, logout_url, post_logout_redirect_uri, redirect_after_logout_uri, revoke_tokens_on_logout, logout_redirect_uri, logout_query_arg, backend_logout_url", Note: "Sessions of a sign-in at the gate end by login.oidc: logout_path, post_logout_redirect_uri, back_channel_logout_path. Those of Kratos end by its logout flow."},

	// What a caller may do.
	{Names: "required_scopes, required_scope, scope_required, mandatory_scope, allowed_scopes, scopes_needed, scope_strategy",
		Paths: "scopes_required", Note: "It holds for every call that is not public; scopes for some calls stand in the permission table."},
	{Names: "required_roles, roles_required, groups_required, allowed_roles, allowed_groups, allow, deny, whitelist, blacklist, policies, policy, authorizer, rules, access_rules, requires, policy_enforcement_mode, lazy_load_paths, http_method_as_scope, authorization, acl, rbac, allowed_emails, email_domains, authenticated_emails_file, match, routes, paths, table",
		Paths: "permission_table, permission_table_files", Note: "The permission table says who may call what, by roles, scopes and conditions over claims."},
	{Names: "permissions, roles, public, optional, authenticated, scopes, implicit_scopes, activities",
		Paths: "permission_table, permission_table_files", Note: "It is a key of the permission table, which is a text or a file of its own."},
	{Names: "aal, min_aal, acr, acr_value, required_acr, mfa, mfa_required, two_factor, step_up", Paths: "session.required_aal", Note: "It holds for every session; calls that need more have require: {aal: aal2} in the permission table."},
	{Names: "require, when, condition, any_scope, all_scopes, methods, hosts, override, path_variants, invalid_credential, activity",
		Paths: "permission_table, permission_table_files", Note: "It belongs to the permission table, which is a text or a file of its own."},
	{Names: "anonymous, anonymous_consumer, allow_missing, allow_missing_or_failed, skip_auth_routes, skip_auth_regex, api_routes, public_paths, exclude, excluded_paths, skip_paths, bypass, ignore_paths, noop, pass_unauthenticated, auth_optional",
		Paths: "permission_table, permission_table_files", Note: "Calls that anybody may make are listed in the permission table: under public, or under optional, where a caller with a credential is named."},
	{Names: "bypass_cors_preflight, run_on_preflight, skip_auth_preflight, preflight", Paths: "permission_table", Note: "Preflight requests (OPTIONS) carry no credential: the gateway's cors answers them, our cors does, or they are public in the permission table."},
	{Names: "origins, allow_origins, allowed_origins", Paths: "cors.origins"},
	{Names: "allow_credential, allow_credentials, cors_credentials", Paths: "cors.credentials"},
	{Names: "expose_headers, exposed_headers", Paths: "cors.exposed_headers"},
	{Names: "forbidden_url", Paths: "error_pages.forbidden_url"},
	{Names: "error_url, error_redirect_url", Paths: "error_pages.error_url"},
	{Names: "error_template, template_file, custom_error_page", Paths: "error_pages.template_file"},
	{Names: "groups_claim, oidc_groups_claim, role_claim, roles_path, groups, role_attribute_path", Paths: "jwt.issuers[].roles_claim, introspection.roles_claim, session.roles_claim"},
	{Names: "scope_claim, scopes_path", Paths: "jwt.issuers[].scopes_claim"},
	{Names: "always_use_authenticated_groups, hide_groups_header, include_consumer_groups, authenticated_groups", Paths: "authenticated_groups_claim", Note: "Kong only: the groups for its plugin acl."},

	// What the upstream gets.
	{Names: "upstream_headers_claims, upstream_headers_names, custom_claims_forward, claim_to_headers, output_claim_to_headers, forward_payload_header, output_payload_to_header, auth_jwt_header_set, auth_response_headers, auth_response_headers_regex, inject_request_headers, mutators, mutator, headers, header_claims, set_xauthrequest, pass_user_headers, set_id_token_header, upstream_access_token_header, upstream_id_token_header, upstream_user_info_header, auth_request_set, forward_headers, response_headers, set_headers, upstream_jwt",
		Paths: "upstream_headers", Note: "It is a map of header names to claims, such as X-User-Id: sub."},
	{Names: "downstream_headers_claims, downstream_headers_names, client_headers, inject_response_headers, payload_in_metadata", Note: "Clients get no headers about the caller; upstreams do, by upstream_headers."},
	{Names: "remove_headers, request_headers_to_remove, hide_headers", Paths: "strip_headers", Note: "Headers of upstream_headers are removed in any case."},

	// How providers are called.
	{Names: "tls_verify, verify_ssl, verify_tls, insecure_skip_verify, ssl_insecure_skip_verify, verify", Paths: "jwt.http.ssl_verify, introspection.http.ssl_verify, session.http.ssl_verify", Note: "true verifies the certificate, and is the default."},
	{Names: "provider_ca_files, ca_cert, ca_certs, ca, ca_certificate, ssl_trusted_certificate, root_ca", Paths: "jwt.http.ca_file, introspection.http.ca_file, session.http.ca_file", Note: "It is the path of a PEM file."},
	{Names: "timeout, connect_timeout, read_timeout, send_timeout, timeout_ms, request_timeout", Paths: "jwt.http.timeout, introspection.http.timeout, session.http.timeout", Note: "It is in seconds."},
	{Names: "keepalive, keepalive_pool, keepalive_timeout, http_version", Paths: "jwt.http.max_concurrent, introspection.http.max_concurrent, session.http.max_concurrent", Note: "Connections are kept; only their number is bounded."},
	{Names: "proxy_opts, http_proxy, https_proxy, no_proxy, proxy", Note: "The environment variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY are not read either: providers are called directly."},
	{Names: "allow_degradation, status_on_error, failure_mode_allow, fail_open, display_errors, errors, unauthorized_error_message, forbidden_error_message",
		Note: "Requests that cannot be decided are denied with 503; bodies are problem documents (RFC 9457)."},
	{Names: "uri, address, auth_request, ext_authz, trust_forward_header, request_headers, request_method, extra_headers",
		Note: "This is a setting of a proxy that calls an authorization service; those of the service are listen, endpoints and gates."},

	// Around the settings.
	{Names: "config, conf, value, plugins, plugin, gatehouse, gates, gate, name, _meta, enabled, protocols, tags, service, route, instance_name, handler, authenticators, authenticator",
		Note: "Write the settings themselves here, such as jwt and permission_table."},
	{Names: "www_authenticate_realm, auth_realm, auth_jwt", Paths: "realm", Note: "It is only the name in the challenge; what is accepted is in jwt, introspection and session."},
	{Names: "log_level, log, logging, metrics, admin", Note: "This is not a matter of a gate's configuration; see operations.md and the gateway's own plugins."},
}
