package authzen

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The paths of the endpoints below the identifier of a decision point that publishes no
// metadata.
const (
	EvaluationPath  = "/access/v1/evaluation"
	EvaluationsPath = "/access/v1/evaluations"
)

const wellKnown = "/.well-known/authzen-configuration"

// Metadata is what a decision point says of itself.
type Metadata struct {
	PolicyDecisionPoint string   `json:"policy_decision_point"`
	Evaluation          string   `json:"access_evaluation_endpoint"`
	Evaluations         string   `json:"access_evaluations_endpoint,omitempty"`
	SearchSubject       string   `json:"search_subject_endpoint,omitempty"`
	SearchResource      string   `json:"search_resource_endpoint,omitempty"`
	SearchAction        string   `json:"search_action_endpoint,omitempty"`
	Capabilities        []string `json:"capabilities,omitempty"`
}

// MetadataURL is where a decision point publishes its metadata: the well-known part stands
// between the host and the path of its identifier.
func MetadataURL(identifier string) (string, error) {
	u, err := url.Parse(identifier)
	switch {
	case err != nil:
		return "", errors.New("is not a URL")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(identifier, "#"):
		return "", errors.New("has a query or a fragment, which the identifier of a decision point does not have")
	}
	return u.Scheme + "://" + u.Host + wellKnown + strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

// Appended is the address of an endpoint by its default path.
func Appended(identifier, path string) string { return strings.TrimSuffix(identifier, "/") + path }

// DecodeMetadata reads the metadata of the decision point with an identifier. What names
// another one is not used.
func DecodeMetadata(body []byte, identifier string) (m Metadata, err error) {
	object, err := decode(body, MaxResponse)
	if err != nil {
		return Metadata{}, err
	}
	for _, to := range []struct {
		name  string
		value *string
	}{
		{"policy_decision_point", &m.PolicyDecisionPoint}, {"access_evaluation_endpoint", &m.Evaluation}, {"access_evaluations_endpoint", &m.Evaluations},
		{"search_subject_endpoint", &m.SearchSubject}, {"search_resource_endpoint", &m.SearchResource}, {"search_action_endpoint", &m.SearchAction},
	} {
		if *to.value, err = member[string](object, to.name, "a string"); err != nil {
			return Metadata{}, err
		}
	}
	switch {
	case m.PolicyDecisionPoint != identifier:
		return Metadata{}, fmt.Errorf("policy_decision_point is %.200q, not %.200q: the identifier must be written exactly so", m.PolicyDecisionPoint, identifier)
	case m.Evaluation == "":
		return Metadata{}, errors.New("access_evaluation_endpoint is absent")
	}
	return m, nil
}
