package extract

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// readParameter reads the token of a WebSocket handshake out of the target, because
// browsers cannot send a header with one. There it gets into logs and histories, so it
// counts nowhere else.
func (e *Extractor) readParameter(r *core.Request, taken httpsyntax.Parameter) (core.Credential, error) {
	where := "the query parameter " + e.parameter
	switch {
	case taken.Fault != "":
		return core.Credential{}, badCredential("%s %s", where, taken.Fault)
	case !isHandshake(r):
		return core.Credential{}, badCredential("%s counts in WebSocket handshakes only (RFC 6455 section 4.1)", where)
	}
	return checked(core.TokenParameter, taken.Value, where)
}

// taken is the parameter of the target, whether or not the gate has removed it yet.
func (e *Extractor) taken(r *core.Request) httpsyntax.Parameter {
	if e.parameter == "" || r.Parameter.Count > 0 {
		return r.Parameter
	}
	_, taken := httpsyntax.TakeParameter(r.Target, e.parameter)
	return taken
}

// isHandshake reports whether a request opens a WebSocket (RFC 6455 section 4.2.1).
func isHandshake(r *core.Request) bool {
	one := func(name, value string) bool {
		first, lines := r.Lookup(name)
		return lines == 1 && strings.EqualFold(strings.Trim(first, " \t"), value)
	}
	key, lines := r.Lookup("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(key, " \t"))
	return r.Method == http.MethodGet && one("Upgrade", "websocket") && one("Sec-WebSocket-Version", "13") &&
		lines == 1 && err == nil && len(nonce) == 16 && connectionNames(r, "upgrade")
}

func connectionNames(r *core.Request, option string) bool {
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Connection") {
			continue
		}
		for named := range strings.SplitSeq(r.Header[i].Value, ",") {
			if strings.EqualFold(strings.Trim(named, " \t"), option) {
				return true
			}
		}
	}
	return false
}

// addParameter is where a WebSocket handshake may have its token.
func (e *Extractor) addParameter(p Place) error {
	if e.parameter != "" {
		return fmt.Errorf("place %s: the query parameter %s already holds another credential", p.Name, e.parameter)
	}
	e.parameter = p.Parameter
	return nil
}
