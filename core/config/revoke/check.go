package revoke

import (
	"regexp"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/httpsyntax"
)

// name is of a sender, which is a label of metrics.
var name = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

// Check reports what no single tag can say.
func (e *Endpoints) Check(v section.Validator, hasRevocation bool) {
	if !hasRevocation {
		v.Add("revocation_endpoints", "needs revocation: what the endpoints take has to be kept")
	}
	settings, paths := e.at()
	if len(settings) == 0 {
		v.Add("revocation_endpoints", "has no endpoint: set back_channel_logout, shared_signals, webhooks or admin")
	}
	for i, path := range paths {
		canonical, err := core.Canonical(path, core.PathOptions{})
		switch first := slices.Index(paths, path); {
		case path == "": // is required
		case err != nil || canonical != path || path == "/":
			v.Add(settings[i], "must be a path such as /revocations, without escapes, dot segments and double slashes")
		case first != i:
			v.Add(settings[i], "is that of %s", settings[first])
		}
	}
	e.checkIssuers(v)
	for i, w := range e.Webhooks {
		w.check(v, section.Item("revocation_endpoints.webhooks", i), e.Webhooks[:i])
	}
}

func (e *Endpoints) checkIssuers(v section.Validator) {
	if b := e.BackChannelLogout; b != nil {
		var seen []string
		for i, issuer := range b.Issuers {
			at := section.Item("revocation_endpoints.back_channel_logout.issuers", i)
			checkIssuer(v, at, issuer.Issuer, issuer.JWKSURI, issuer.JWKSFile, seen)
			checkTexts(v, at+".client_ids", issuer.ClientIDs)
			seen = append(seen, issuer.Issuer)
		}
	}
	if s := e.SharedSignals; s != nil {
		var seen []string
		for i, t := range s.Transmitters {
			at := section.Item("revocation_endpoints.shared_signals.transmitters", i)
			checkIssuer(v, at, t.Issuer, t.JWKSURI, t.JWKSFile, seen)
			checkTexts(v, at+".audience", t.Audience)
			checkTexts(v, at+".subject_issuers", t.SubjectIssuers)
			seen = append(seen, t.Issuer)
		}
		if s.PreviousSecret != "" && s.Secret == "" {
			v.Add("revocation_endpoints.shared_signals.previous_secret", "needs secret")
		}
	}
}

func checkIssuer(v section.Validator, at, issuer, uri, file string, seen []string) {
	switch {
	case issuer == "": // is required
	case slices.Contains(seen, issuer):
		v.Add(at+".issuer", "is listed twice")
	case strings.Contains(issuer, "*"):
		v.Add(at+".issuer", "holds *, which is not a wildcard: iss is compared as it is")
	case uri == "" && file == "":
		v.URL(at+".issuer", issuer)
	}
	if uri != "" && file != "" {
		v.Add(at+".jwks_file", "cannot be set beside jwks_uri")
	}
}

func checkTexts(v section.Validator, at string, texts []string) {
	if i := slices.Index(texts, ""); i >= 0 {
		v.Add(section.Item(at, i), "is empty")
	}
}

// notASecret are headers that frame a request or are set by proxies.
var notASecret = []string{"connection", "content-encoding", "content-length", "content-type", "cookie", "host", "te", "trailer", "transfer-encoding", "upgrade"}

func (w Webhook) check(v section.Validator, at string, before []Webhook) {
	if w.Name != "" && !name.MatchString(w.Name) {
		v.Add(at+".name", "must be a name of letters, digits, '-' and '_', of 40 characters at most")
	}
	if slices.ContainsFunc(before, func(other Webhook) bool { return other.Name == w.Name }) && w.Name != "" {
		v.Add(at+".name", "is that of another webhook")
	}
	if !httpsyntax.IsToken(w.Header) || slices.Contains(notASecret, strings.ToLower(w.Header)) {
		v.Add(at+".header", "is not the name of a header that can hold a secret")
	}
	if w.Issuer == "" && slices.Contains(w.Kinds, "issuer") {
		v.Add(at+".issuer", "is needed where kinds has issuer: the sender could revoke everybody's credentials; admin may")
	}
}
