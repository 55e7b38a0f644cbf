// Package decision has the section of a configuration by which a gate answers others that
// ask what its permission table allows: a policy decision point of the OpenID AuthZEN
// Authorization API 1.0.
package decision

import (
	"maps"
	"regexp"
	"slices"

	"gatehouse/core/authzen/decisionpoint"
	"gatehouse/core/authzen/target"
	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Point is the section.
type Point struct {
	Identifier          string         `config:"policy_decision_point" required:"true" starts_with:"http" doc:"URL by which services know the decision point, such as https://pdp.example.com, without a slash at its end. The gate serves /access/v1/evaluation and so on below its path, and the metadata at /.well-known/authzen-configuration followed by its path. The gateway must route these paths through the gate."`
	Askers              []Asker        `config:"askers" doc:"Who is answered. A caller that none of them describes gets 403."`
	InsecureAnonymous   bool           `config:"insecure_anonymous_askers" default:"false" doc:"Whether a client on the same machine (loopback) is answered without a credential, too, unless the request came through a proxy. For development only: every program there can then find out what the table allows."`
	SubjectTypes        []SubjectType  `config:"subject_types" required:"true" len_min:"1" doc:"Types of subjects that are asked about. To questions about others the answer is no."`
	Subjects            []Subject      `config:"subjects" doc:"What is known of subjects beside what subject_roles and the asker say."`
	RolesProperty       string         `config:"roles_property" default:"roles" doc:"Name of the property of a subject that states its roles: a list, or a string for a single role."`
	PermissionsProperty string         `config:"permissions_property" default:"permissions" doc:"Name of the property of a subject that states its permissions."`
	ScopesProperty      string         `config:"scopes_property" default:"scope" doc:"Name of the property of a subject that states its scopes: a list, or a string with spaces between them."`
	Host                string         `config:"host" doc:"Host of the calls that questions are about, where neither the question nor the type of the resource names one. Needed where the table names hosts: a call without a host is then covered by nothing."`
	RouteType           string         `config:"route_type" default:"route" doc:"Type of the resources whose id is the path of a request, and whose actions are methods: questions of gateways."`
	ResourceTypes       []ResourceType `config:"resource_types" doc:"Types of resources of an application, and the calls that actions on them are. To questions about others the answer is no."`
	Resources           []Resource     `config:"resources" doc:"What is known of resources."`
}

// Asker is who is answered.
type Asker struct {
	Issuer     string   `config:"issuer" doc:"Issuer of the asker's credential, exactly. Without it, subject and client_id are compared for credentials that name no issuer alone, such as API tokens of service accounts and client certificates."`
	Subject    string   `config:"subject" doc:"Subject of the asker's credential."`
	ClientID   string   `config:"client_id" doc:"Client of the asker's credential."`
	Permission string   `config:"permission" doc:"Permission of the table that the asker holds by its roles, scopes and so on. Of subject, client_id and permission one is needed, and all that are set must hold. A credential that was delegated (act) is never that of an asker."`
	MayState   []string `config:"may_state" one_of:"roles,permissions,scopes,claims,client_id,authentication,proof,peer" doc:"What is believed of what the asker says of subjects. roles, permissions, scopes: the properties named by roles_property and so on. claims: all others, for conditions. client_id: client_id and azp. authentication: aal, acr and auth_time, in the context or the properties. proof: proof (mtls or dpop) in the context. peer: peer, an IP address, in the context. Anything else counts as not said, but for act and cnf, which only narrow."`
}

// SubjectType is a type of subjects.
type SubjectType struct {
	Type   string `config:"type" required:"true" doc:"The type, such as user."`
	Issuer string `config:"issuer" doc:"Issuer of the credentials that such subjects have: of the claim iss in conditions, and of the subjects in subject_roles. Without it, subject_roles is not asked."`
	Kind   string `config:"credential" one_of:"session,jwt,introspection,api_token,mtls,spiffe,oidc" doc:"Kind of the credentials that such subjects have, for credentials of the table and claims.kind. Without it, what asks for a kind denies."`
	Client bool   `config:"client" default:"false" doc:"Whether the ids are those of clients that act for themselves (client_id)."`
}

// Subject is what is known of a subject.
type Subject struct {
	Type        string            `config:"type" required:"true" doc:"Type of the subject, one of subject_types."`
	ID          string            `config:"id" required:"true" doc:"The subject: sub of its credentials."`
	Roles       []string          `config:"roles" doc:"Roles of the subject."`
	Permissions []string          `config:"permissions" doc:"Permissions of the subject."`
	Scopes      []string          `config:"scopes" doc:"Scopes of the subject."`
	Claims      map[string]string `config:"claims" doc:"Claims of the subject, for conditions. What an asker states and may state comes first."`
}

// ResourceType is a type of resources of an application.
type ResourceType struct {
	Type    string            `config:"type" required:"true" doc:"The type, such as todo."`
	Path    string            `config:"path" doc:"The path that calls have, such as /todos/{id}, for actions that name none. {id}, {subject.id}, {resource.properties.NAME} and {action.properties.NAME} stand for values of the question, which are escaped; a parameter of the query without a value is left out, and a question without a value for the path is answered with no."`
	Host    string            `config:"host" doc:"Host of the calls. Without it: decision_point.host."`
	Actions map[string]string `config:"actions" doc:"Actions, and the call that each is: a method, or a method and a path such as PUT /todos/{id}?owner={resource.properties.owner}."`
}

// Resource is what is known of a resource.
type Resource struct {
	Type       string            `config:"type" required:"true" doc:"Type of the resource, one of resource_types or route_type."`
	ID         string            `config:"id" required:"true" doc:"The resource."`
	Properties map[string]string `config:"properties" doc:"Properties of the resource that count where a question does not state them."`
}

const at = "decision_point"

// Check reports what no single tag can say.
func (p *Point) Check(v section.Validator) {
	if p == nil {
		return
	}
	if p.Identifier != "" && !v.Mentions(at+".policy_decision_point") {
		if _, err := decisionpoint.CheckIdentifier(p.Identifier); err != nil {
			v.Add(at+".policy_decision_point", "%v", err)
		}
	}
	if len(p.Askers) == 0 && !p.InsecureAnonymous && !v.Mentions(at+".askers") {
		v.Add(at+".askers", "is needed: nobody else is answered")
	}
	for i, a := range p.Askers {
		if a.Subject == "" && a.ClientID == "" && a.Permission == "" {
			v.Add(section.Item(at+".askers", i), "needs subject, client_id or permission: it would be everybody")
		}
	}
	p.checkProperties(v)
	p.checkSubjects(v)
	p.checkResources(v)
}

var propertyName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (p *Point) checkProperties(v section.Validator) {
	seen := map[string]string{"sub": "", "iss": "", "act": "", "cnf": "", "client_id": "", "azp": "", "aal": "", "acr": "", "amr": "", "auth_time": ""}
	for _, property := range []struct{ setting, name string }{
		{at + ".roles_property", p.RolesProperty}, {at + ".permissions_property", p.PermissionsProperty}, {at + ".scopes_property", p.ScopesProperty},
	} {
		_, twice := seen[property.name]
		switch {
		case !propertyName.MatchString(property.name):
			v.Add(property.setting, "must be a name of letters, digits, '-' and '_'")
		case twice:
			v.Add(property.setting, "is the name of a property with another meaning")
		}
		seen[property.name] = property.setting
	}
}

func (p *Point) checkSubjects(v section.Validator) {
	types := map[string]bool{}
	for i, t := range p.SubjectTypes {
		if types[t.Type] {
			v.Add(section.Item(at+".subject_types", i)+".type", "is there twice")
		}
		types[t.Type] = true
	}
	known := map[[2]string]bool{}
	for i, s := range p.Subjects {
		item := section.Item(at+".subjects", i)
		p.checkKnown(v, item, [2]string{s.Type, s.ID}, types, known, "subject_types")
		for _, name := range []string{"sub", "iss", "act", "cnf", "client_id", "azp", p.RolesProperty, p.PermissionsProperty, p.ScopesProperty} {
			if _, named := s.Claims[name]; named {
				v.Add(setting.Join(item+".claims", name), "has a meaning of its own; leave it out, or use the settings beside claims")
			}
		}
	}
}

func (p *Point) checkKnown(v section.Validator, item string, id [2]string, types map[string]bool, known map[[2]string]bool, setting string) {
	switch {
	case id[0] == "" || id[1] == "": // is required
	case !types[id[0]]:
		v.Add(item+".type", "is not one of %s", setting)
	case known[id]:
		v.Add(item, "is there twice")
	}
	known[id] = true
}

func (p *Point) checkResources(v section.Validator) {
	if p.RouteType == "" {
		v.Add(at+".route_type", "is empty; leave it out for the default (route)")
	}
	types := map[string]bool{p.RouteType: true}
	for i, t := range p.ResourceTypes {
		item := section.Item(at+".resource_types", i)
		if types[t.Type] {
			v.Add(item+".type", "is there twice, or is the route_type")
		}
		types[t.Type] = true
		if len(t.Actions) == 0 {
			v.Add(item+".actions", "is needed: a resource without an action is never asked about")
		}
		for _, name := range slices.Sorted(maps.Keys(t.Actions)) {
			if _, err := target.Parse(t.Actions[name], t.Path); err != nil {
				v.Add(setting.Join(item+".actions", setting.ShownKey(name)), "%v", err)
			}
		}
	}
	known := map[[2]string]bool{}
	for i, r := range p.Resources {
		p.checkKnown(v, section.Item(at+".resources", i), [2]string{r.Type, r.ID}, types, known, "resource_types, nor the route_type")
	}
}
