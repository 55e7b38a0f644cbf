package site

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/dev/ory"
)

// render shows a flow that Kratos might send.
func render(t *testing.T, kind, flow string) string {
	t.Helper()
	var f ory.Flow
	if err := json.Unmarshal([]byte(flow), &f); err != nil {
		t.Fatal(err)
	}
	all, err := loadPages()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := all["flow"].Execute(&out, newFlowView(kind, f)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestEveryKindOfNodeIsShown(t *testing.T) {
	page := render(t, registrationFlow, `{"return_to": "http://127.0.0.1:8000/a?b=1&c=2", "ui": {"action": "http://127.0.0.1:4433/x?flow=1", "method": "POST",
		"messages": [{"id": 1, "type": "error", "text": "Form <i>error</i>"}],
		"nodes": [
			{"type": "input", "group": "default", "attributes": {"name": "csrf_token", "type": "hidden", "value": "tok\"en"}},
			{"type": "input", "group": "profile", "attributes": {"name": "traits.email", "type": "email", "value": "a@b", "required": true, "autocomplete": "email", "maxlength": 9, "pattern": "[a-z]+"},
			 "meta": {"label": {"text": "Email"}}, "messages": [{"type": "error", "text": "Field error"}]},
			{"type": "input", "group": "profile", "attributes": {"name": "traits.newsletter", "type": "checkbox", "value": true}, "meta": {"label": {"text": "News"}}},
			{"type": "input", "group": "profile", "attributes": {"name": "unlabelled", "type": "text", "disabled": true}},
			{"type": "text", "group": "totp", "attributes": {"id": "k", "text": {"text": "SECRET"}}, "meta": {"label": {"text": "Key"}}},
			{"type": "img", "group": "totp", "attributes": {"id": "q", "src": "data:image/png;base64,AAAA", "width": 8, "height": 9}, "meta": {"label": {"text": "QR"}}},
			{"type": "input", "group": "password", "attributes": {"name": "method", "type": "submit", "value": "password"}, "meta": {"label": {"text": "Go"}}}
		]}}`)
	for _, part := range []string{
		`<form action="http://127.0.0.1:4433/x?flow=1" method="post">`,
		`Form &lt;i&gt;error&lt;/i&gt;`,
		`<input type="hidden" name="csrf_token" value="tok&#34;en">`,
		`<input id="f-traits.email" type="email" name="traits.email" value="a@b" required autocomplete="email" pattern="[a-z]&#43;" maxlength="9" aria-invalid="true" aria-describedby="f-traits.email-messages">`,
		`Field error`,
		`<input id="f-traits.newsletter" type="checkbox" name="traits.newsletter" value="true" checked>`,
		`<input id="f-unlabelled" type="text" name="unlabelled" value="" disabled>`,
		`<label for="f-unlabelled">unlabelled`,
		`<code>SECRET</code>`,
		`src="data:image/png;base64,AAAA" alt="QR" width="8" height="9"`,
		`<button type="submit" name="method" value="password">Go</button>`,
		`to go on to <strong>127.0.0.1:8000</strong>`,
		`href="/login?return_to=http%3A%2F%2F127.0.0.1%3A8000%2Fa%3Fb%3D1%26c%3D2"`,
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestWhatNeedsJavaScriptIsLeftOut(t *testing.T) {
	page := render(t, loginFlow, `{"ui": {"action": "http://127.0.0.1:4433/", "method": "POST", "nodes": [
		{"type": "script", "group": "webauthn", "attributes": {"src": "http://127.0.0.1:4433/webauthn.js"}},
		{"type": "input", "group": "webauthn", "attributes": {"name": "a", "type": "button", "onclick": "x()"}},
		{"type": "input", "group": "webauthn", "attributes": {"name": "b", "type": "submit", "onclick": "x()"}}
	]}}`)
	if strings.Contains(page, "script") || strings.Contains(page, "x()") || strings.Contains(page, `name="a"`) || strings.Contains(page, `name="b"`) {
		t.Errorf("the page has what cannot work:\n%s", page)
	}
}

func TestScriptInAFlowIsNoScriptOnThePage(t *testing.T) {
	page := render(t, loginFlow, `{"return_to": "javascript:alert(1)", "ui": {"action": "javascript:alert(1)", "method": "POST", "nodes": []}}`)
	if strings.Contains(page, `"javascript:`) {
		t.Errorf("the page runs what the flow says:\n%s", page)
	}
	if _, err := inlineImage("data:image/svg+xml;base64,AAAA"); err == nil {
		t.Error("an SVG, which may hold a script, is taken for a QR code")
	}
}

func TestSettingsAreSavedGroupByGroup(t *testing.T) {
	page := render(t, settingsFlow, `{"ui": {"action": "http://127.0.0.1:4433/", "method": "POST", "nodes": [
		{"type": "input", "group": "default", "attributes": {"name": "csrf_token", "type": "hidden", "value": "t"}},
		{"type": "input", "group": "profile", "attributes": {"name": "traits.name", "type": "text", "value": ""}},
		{"type": "input", "group": "password", "attributes": {"name": "password", "type": "password", "required": true}}
	]}}`)
	if strings.Count(page, "<form") != 2 || strings.Count(page, `name="csrf_token"`) != 2 {
		t.Errorf("not two forms with a token each:\n%s", page)
	}
}
