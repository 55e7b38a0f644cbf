package signin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/config/client"
	"gatehouse/core/config/enrichment"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/origin"
	"gatehouse/core/setting"
	"gatehouse/core/signin/enrich"
	"gatehouse/core/signin/flow"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

// OIDC is the sign-in at OpenID providers. Its names are those of Kong's and APISIX's
// openid-connect where these have one.
type OIDC struct {
	Providers       []Provider         `config:"providers" required:"true" len_min:"1" doc:"OpenID providers at which people sign in. With several of them people choose on a page, or a link names one by the parameter idp of start_path."`
	RedirectURI     string             `config:"redirect_uri" required:"true" starts_with:"http" doc:"URL to which providers send the browser back, such as https://app.example.com/callback, as it is registered with them. The gateway must route its path through the gate. Browsers of other hosts sign in on this one."`
	StartPath       string             `config:"start_path" default:"/signin" doc:"URL path, on the host of redirect_uri, at which a sign-in begins. The parameter return_to says where it ends."`
	LogoutPath      string             `config:"logout_path" default:"/logout" doc:"URL path, on the same host, that signs people out, here and at the provider (OpenID Connect RP-Initiated Logout 1.0). A script gets the address to go to as JSON."`
	AfterLogout     string             `config:"post_logout_redirect_uri" starts_with:"http" doc:"URL to which people come when they have signed out, as it is registered with the provider. Without it they get a page that says so."`
	BackChannel     string             `config:"back_channel_logout_path" doc:"URL path that takes logout tokens of the providers (OpenID Connect Back-Channel Logout 1.0): the backchannel_logout_uri of the client. Without it: none."`
	AllowMissingExp bool               `config:"allow_missing_exp" default:"false" doc:"Whether logout tokens without exp count, for five minutes after iat. Ory Hydra writes no exp."`
	FrontChannel    string             `config:"front_channel_logout_path" doc:"URL path that providers load in a frame when somebody signs out there (OpenID Connect Front-Channel Logout 1.0): the frontchannel_logout_uri of the client. It ends the session whose cookie the browser sends, so that it works for providers on the same site, and for others with session.cookie.same_site: None in browsers that send such cookies. Without it: none."`
	ReturnOrigins   []string           `config:"return_origins" doc:"Origins, beside that of redirect_uri, to which people may return after the sign-in, such as https://other.example.com. https://*.example.com stands for all subdomains."`
	Home            string             `config:"login_redirect_path" default:"/" doc:"URL path to which people come who have said no other."`
	AttemptTimeout  setting.Seconds    `config:"authorization_rolling_timeout" default:"900" between:"60,7200" doc:"How long a sign-in may take, in seconds."`
	UnauthAction    string             `config:"unauth_action" default:"auth" one_of:"auth,deny" doc:"What a browser without a session gets: auth leads it to the sign-in, deny gives it 401. Anything else than a browser that opens a page gets 401 in any case."`
	Renew           bool               `config:"renew_access_token_on_expiry" default:"true" doc:"Whether new tokens are got by the refresh token before the access token ends. Without it a session lasts as long as session says, whatever its provider does meanwhile. Providers give a refresh token for the scope offline_access, or offline."`
	Enrich          *enrichment.Enrich `config:"enrich" doc:"A service of your own that says at every sign-in who the user is to it, with roles, permissions and claims. It is asked once more before tokens are renewed. While it does not respond nobody signs in, and sessions end with their access token."`
	Session         *Session           `config:"session" required:"true" doc:"How sessions are kept."`
	Outbound        section.Outbound   `config:"http" doc:"How providers are called."`
}

// Provider is an OpenID provider.
type Provider struct {
	Name              string            `config:"name" default:"default" doc:"Name of the provider, in the parameter idp, on the page of choice and in logs."`
	Discovery         string            `config:"discovery" required:"true" starts_with:"http" doc:"URL of the discovery document (OpenID Connect Discovery 1.0), which ends in /.well-known/openid-configuration."`
	Issuer            string            `config:"issuer" doc:"Exact value of iss. Without it: the URL of discovery without the end, with or without a slash."`
	ClientID          string            `config:"client_id" required:"true" doc:"The gate's name at the provider."`
	ClientSecret      setting.Secret    `config:"client_secret" secret:"true" doc:"The gate's secret at the provider. Takes a literal value, $env://NAME or $file:///path."`
	AuthMethod        string            `config:"token_endpoint_auth_method" one_of:"none,client_secret_basic,client_secret_post,client_secret_jwt,private_key_jwt,tls_client_auth,self_signed_tls_client_auth" doc:"How the gate authenticates itself at the provider. Without it: client_secret_basic where there is a secret, else none."`
	AllowSecretJWT    bool              `config:"allow_client_secret_jwt" default:"false" doc:"Allows the method client_secret_jwt, for which the provider keeps the secret itself and not its digest."`
	PrivateKey        setting.Secret    `config:"client_private_key" secret:"true" doc:"Private key of private_key_jwt, as PEM or JWK; $env://NAME or $file:///path. A changed file takes effect within seconds."`
	KeyID             string            `config:"client_private_key_id" doc:"Value of kid of the assertions, where client_private_key is PEM and the provider wants one."`
	Algorithm         string            `config:"client_alg" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,HS256,HS384,HS512" doc:"Algorithm of the assertions. Without it: that of the JWK, or RS256, ES256, ES384, ES512 or EdDSA by the kind of key; HS256 of client_secret_jwt."`
	AssertionAudience string            `config:"assertion_audience" default:"issuer" doc:"Audience of the assertions: issuer, token_endpoint, or a URL as the provider wants it. Ory Hydra 2 wants token_endpoint."`
	CertFile          string            `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate of tls_client_auth or self_signed_tls_client_auth (RFC 8705 section 2). A changed file takes effect within seconds."`
	KeyFile           string            `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
	Scope             string            `config:"scope" default:"openid" doc:"Scopes that are asked for, with spaces between them. openid is added."`
	Resources         []string          `config:"resource" doc:"What the access token is for (RFC 8707)."`
	Parameters        map[string]string `config:"authorization_params" doc:"Further parameters of the authorization request, such as audience or ui_locales. A max_age among them is checked by auth_time. Google gives a refresh token for access_type: offline and prompt: consent."`
	ResponseMode      string            `config:"response_mode" default:"query" one_of:"query,form_post" doc:"How the provider sends its response: in the address, or in a form that the browser posts."`
	Pushed            string            `config:"pushed_authorization_requests" default:"auto" one_of:"auto,always,never" doc:"Whether requests are pushed (RFC 9126): auto where the provider offers it."`
	UserInfo          bool              `config:"userinfo" default:"false" doc:"Whether the claims of the UserInfo endpoint are added to those of the ID token."`
	AccessTokenClaims bool              `config:"access_token_claims" default:"false" doc:"Whether the claims of the access token count, too, under the name access_token: session.roles_claim: access_token.realm_access.roles. It is a JWT then, signed by the keys of the provider, for client_id and about the same person; any other refuses the sign-in. With session.claims list access_token there."`
	Algorithms        []string          `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms, as in jwt.issuers."`
	ACRLevels         map[string]string `config:"acr_levels" doc:"Assurance level (aal1, aal2, aal3) that a value of the claim acr stands for. Calls that need a level ask the provider for the values that are enough (acr_values)."`
	AMRLevels         map[string]string `config:"amr_levels" doc:"The same for members of the claim amr, such as mfa."`
	Leeway            setting.Seconds   `config:"leeway" default:"30" between:"0,300" doc:"Tolerated clock difference for iat, nbf and auth_time, in seconds; exp is exact."`
}

var _ section.Section = (*OIDC)(nil)

const at = "login.oidc"

func (*OIDC) Kind() core.Kind    { return core.KindOIDC }
func (*OIDC) JudgesBearer() bool { return false }

func (o *OIDC) Places() []extract.Place {
	if o.Session == nil {
		return nil // is required
	}
	return []extract.Place{o.Session.Place()}
}

// Check reports what no single tag can say.
func (o *OIDC) Check(v section.Validator) {
	names := map[string]bool{}
	for i, p := range o.Providers {
		path := section.Item(at+".providers", i)
		if names[p.Name] {
			v.Add(path+".name", "is the name of two providers")
		}
		names[p.Name] = true
		for name, levels := range map[string]map[string]string{".acr_levels": p.ACRLevels, ".amr_levels": p.AMRLevels} {
			for _, value := range slices.Sorted(maps.Keys(levels)) {
				if !slices.Contains([]string{"aal1", "aal2", "aal3"}, levels[value]) {
					v.Add(setting.Join(path+name, setting.ShownKey(value)), "is %.40q; want aal1, aal2 or aal3", levels[value])
				}
			}
		}
		p.client(path).Check(v.Checker)
		if !v.Mentions(path) {
			if _, err := o.provider(p, p.unauthenticated(), uncalled(), nil); err != nil {
				v.Add(path, "%v", err)
			}
		}
	}
	o.Enrich.Check(v, at+".enrich")
	for i, entry := range o.ReturnOrigins {
		if err := origin.Check(entry); err != nil || entry == "*" {
			v.Add(section.Item(at+".return_origins", i), "is no origin, or every one: %v", err)
		}
	}
	for _, path := range o.paths() {
		if !strings.HasPrefix(path.value, "/") {
			v.Add(at+"."+path.setting, "is no path; it begins with /")
		}
	}
}

// uncalled is a client for what is made to be checked.
func uncalled() *idp.Client {
	c, _ := idp.New(idp.Options{}) // whose zero value is usable
	return c
}

// Issuers are those whose sessions there are.
func (l *Login) Issuers() (issuers []string) {
	if l == nil || l.OIDC == nil {
		return nil
	}
	for _, p := range l.OIDC.Providers {
		if p.Issuer != "" {
			issuers = append(issuers, p.Issuer)
			continue
		}
		base := strings.TrimSuffix(strings.TrimSuffix(p.Discovery, "/.well-known/openid-configuration"), "/")
		issuers = append(issuers, base, base+"/")
	}
	return issuers
}

type ownPath struct {
	setting, value string
	methods        []string
}

// paths are those of the endpoints.
func (o *OIDC) paths() []ownPath {
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	callback := ""
	if u, err := url.Parse(o.RedirectURI); err == nil {
		callback = u.Path
	}
	all := []ownPath{
		{"redirect_uri", callback, o.callbackMethods()}, {"start_path", o.StartPath, get},
		{"logout_path", o.LogoutPath, []string{http.MethodGet, http.MethodPost}}, {"back_channel_logout_path", o.BackChannel, post}, {"front_channel_logout_path", o.FrontChannel, get},
	}
	return slices.DeleteFunc(all, func(p ownPath) bool { return p.value == "" && p.setting != "redirect_uri" && p.setting != "start_path" })
}

// callbackMethods are those by which providers have browsers respond.
func (o *OIDC) callbackMethods() (methods []string) {
	for method, mode := range map[string]string{http.MethodGet: oidc.Query, http.MethodPost: oidc.FormPost} {
		if slices.ContainsFunc(o.Providers, func(p Provider) bool { return p.ResponseMode == mode }) {
			methods = append(methods, method)
		}
	}
	slices.Sort(methods)
	return methods
}

// Offline are the endpoints for tools that sign nobody in.
func (l *Login) Offline() []core.Endpoint {
	if l == nil || l.OIDC == nil && l.LogoutPath == "" {
		return nil
	}
	if l.OIDC == nil {
		return []core.Endpoint{{Path: l.LogoutPath, Methods: []string{http.MethodGet, http.MethodPost}, MaxBody: maxOffline, Handler: offline{}}}
	}
	var endpoints []core.Endpoint
	for _, path := range l.OIDC.paths() {
		endpoints = append(endpoints, core.Endpoint{Path: path.value, Methods: path.methods, MaxBody: maxOffline, Handler: offline{}})
	}
	return endpoints
}

// HostOf is the host on which browsers reach a path of the sign-in; empty: the path is
// another one, or is for providers.
func (l *Login) HostOf(path string) string {
	if l == nil || l.OIDC == nil || path == l.OIDC.BackChannel {
		return ""
	}
	u, err := url.Parse(l.OIDC.RedirectURI)
	if err != nil || !slices.ContainsFunc(l.OIDC.paths(), func(p ownPath) bool { return p.value == path }) {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

const maxOffline = 1 << 10

type offline struct{}

func (offline) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{}, errors.New("this tool signs nobody in")
}

// providers make sessions and renew them.
type providers struct {
	list     []*oidc.Provider
	byName   map[string]*oidc.Provider
	trim     func(*session.Session)
	enricher *enrich.Enricher // nil: no service is asked
}

// Enrich asks the service who the person of a session is to it.
func (p *providers) Enrich(ctx context.Context, s *session.Session) error {
	if p.enricher == nil {
		return nil
	}
	r, err := p.enricher.Enrich(ctx, enrich.Person{Provider: s.Provider, Issuer: s.Issuer, Subject: s.Subject, Claims: s.Claims})
	s.Enriched = &r
	return err
}

// Renew asks the provider of the session, and before that the service, whose outage must
// not use up a refresh token.
func (p *providers) Renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	provider := p.byName[s.Provider]
	if provider == nil {
		return nil, fmt.Errorf("%w: its provider %.80q is not configured any more", core.ErrInvalid, s.Provider)
	}
	enriched := *s
	switch err := p.Enrich(ctx, &enriched); {
	case errors.Is(err, core.ErrForbidden):
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	case err != nil:
		return nil, err
	}
	renewed, err := provider.Renew(ctx, &enriched)
	if err == nil {
		p.trim(renewed)
	}
	return renewed, err
}

// trim takes out of a session what is not kept.
func (o *OIDC) trim(s *session.Session) {
	if !o.Session.KeepIDToken {
		s.IDToken = ""
	}
	if !o.Session.KeepAccessToken {
		s.AccessToken = ""
	}
	if !o.Renew {
		s.RefreshToken, s.TokenExpires = "", time.Time{}
	}
	if len(o.Session.Claims) > 0 {
		s.Claims = maps.Clone(s.Claims)
		maps.DeleteFunc(s.Claims, func(name string, _ any) bool {
			return name != "act" && !slices.Contains(o.Session.Claims, name) && !o.sends(name)
		})
	}
}

// sends reports whether a claim is needed when tokens are renewed.
func (o *OIDC) sends(claim string) bool {
	return o.Renew && o.Enrich != nil && slices.Contains(o.Enrich.Send, claim)
}

// client are the settings of a provider at a path by which the gate authenticates itself.
func (p Provider) client(path string) client.Settings {
	return client.Settings{
		At: path, MethodSetting: "token_endpoint_auth_method", Method: p.AuthMethod, ClientID: p.ClientID, Secret: p.ClientSecret,
		AllowSecretJWT: p.AllowSecretJWT, PrivateKey: p.PrivateKey, KeyID: p.KeyID, Algorithm: p.Algorithm, Audience: p.AssertionAudience,
		CertFile: p.CertFile, KeyFile: p.KeyFile, URL: p.Discovery, Issuer: p.Discovery, Endpoint: clientauth.TokenEndpoint,
	}
}

// unauthenticated stands for the client in a check that reads no file.
func (p Provider) unauthenticated() clientauth.Options {
	if p.PrivateKey != "" || p.CertFile != "" || p.AuthMethod == clientauth.SecretJWT {
		return clientauth.Options{}
	}
	return clientauth.Options{Method: p.AuthMethod, Secret: string(p.ClientSecret)}
}

// Build finds or makes the sessions and with them their providers.
func (o *OIDC) Build(b *section.Builder, c section.Caching) (*section.Part, error) {
	trust, err := section.Authorities(at+".http.ca_file", o.Outbound.CAFile)
	if err != nil {
		return nil, err
	}
	found := make([]client.Found, len(o.Providers))
	for i, p := range o.Providers {
		if found[i], err = p.client(section.Item(at+".providers", i)).Find(); err != nil {
			return nil, err
		}
	}
	service, err := o.Enrich.Find(at + ".enrich")
	if err != nil {
		return nil, err
	}
	make := func() (session.Renewer, error) { return o.providers(b, found, service) }
	return o.Session.Build(b, c, at+".session", make, o.Renew, o, trust, found, service)
}

func (o *OIDC) providers(b *section.Builder, found []client.Found, service enrichment.Found) (*providers, error) {
	enricher, err := o.Enrich.Build(at+".enrich", service, enrichment.Options{Log: b.Log(), Observe: b.Observe("enrich"), Now: b.Now()})
	if err != nil {
		return nil, err
	}
	ps := &providers{byName: map[string]*oidc.Provider{}, trim: o.trim, enricher: enricher}
	for i, p := range o.Providers {
		path := section.Item(at+".providers", i)
		how, err := p.client(path).Authentication(found[i], b.Now())
		if err != nil {
			return nil, err
		}
		certificate, err := p.client(path).Certificate(found[i], b.Now()(), b.Log())
		if err != nil {
			return nil, err
		}
		caller, err := idp.New(idp.Options{
			Observe: b.Observe(core.KindOIDC), Timeout: o.Outbound.Timeout.Duration(), MaxConcurrent: o.Outbound.MaxConcurrent,
			CAFile: o.Outbound.CAFile, InsecureSkipVerify: !o.Outbound.SSLVerify, Certificate: certificate,
			Log: b.Log().With("provider", p.Name), Now: b.Now(),
		})
		if err != nil {
			return nil, section.At(path, err)
		}
		provider, err := o.provider(p, how, caller, b)
		if err != nil {
			return nil, section.At(path, err)
		}
		provider.Ready() // has its metadata fetched before the first person comes
		ps.list, ps.byName[p.Name] = append(ps.list, provider), provider
	}
	return ps, nil
}

func (o *OIDC) provider(p Provider, how clientauth.Options, caller *idp.Client, b *section.Builder) (*oidc.Provider, error) {
	options := oidc.Options{
		Name: p.Name, Discovery: p.Discovery, Issuer: p.Issuer, ClientID: p.ClientID, Authentication: how,
		RedirectURI: o.RedirectURI, Scopes: strings.Fields(p.Scope), Resources: p.Resources, Parameters: p.Parameters,
		ResponseMode: p.ResponseMode, PushedRequests: p.Pushed, UserInfo: p.UserInfo, AccessTokenClaims: p.AccessTokenClaims, Algorithms: p.Algorithms,
		ACRLevels: p.ACRLevels, AMRLevels: p.AMRLevels, Leeway: max(p.Leeway.Duration(), time.Nanosecond), Client: caller,
	}
	if b != nil {
		options.Log, options.Now = b.Log(), b.Now()
	}
	return oidc.New(options)
}

// built makes the endpoints, and the way to them.
func (o *OIDC) built(part *section.Part, scheme string, b Built) (Built, error) {
	if part == nil {
		start, err := url.Parse(o.RedirectURI)
		if err != nil {
			return b, section.At(at+".redirect_uri", errors.New("is not a URL"))
		}
		b.Login, b.Endpoints = o.login(flow.Page(start, o.StartPath, scheme)), (&Login{OIDC: o}).Offline()
		return b, nil
	}
	sessions, ok := part.Made.(*Sessions)
	if !ok {
		return b, errors.New(at + ": the part keeps no sessions")
	}
	ps, ok := sessions.Renewer.(*providers)
	if !ok {
		return b, errors.New(at + ": the part has no providers")
	}
	f, err := flow.New(flow.Options{
		Providers: ps.list, Store: trimmed{sessions.Store, o.trim}, Secrets: sessions.secrets,
		StartPath: o.StartPath, LogoutPath: o.LogoutPath, FrontChannelPath: o.FrontChannel,
		Returns: origin.List(o.ReturnOrigins).Has, Home: o.Home, AfterLogout: o.AfterLogout, Lifetime: o.AttemptTimeout.Duration(),
		StrictCookies: o.Session.Cookie.SameSite == "Strict", Framed: o.Session.Cookie.SameSite == "None", Enrich: ps.Enrich,
		Revoke: func(ctx context.Context, s *session.Session) error { return sessions.Revoke(ctx, s, "logout") },
		Log:    sessions.builder.Log(), Now: sessions.builder.Now(),
	})
	if err != nil {
		return b, section.At(at, err)
	}
	b.Login, b.Endpoints = o.login(f.Login(scheme)), f.Endpoints()
	if o.BackChannel != "" {
		endpoint, err := o.backChannel(ps, sessions)
		if err != nil {
			return b, section.At(at+".back_channel_logout_path", err)
		}
		b.Endpoints = append(b.Endpoints, endpoint)
	}
	b.Attend = func(a core.Authenticator) core.Authenticator {
		if next, ok := a.(core.Judge); ok {
			return sessions.Authenticator.Attend(next)
		}
		return a
	}
	return b, nil
}

func (o *OIDC) login(l core.Login) core.Login {
	if o.UnauthAction == "deny" {
		return nil
	}
	return l
}

// trimmed is a store that is given no more than is kept.
type trimmed struct {
	session.Store
	trim func(*session.Session)
}

func (t trimmed) Save(ctx context.Context, s *session.Session, r *core.Request) ([]core.Header, error) {
	t.trim(s)
	return t.Store.Save(ctx, s, r)
}

// Refused returns what the parts refuse beside what Check states.
func (o *OIDC) Refused() error { return nil }

// Principal reads whom the claims of a session speak of.
func (o *OIDC) Principal(b *section.Builder, document map[string]any, _ string) (*core.Principal, error) {
	set := claims.Set(document)
	p := &core.Principal{Kind: core.KindOIDC, Expiry: b.Now()().Add(o.Session.AbsoluteTimeout.Duration())}
	p.Issuer, _ = set.Text("iss")
	if err := set.Principal(section.Grants(*o.Session, o.Session.RolesClaim, o.Session.PermissionsClaim), p); err != nil {
		return nil, err
	}
	return p, nil
}
