package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

// callFlags describe what surrounds a method and a path in a request.
type callFlags struct {
	host    string
	headers []string
	peer    string
	path    core.PathOptions
}

func (f *callFlags) register(c *cobra.Command) {
	f.registerPath(c)
	f.registerHost(c)
	c.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "`\"Name: value\"` of a request header; repeat it for more")
	c.Flags().StringVar(&f.peer, "peer", "", "`address` of the client")
}

func (f *callFlags) registerHost(c *cobra.Command) {
	c.Flags().StringVar(&f.host, "host", "", "`name` of the host that is called (default: one that the table does not name)")
}

func (f *callFlags) registerPath(c *cobra.Command) {
	c.Flags().BoolVar(&f.path.AllowSemicolon, "allow-semicolon", false, "read paths as path.allow_semicolon does")
	c.Flags().BoolVar(&f.path.AllowDoubleSlash, "allow-double-slash", false, "read paths as path.allow_double_slash does")
	c.Flags().BoolVar(&f.path.AllowEncodedSlash, "allow-encoded-slash", false, "read paths as path.allow_encoded_slash does")
}

var methodForm = regexp.MustCompile(`^[!#$%&'*+.^_|~0-9A-Za-z` + "`" + `-]+$`)

// anyHost stands for the host where none is given: one that no table names.
const anyHost = "any-other-host.invalid"

// call makes the call that a gate would see. Its error is a PathError where
// the target has no one reading, which is an answer and no mistake.
func (f *callFlags) call(method, target string) (*core.Call, error) {
	if !methodForm.MatchString(method) {
		return nil, fmt.Errorf("%q is no HTTP method; write METHOD and PATH as in: GET /users/7", method)
	}
	if !strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("%q is no request target; write what stands on the request line, beginning with a slash, as in: GET /users/7", target)
	}
	r := &core.Request{Method: method, Target: target, Host: cmp.Or(f.host, anyHost)}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !methodForm.MatchString(name) {
			return nil, fmt.Errorf("--header %q is no header; write \"Name: value\"", line)
		}
		r.Header = append(r.Header, core.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if f.peer != "" {
		var err error
		if r.Peer, err = netip.ParseAddr(f.peer); err != nil {
			return nil, fmt.Errorf("--peer %q is no IP address", f.peer)
		}
	}
	path, err := core.Canonical(target, f.path)
	return &core.Call{Request: r, Path: path}, err
}

// callerFlags say who calls.
type callerFlags struct {
	scopes, roles, permissions []string
	claims                     string
	kind                       choice
	anonymous                  bool
}

func (f *callerFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&f.scopes, "scope", "s", nil, "`scope` that the caller's token has; repeat it for more")
	c.Flags().StringArrayVarP(&f.roles, "role", "r", nil, "`role` of the caller; repeat it for more")
	c.Flags().StringArrayVarP(&f.permissions, "permission", "p", nil, "`permission` that the credential states; repeat it for more")
	c.Flags().StringVarP(&f.claims, "claims", "c", "", "JSON `file` with the claims of the caller's token, - is standard input")
	f.kind = choice{string(core.KindJWT), []string{string(core.KindJWT), string(core.KindSession), string(core.KindIntrospection)}}
	f.kind.register(c, "kind", "", "kind of credential the caller has")
	c.Flags().BoolVar(&f.anonymous, "anonymous", false, "the caller has no credential")
	_ = c.MarkFlagFilename("claims", "json")
	for _, name := range []string{"scope", "role", "permission", "claims", "kind"} {
		c.MarkFlagsMutuallyExclusive("anonymous", name)
	}
}

const maxClaims = 1 << 20

// principal returns the caller, or nil for an anonymous one.
func (f *callerFlags) principal(cmd *cobra.Command) (*core.Principal, error) {
	if f.anonymous {
		return nil, nil
	}
	p := &core.Principal{Kind: core.Kind(f.kind.value), Expiry: time.Now().Add(time.Hour)}
	if f.claims != "" {
		text, err := readInput(cmd.InOrStdin(), f.claims, maxClaims)
		if err != nil {
			return nil, err
		}
		if err := readClaims(text, p); err != nil {
			return nil, fmt.Errorf("%s: %w", shownName(f.claims), err)
		}
	}
	p.Scopes = append(p.Scopes, f.scopes...)
	p.Roles = append(p.Roles, f.roles...)
	p.Permissions = append(p.Permissions, f.permissions...)
	return p, nil
}

// readClaims fills in a principal as a gate does for a token with such claims.
func readClaims(text []byte, p *core.Principal) error {
	if len(text) > maxClaims {
		return fmt.Errorf("the file is larger than %d KiB; give the claims of one token", maxClaims>>10)
	}
	decoded, err := claims.Decode(text)
	if err != nil {
		return fmt.Errorf("the claims cannot be read: %w; write the payload of a token as one JSON object", err)
	}
	return claimedBy(decoded, p)
}

func claimedBy(decoded map[string]any, p *core.Principal) error {
	set := claims.Set(decoded)
	if err := set.Principal(claims.Paths{}.WithDefaults(), p); err != nil {
		return fmt.Errorf("no gate accepts such claims: %w", err)
	}
	if exp, ok, err := set.Time("exp"); err != nil {
		return fmt.Errorf("no gate accepts such claims: %w", err)
	} else if ok {
		p.Expiry = exp
	}
	return nil
}

// completeNames offers the names that a table defines.
func completeNames(t *tableFlags, pick func(permissions, roles, scopes []string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		// The completion reads the flags twice.
		slices.Sort(t.paths)
		t.paths = slices.Compact(t.paths)
		table, err := t.load(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		permissions, roles, scopes := table.Names()
		return pick(permissions, roles, scopes), cobra.ShellCompDirectiveNoFileComp
	}
}

func (f *callerFlags) complete(c *cobra.Command, t *tableFlags) {
	_ = c.RegisterFlagCompletionFunc("permission", completeNames(t, func(p, _, _ []string) []string { return p }))
	_ = c.RegisterFlagCompletionFunc("role", completeNames(t, func(_, r, _ []string) []string { return r }))
	_ = c.RegisterFlagCompletionFunc("scope", completeNames(t, func(_, _, s []string) []string { return s }))
}

// methodAndPath is the shape of the arguments of commands that ask about one
// call, and completeMethod helps to type them.
func methodAndPath(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got %s; give a METHOD and a PATH, as in: GET /users/7", plural(len(args), "argument", "arguments"))
	}
	return nil
}

func completeMethod(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// isRefusedPath tells a path that a gate would refuse from a mistake in how
// the command was called.
func isRefusedPath(err error) bool {
	var path *core.PathError
	return errors.As(err, &path)
}
