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
	"gatehouse/core/authn/idp"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/origin"
	"gatehouse/core/setting"
	"gatehouse/core/signin/flow"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

// OIDC is the sign-in at OpenID providers. Its names are those of Kong's and APISIX's
// openid-connect where these have one.
type OIDC struct {
	Providers       []Provider       `config:"providers" required:"true" len_min:"1" doc:"OpenID providers at which people sign in. With several of them people choose on a page, or a link names one by the parameter idp of start_path."`
	RedirectURI     string           `config:"redirect_uri" required:"true" starts_with:"http" doc:"URL to which providers send the browser back, such as https://app.example.com/callback, as it is registered with them. The gateway must route its path through the gate. Browsers of other hosts sign in on this one."`
	StartPath       string           `config:"start_path" default:"/signin" doc:"Path, on the host of redirect_uri, at which a sign-in begins. The parameter return_to says where it ends."`
	LogoutPath      string           `config:"logout_path" default:"/logout" doc:"Path, on the same host, that signs people out, here and at the provider (OpenID Connect RP-Initiated Logout 1.0). A script gets the address to go to as JSON."`
	AfterLogout     string           `config:"post_logout_redirect_uri" starts_with:"http" doc:"URL to which people come when they have signed out, as it is registered with the provider. Without it they get a page that says so."`
	BackChannel     string           `config:"back_channel_logout_path" doc:"Path that takes logout tokens of the providers (OpenID Connect Back-Channel Logout 1.0): the backchannel_logout_uri of the client. Without it: none."`
	AllowMissingExp bool             `config:"allow_missing_exp" default:"false" doc:"Whether logout tokens without exp count, for five minutes after iat. Ory Hydra writes no exp."`
	FrontChannel    string           `config:"front_channel_logout_path" doc:"Path that providers load in a frame when somebody signs out there (OpenID Connect Front-Channel Logout 1.0): the frontchannel_logout_uri of the client. It ends the session whose cookie the browser sends, so that it works for providers on the same site, and for others with session.cookie.same_site: None in browsers that send such cookies. Without it: none."`
	ReturnOrigins   []string         `config:"return_origins" doc:"Origins, beside that of redirect_uri, to which people may return after the sign-in, such as https://other.example.com. https://*.example.com stands for all subdomains."`
	Home            string           `config:"login_redirect_path" default:"/" doc:"Path to which people come who have said no other."`
	AttemptTimeout  setting.Seconds  `config:"authorization_rolling_timeout" default:"900" between:"60,7200" doc:"How long a sign-in may take, in seconds."`
	UnauthAction    string           `config:"unauth_action" default:"auth" one_of:"auth,deny" doc:"What a browser without a session gets: auth leads it to the sign-in, deny gives it 401. Anything else than a browser that opens a page gets 401 in any case."`
	Renew           bool             `config:"renew_access_token_on_expiry" default:"true" doc:"Whether new tokens are got by the refresh token before the access token ends. Without it a session lasts as long as session says, whatever its provider does meanwhile. Providers give a refresh token for the scope offline_access, or offline."`
	Session         *Session         `config:"session" required:"true" doc:"How sessions are kept."`
	Outbound        section.Outbound `config:"http" doc:"How providers are called."`
}

// Provider is an OpenID provider.
type Provider struct {
	Name              string            `config:"name" default:"default" doc:"Name of the provider, in the parameter idp, on the page of choice and in logs."`
	Discovery         string            `config:"discovery" required:"true" starts_with:"http" doc:"URL of the discovery document (OpenID Connect Discovery 1.0), which ends in /.well-known/openid-configuration."`
	Issuer            string            `config:"issuer" doc:"Exact value of iss. Without it: the URL of discovery without the end, with or without a slash."`
	ClientID          string            `config:"client_id" required:"true" doc:"The gate's name at the provider."`
	ClientSecret      setting.Secret    `config:"client_secret" secret:"true" doc:"The gate's secret at the provider. Takes a literal value, $env://NAME or $file:///path."`
	AuthMethod        string            `config:"token_endpoint_auth_method" one_of:"none,client_secret_basic,client_secret_post,private_key_jwt,tls_client_auth" doc:"How the gate authenticates itself at the provider. Without it: client_secret_basic where there is a secret, else none."`
	PrivateKey        setting.Secret    `config:"client_private_key" secret:"true" doc:"Private key of private_key_jwt, as PEM or JWK; $env://NAME or $file:///path."`
	AssertionAudience string            `config:"assertion_audience" default:"issuer" one_of:"issuer,token_endpoint" doc:"Audience of the assertions of private_key_jwt. Ory Hydra 2 wants token_endpoint."`
	CertFile          string            `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate of tls_client_auth (RFC 8705)."`
	KeyFile           string            `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
	Scope             string            `config:"scope" default:"openid" doc:"Scopes that are asked for, with spaces between them. openid is added."`
	Resources         []string          `config:"resource" doc:"What the access token is for (RFC 8707)."`
	Parameters        map[string]string `config:"authorization_params" doc:"Further parameters of the authorization request, such as audience or ui_locales."`
	ResponseMode      string            `config:"response_mode" default:"query" one_of:"query,form_post" doc:"How the provider sends its response: in the address, or in a form that the browser posts."`
	Pushed            string            `config:"pushed_authorization_requests" default:"auto" one_of:"auto,always,never" doc:"Whether requests are pushed (RFC 9126): auto where the provider offers it."`
	UserInfo          bool              `config:"userinfo" default:"false" doc:"Whether the claims of the UserInfo endpoint are added to those of the ID token."`
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
		if (p.CertFile == "") != (p.KeyFile == "") || (p.CertFile != "") != (p.AuthMethod == oidc.TLSClientAuth) {
			v.Add(path+".tls_client_cert_file", "goes with tls_client_key_file and token_endpoint_auth_method: tls_client_auth")
		}
		if (p.PrivateKey != "") != (p.AuthMethod == oidc.PrivateKeyJWT) {
			v.Add(path+".client_private_key", "goes with token_endpoint_auth_method: private_key_jwt")
		}
		if !v.Mentions(path) && p.CertFile == "" && p.PrivateKey == "" {
			if _, err := o.provider(p, oidc.Authentication{Method: p.AuthMethod, Secret: string(p.ClientSecret)}, uncalled(), nil); err != nil {
				v.Add(path, "%v", err)
			}
		}
	}
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
		{"redirect_uri", callback, []string{http.MethodGet, http.MethodPost}}, {"start_path", o.StartPath, get},
		{"logout_path", o.LogoutPath, []string{http.MethodGet, http.MethodPost}}, {"back_channel_logout_path", o.BackChannel, post}, {"front_channel_logout_path", o.FrontChannel, get},
	}
	return slices.DeleteFunc(all, func(p ownPath) bool { return p.value == "" && p.setting != "redirect_uri" && p.setting != "start_path" })
}

// Offline are the endpoints for tools that sign nobody in.
func (l *Login) Offline() []core.Endpoint {
	if l == nil || l.OIDC == nil {
		return nil
	}
	var endpoints []core.Endpoint
	for _, path := range l.OIDC.paths() {
		endpoints = append(endpoints, core.Endpoint{Path: path.value, Methods: path.methods, MaxBody: maxOffline, Handler: offline{}})
	}
	return endpoints
}

const maxOffline = 1 << 10

type offline struct{}

func (offline) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{}, errors.New("this tool signs nobody in")
}

// providers make sessions and renew them.
type providers struct {
	list   []*oidc.Provider
	byName map[string]*oidc.Provider
	trim   func(*session.Session)
}

// Renew asks the provider of the session.
func (p *providers) Renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	provider := p.byName[s.Provider]
	if provider == nil {
		return nil, fmt.Errorf("%w: its provider %.80q is not configured any more", core.ErrInvalid, s.Provider)
	}
	renewed, err := provider.Renew(ctx, s)
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
		maps.DeleteFunc(s.Claims, func(name string, _ any) bool { return !slices.Contains(o.Session.Claims, name) })
	}
}

// resolved is what the settings of a provider name and do not hold.
type resolved struct {
	Secret, Key, Cert string
}

// Build finds or makes the sessions and with them their providers.
func (o *OIDC) Build(b *section.Builder, c section.Caching) (*section.Part, error) {
	trust, err := section.Authorities(at+".http.ca_file", o.Outbound.CAFile)
	if err != nil {
		return nil, err
	}
	found := make([]resolved, len(o.Providers))
	for i, p := range o.Providers {
		path := section.Item(at+".providers", i)
		if found[i].Secret, err = setting.Resolve(string(p.ClientSecret)); err != nil {
			return nil, section.At(path+".client_secret", err)
		}
		if found[i].Key, err = setting.Resolve(string(p.PrivateKey)); err != nil {
			return nil, section.At(path+".client_private_key", err)
		}
		if found[i].Cert, err = section.Authorities(path+".tls_client_cert_file", p.CertFile); err != nil {
			return nil, err
		}
	}
	make := func() (session.Renewer, error) { return o.providers(b, found) }
	return o.Session.Build(b, c, at+".session", make, o.Renew, o, trust, found)
}

func (o *OIDC) providers(b *section.Builder, found []resolved) (*providers, error) {
	ps := &providers{byName: map[string]*oidc.Provider{}, trim: o.trim}
	for i, p := range o.Providers {
		path := section.Item(at+".providers", i)
		how := oidc.Authentication{Method: p.AuthMethod, Secret: found[i].Secret, AssertionAudience: p.AssertionAudience}
		if found[i].Key != "" {
			key, err := oidc.ParseKey([]byte(found[i].Key))
			if err != nil {
				return nil, section.At(path+".client_private_key", err)
			}
			how.Key = key
		}
		client, err := idp.New(idp.Options{
			Observe: b.Observe(core.KindOIDC), Timeout: o.Outbound.Timeout.Duration(), MaxConcurrent: o.Outbound.MaxConcurrent,
			CAFile: o.Outbound.CAFile, InsecureSkipVerify: !o.Outbound.SSLVerify, CertificateFile: p.CertFile, KeyFile: p.KeyFile,
			Log: b.Log().With("provider", p.Name), Now: b.Now(),
		})
		if err != nil {
			return nil, section.At(path, err)
		}
		provider, err := o.provider(p, how, client, b)
		if err != nil {
			return nil, section.At(path, err)
		}
		provider.Ready() // has its metadata fetched before the first person comes
		ps.list, ps.byName[p.Name] = append(ps.list, provider), provider
	}
	return ps, nil
}

func (o *OIDC) provider(p Provider, how oidc.Authentication, client *idp.Client, b *section.Builder) (*oidc.Provider, error) {
	options := oidc.Options{
		Name: p.Name, Discovery: p.Discovery, Issuer: p.Issuer, ClientID: p.ClientID, Authentication: how,
		RedirectURI: o.RedirectURI, Scopes: strings.Fields(p.Scope), Resources: p.Resources, Parameters: p.Parameters,
		ResponseMode: p.ResponseMode, PushedRequests: p.Pushed, UserInfo: p.UserInfo, Algorithms: p.Algorithms,
		ACRLevels: p.ACRLevels, AMRLevels: p.AMRLevels, Leeway: max(p.Leeway.Duration(), time.Nanosecond), Client: client,
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
		StrictCookies: o.Session.Cookie.SameSite == "Strict",
		Revoke:        func(ctx context.Context, s *session.Session) error { return sessions.Revoke(ctx, s, "logout") },
		Log:           sessions.builder.Log(), Now: sessions.builder.Now(),
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
		if next, ok := a.(interface {
			core.Refresher
			core.OthersJudge
		}); ok {
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
