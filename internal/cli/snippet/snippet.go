// Package snippet has the command that writes the lists of headers which the
// configuration of a proxy needs.
package snippet

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/config/hosts"
	"gatehouse/core/httpsyntax"
	"gatehouse/internal/offline"
	"gatehouse/plugins/forwardauth/settings"
)

// Command is gatehouse snippet.
func Command() *cobra.Command {
	var source offline.Source
	var roots []string
	c := &cobra.Command{
		Use:   "snippet [flags] --config FILE PROXY",
		Short: "Write the header lists of a proxy's configuration",
		Long: `Write what the configuration of a proxy says about headers, for the gate of a
configuration: every header of upstream_headers, strip_headers and token_headers
and, with hide_credentials, the other headers of credentials. A header that the
proxy's list lacks reaches the upstream as the client sent it, so renew the list
when the gate's configuration changes. Those with -direct write routes for the
paths that the gate itself serves, such as those of login.oidc, and those with
-certificate the lines by which the service gets to know the client's certificate.

` + listed(),
		Example: `  gatehouse snippet nginx --config gatehouse.yaml > gatehouse_headers.conf
  gatehouse snippet caddy --config forwardauth.yaml --gate main > gatehouse_headers.caddy`,
		ValidArgs: names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := choose(args)
			if err != nil {
				return err
			}
			if source.Roots, err = offline.ParseRoots(roots); err != nil {
				return err
			}
			text, err := write(p, source)
			if err == nil {
				_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			}
			return err
		},
	}
	c.Flags().StringVar(&source.File, "config", "", "`file` with the gate's configuration: gatehouse.yaml, or kong.yml, apisix.yaml or forwardauth.yaml that holds some")
	c.Flags().StringVar(&source.Route, "route", "", "`name` or id of the route of Kong or APISIX whose configuration counts, where the file holds several")
	c.Flags().StringVar(&source.Gate, "gate", "", "`name` of the gate of gatehouse-forwardauth, where the file holds several")
	c.Flags().StringArrayVar(&roots, "root", nil, "`folder` that holds the files of the gateway's machine, as DIR, or FROM=DIR for those below FROM; repeat it for more")
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
	return c
}

func choose(args []string) (*proxy, error) {
	if len(args) == 1 {
		if at := slices.IndexFunc(proxies, func(p proxy) bool { return p.name == args[0] }); at >= 0 {
			return &proxies[at], nil
		}
	}
	return nil, fmt.Errorf("name one proxy: %s", strings.Join(names(), ", "))
}

func write(p *proxy, source offline.Source) (string, error) {
	if source.File == "" {
		return "", errors.New("name the gate's configuration with --config")
	}
	found, err := source.Find()
	if err != nil {
		return "", err
	}
	headers, err := found.HeaderNames()
	if err != nil {
		return "", fmt.Errorf("%s: %w", found.Name, err)
	}
	if err := p.can(found.Demands()); err != nil {
		return "", fmt.Errorf("%s: %w", found.Name, err)
	}
	l := lists{Removed: without(headers.Stripped, headers.Credentials), Copied: headers.Stripped, Credentials: headers.Credentials, Cookies: found.Login.Cookies()}
	if found.HideCredentials {
		l.Copied = slices.Concat(headers.Stripped, without(headers.Credentials, headers.Stripped))
	}
	l.Certificate = found.Demands().ClientCertificate != ""
	if p.about == aboutPaths {
		if l.Paths, err = paths(found); err != nil {
			return "", err
		}
	}
	if p.about == aboutHeaders && len(l.Copied) == 0 {
		return "", fmt.Errorf("%s has no upstream_headers, strip_headers or hide_credentials: there is no header to list", found.Name)
	}
	return p.text(l)
}

// plainPath is what each proxy reads as itself.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._~-]+$`)

// paths are those that the gate itself serves.
func paths(found *offline.Found) (all []string, err error) {
	for _, own := range found.OwnPaths() {
		if !plainPath.MatchString(own.Path) {
			return nil, fmt.Errorf("%s: the gate serves the path %.80q, which a proxy may read as a pattern: write its route by hand", found.Name, own.Path)
		}
		if !slices.Contains(all, own.Path) {
			all = append(all, own.Path)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no login.oidc and nothing else that the gate itself serves: there is no path to list", found.Name)
	}
	return all, nil
}

// can refuses a gate that the service would not load for the proxy.
func (p *proxy) can(of core.Demands) error {
	dialect, _, _ := strings.Cut(p.name, "-")
	e := settings.Endpoint{Dialect: dialect, ClientCertificate: settings.Presented} // which the snippet has the proxy pass on
	if unmet := hosts.Unmet(of, e.Can(), e.Proxy()); len(unmet) > 0 {
		return errors.New(unmet[0].String())
	}
	return nil
}

// without are the names that are none of others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return httpsyntax.FoldEqual(name, other) })
	})
}

func names() []string {
	all := make([]string, len(proxies))
	for i := range proxies {
		all[i] = proxies[i].name
	}
	return all
}

// listed says what is written for each proxy.
func listed() string {
	var b strings.Builder
	for _, p := range proxies {
		fmt.Fprintf(&b, "  %-15s %s\n", p.name, p.what)
	}
	return strings.TrimRight(b.String(), "\n")
}
