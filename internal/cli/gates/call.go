package gates

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission/mcp"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// PathFlags relax how paths are read.
type PathFlags struct{ core.PathOptions }

// pathFlagNames are those of pathFlags.
var pathFlagNames = []string{"allow-semicolon", "allow-double-slash", "allow-encoded-slash"}

// Register adds the flags to a command.
func (f *PathFlags) Register(c *cobra.Command) {
	c.Flags().BoolVar(&f.AllowSemicolon, "allow-semicolon", false, "read paths as path.allow_semicolon does")
	c.Flags().BoolVar(&f.AllowDoubleSlash, "allow-double-slash", false, "read paths as path.allow_double_slash does")
	c.Flags().BoolVar(&f.AllowEncodedSlash, "allow-encoded-slash", false, "read paths as path.allow_encoded_slash does")
}

// RequestFlags describe what surrounds a method and a path in a request.
type RequestFlags struct {
	Host    string
	headers []string
	peer    string
	Scheme  terminal.Choice
}

// Register adds the flags to a command.
func (f *RequestFlags) Register(c *cobra.Command) {
	c.Flags().StringVar(&f.Host, "host", "", "`name` of the host that is called (default: one that the table does not name)")
	c.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "`\"Name: value\"` of a request header; repeat it for more")
	c.Flags().StringVar(&f.peer, "peer", "", "`address` of the client")
	f.Scheme = terminal.Choice{Of: []string{"http", "https"}}
	f.Scheme.Register(c, "scheme", "", "scheme by which the client reached the gateway (default: not known)")
}

var methodForm = regexp.MustCompile(`^[!#$%&'*+.^_|~0-9A-Za-z` + "`" + `-]+$`)

// AnyHost stands for the host where none is given: one that no table names.
const AnyHost = "any-other-host.invalid"

// Request makes the request that a gate would see.
func (f *RequestFlags) Request(method, target string) (*core.Request, error) {
	if !methodForm.MatchString(method) {
		return nil, fmt.Errorf("%q is no HTTP method; write METHOD and PATH as in: GET /users/7", method)
	}
	if !strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("%q is no request target; write what stands on the request line, beginning with a slash, as in: GET /users/7", target)
	}
	r := &core.Request{Method: method, Target: target, Host: cmp.Or(f.Host, AnyHost), Scheme: f.Scheme.Value}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !methodForm.MatchString(name) {
			return nil, fmt.Errorf("--header %q is no header; write \"Name: value\"", line)
		}
		r.Header = append(r.Header, core.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if tool, ok, err := mcp.Parse(target); ok && method == mcp.HTTPMethod {
		if err != nil {
			return nil, fmt.Errorf("%q: %w", target, err)
		}
		tool.Ask(r)
	}
	if f.peer != "" {
		var err error
		if r.Peer, err = netip.ParseAddr(f.peer); err != nil {
			return nil, fmt.Errorf("--peer %q is no IP address", f.peer)
		}
	}
	return r, nil
}

// CallFlags say which gate decides, about which requests of which caller.
type CallFlags struct {
	Gate    Flags
	Request RequestFlags
	Caller  CallerFlags
	Output  terminal.OutputFlags
}

// Register adds the flags to a command whose caller has a credential; the first
// format of the output is the default.
func (f *CallFlags) Register(c *cobra.Command, formats ...string) {
	f.Gate.Register(c)
	f.Request.Register(c)
	f.Caller.RegisterCredential(c)
	f.Caller.complete(c, &f.Gate)
	f.Output.Register(c, formats...)
}

// ForCall makes a command one about a single call.
func ForCall(c *cobra.Command, run func(cmd *cobra.Command, method, target string) error) {
	c.Args = methodAndPath
	c.ValidArgsFunction = completeMethod
	c.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, args[0], args[1]) }
}

// Open makes the gate and the caller.
func (f *CallFlags) Open(cmd *cobra.Command) (*Gate, *offline.Caller, error) {
	g, err := f.Gate.Open(cmd)
	if err != nil {
		return nil, nil, err
	}
	caller, err := f.Caller.Caller(cmd)
	return g, caller, err
}

// CallerFlags say who calls.
type CallerFlags struct {
	scopes, roles, permissions []string
	claims                     string
	subject, clientID, issuer  string
	kind, aal                  terminal.Choice
	authAge                    time.Duration
	dpop                       bool
	certificate                string
	actors                     []string
	anonymous                  bool
}

// CallerFlagNames are those of callerFlags but --anonymous.
var CallerFlagNames = []string{"scope", "role", "permission", "claims", "sub", "client-id", "issuer", "kind", "aal", "auth-age", "dpop", "certificate", "actor"}

// Register adds the flags to a command.
func (f *CallerFlags) Register(c *cobra.Command) {
	f.RegisterCredential(c)
	f.RegisterAnonymous(c)
}

// RegisterAnonymous adds the flag for a caller without a credential.
func (f *CallerFlags) RegisterAnonymous(c *cobra.Command) {
	c.Flags().BoolVar(&f.anonymous, "anonymous", false, "the caller has no credential")
	for _, name := range CallerFlagNames {
		c.MarkFlagsMutuallyExclusive("anonymous", name)
	}
}

// RegisterCredential adds the flags that say what the credential of the caller
// states.
func (f *CallerFlags) RegisterCredential(c *cobra.Command) {
	c.Flags().StringArrayVarP(&f.scopes, "scope", "s", nil, "`scope` that the caller's token has; repeat it for more")
	c.Flags().StringArrayVarP(&f.roles, "role", "r", nil, "`role` of the caller; repeat it for more")
	c.Flags().StringArrayVarP(&f.permissions, "permission", "p", nil, "`permission` that the credential states; repeat it for more")
	c.Flags().StringVarP(&f.claims, "claims", "c", "", "JSON `file` with what the caller's credential states: claims of a token, or a session document; - is standard input")
	c.Flags().StringVar(&f.subject, "sub", "", "`subject` of the caller's credential")
	c.Flags().StringVar(&f.clientID, "client-id", "", "`id` of the client that the token was issued to")
	c.Flags().StringVar(&f.issuer, "issuer", "", "`issuer` of the caller's token")
	f.kind = terminal.Choice{Of: core.KindNames()}
	f.kind.Register(c, "kind", "", "kind of credential the caller has (default: what the configuration and the claims suggest, else jwt)")
	f.aal = terminal.Choice{Of: []string{"aal1", "aal2", "aal3"}}
	f.aal.Register(c, "aal", "", "assurance level of the caller's sign-in (default: what the claims say)")
	c.Flags().DurationVar(&f.authAge, "auth-age", -1, "`age` of the caller's sign-in, such as 5m (default: what the claims say)")
	c.Flags().Lookup("auth-age").DefValue = "0s" // -1 is no default to show, and pflag shows no zero
	c.Flags().BoolVar(&f.dpop, "dpop", false, "the caller's token comes with a DPoP proof of the key that it is bound to")
	c.Flags().StringVar(&f.certificate, "certificate", "", "PEM `file` with the client certificate of the caller's connection")
	c.Flags().StringArrayVar(&f.actors, "actor", nil, "`id` of the actor to whom the caller's credential is delegated, such as https://login.example.com/#agent-7; repeat it for those who acted before, the latest first")
	_ = c.MarkFlagFilename("claims", "json")
	_ = c.MarkFlagFilename("certificate", "pem", "crt")
}

// Caller is who calls.
func (f *CallerFlags) Caller(cmd *cobra.Command) (*offline.Caller, error) {
	if f.anonymous {
		return &offline.Caller{Anonymous: true}, nil
	}
	if cmd.Flags().Changed("auth-age") && f.authAge < 0 {
		return nil, fmt.Errorf("--auth-age is %s; write how long ago the caller signed in, such as 5m", f.authAge)
	}
	c := &offline.Caller{
		Kind: core.Kind(f.kind.Value), Subject: f.subject, ClientID: f.clientID, Issuer: f.issuer,
		Scopes: f.scopes, Roles: f.roles, Permissions: f.permissions, AAL: f.aal.Value, AuthAge: f.authAge, DPoP: f.dpop,
	}
	if f.certificate != "" {
		if err := CertificateOf(c, f.certificate); err != nil {
			return nil, err
		}
	}
	var err error
	if c.Actor, err = ActorOf(f.actors); err != nil {
		return nil, fmt.Errorf("--actor %w", err)
	}
	if f.claims == "" {
		return c, nil
	}
	text, err := terminal.ReadInput(cmd.InOrStdin(), f.claims, offline.MaxClaims)
	if err != nil {
		return nil, err
	}
	if c.Claims, err = offline.DecodeClaims(text); err != nil {
		return nil, fmt.Errorf("%s: %w", tables.ShownName(f.claims), err)
	}
	return c, nil
}

// ActorOf is the chain of actors with some ids, the current one first.
func ActorOf(ids []string) (*core.Actor, error) {
	var chain *core.Actor
	for _, id := range slices.Backward(ids) {
		a, err := actor.Parse(id)
		if err != nil {
			return nil, fmt.Errorf("%q %w", id, err)
		}
		a.Before, chain = chain, a
	}
	return chain, nil
}

// CertificateOf has a caller show the client certificate in a file.
func CertificateOf(c *offline.Caller, file string) error {
	text, err := terminal.ReadInput(nil, file, offline.MaxClaims)
	if err != nil {
		return err
	}
	if c.Chain, err = offline.DecodeCertificates(text); err != nil {
		return fmt.Errorf("%s: %w", tables.ShownName(file), err)
	}
	return nil
}

// Principal is the caller to a gate without a configuration; nil for one
// without a credential.
func (f *CallerFlags) Principal(cmd *cobra.Command, g *offline.Gate) (*core.Principal, error) {
	c, err := f.Caller(cmd)
	if err != nil {
		return nil, err
	}
	p, err := g.Principal(c)
	return p, f.Located(err)
}

// Located names the file of the claims that an error is about.
func (f *CallerFlags) Located(err error) error {
	if err == nil || f.claims == "" {
		return err
	}
	return fmt.Errorf("%s: %w", tables.ShownName(f.claims), err)
}

// completeNames offers the names that the table of a gate defines.
func completeNames(gate *Flags, pick func(permissions, roles, scopes []string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		// The completion reads the flags twice.
		slices.Sort(gate.Table.Paths)
		gate.Table.Paths = slices.Compact(gate.Table.Paths)
		g, err := gate.Open(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		permissions, roles, scopes := g.Names()
		return pick(permissions, roles, append(scopes, g.ScopesRequired()...)), cobra.ShellCompDirectiveNoFileComp
	}
}

// complete offers the names of the table for the flags.
func (f *CallerFlags) complete(c *cobra.Command, gate *Flags) {
	_ = c.RegisterFlagCompletionFunc("permission", completeNames(gate, func(p, _, _ []string) []string { return p }))
	_ = c.RegisterFlagCompletionFunc("role", completeNames(gate, func(_, r, _ []string) []string { return r }))
	_ = c.RegisterFlagCompletionFunc("scope", completeNames(gate, func(_, _, s []string) []string { return s }))
}

// methodAndPath is the shape of the arguments of commands about one call, and
// completeMethod helps to type them.
func methodAndPath(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got %s; give a METHOD and a PATH, as in: GET /users/7", terminal.Plural(len(args), "argument", "arguments"))
	}
	return nil
}

// completeMethod completes the METHOD of such commands.
func completeMethod(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
