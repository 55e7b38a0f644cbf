package config

import (
	"strings"
	"testing"
)

func TestConsumersOfAnAmbiguousUserAreRefused(t *testing.T) {
	const rest = "\npermission_table: \"authenticated: [GET /]\"\n"
	jwt := "jwt: {issuers: [{issuer: \"https://id.test\", audience: [a]}, {issuer: \"https://{tenant}.test\", tenants: [one, two], audience: [a]}]}\n"
	for name, c := range map[string]struct{ settings, want string }{
		"good":                 {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: sub}, {issuer: "https://two.test", consumer_claim: org.account, consumer_by: custom_id, consumer_optional: true}]`, ""},
		"no claim":             {jwt + `consumers: [{issuer: "https://id.test"}]`, "consumers[0].consumer_claim: is required"},
		"no issuer":            {jwt + `consumers: [{consumer_claim: sub}]`, "consumers[0].issuer: is required"},
		"empty claim":          {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: " "}]`, "consumers[0].consumer_claim"},
		"two claims":           {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: "sub,email"}]`, "consumers[0].consumer_claim: names several claims; name one: the value of another could be somebody else's"},
		"union":                {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: "sub + email"}]`, "consumers[0].consumer_claim: names several claims"},
		"two rules":            {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: sub}, {issuer: "https://id.test", consumer_claim: email}]`, "consumers[1].issuer: is there twice: the users of an issuer are found in one way"},
		"slash at the end":     {jwt + `consumers: [{issuer: "https://id.test/", consumer_claim: sub}]`, `consumers[0].issuer: is no issuer whose credentials are accepted, which are "https://id.test", "https://one.test", "https://two.test"; it is compared exactly, with or without a slash at its end`},
		"pattern":              {jwt + `consumers: [{issuer: "https://{tenant}.test", consumer_claim: sub}]`, "consumers[0].issuer: is no issuer"},
		"another look-up":      {jwt + `consumers: [{issuer: "https://id.test", consumer_claim: sub, consumer_by: email}]`, "consumers[0].consumer_by"},
		"any introspection":    {`introspection: {introspection_endpoint: "https://id.test/i", audience: [a]}` + "\n" + `consumers: [{issuer: "https://id.test", consumer_claim: sub}]`, "introspection.issuer: is needed for consumers: a server that may name any issuer could name another one's users"},
		"introspection":        {`introspection: {introspection_endpoint: "https://id.test/i", audience: [a], issuer: "https://id.test"}` + "\n" + `consumers: [{issuer: "https://id.test", consumer_claim: client_id}]`, ""},
		"sessions":             {`session: {kratos_url: "http://kratos.test"}` + "\n" + `consumers: [{issuer: "http://kratos.test", consumer_claim: identity.metadata_public.account}]`, ""},
		"trait":                {`session: {kratos_url: "http://kratos.test"}` + "\n" + `consumers: [{issuer: "http://kratos.test", consumer_claim: identity.traits.email}]`, "consumers[0].consumer_claim: is a trait, which users change themselves, and so would choose their consumer; use sub, identity.metadata_public or identity.metadata_admin"},
		"header of the gate":   {jwt + `upstream_headers: {X-Consumer-Username: sub}` + "\n" + `consumers: [{issuer: "https://id.test", consumer_claim: sub}]`, "upstream_headers.X-Consumer-Username: is a header by which the gateway itself tells of the consumer; use another name beside consumers"},
		"header without them":  {jwt + `upstream_headers: {X-Consumer-Username: sub}`, ""},
		"header stripped":      {jwt + `strip_headers: [X-Consumer-Username]` + "\n" + `consumers: [{issuer: "https://id.test", consumer_claim: sub}]`, ""},
		"beside a native name": {jwt + `consumer_claim: sub`, "consumer_claim"},
	} {
		_, err := Load([]byte(c.settings + rest))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
