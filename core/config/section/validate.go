package section

import (
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/setting"
)

// Validator checks sections beyond their tags.
type Validator struct{ *setting.Checker }

// Claims checks a list of claim paths.
func (v Validator) Claims(path, list string) {
	if _, err := ClaimPaths(list); err != nil {
		v.Add(path, "%v", err)
	}
}

func (v Validator) audience(path string, audience []string, insecure bool) {
	if len(audience) == 0 && !insecure {
		v.Add(path+".audience", "is needed, so that a token for another service does not pass; of an issuer that puts no aud into its tokens, audience_claim names the claim that tells, such as client_id; only insecure_any_audience does without")
	}
	if len(audience) > 0 && insecure {
		v.Add(path+".insecure_any_audience", "contradicts audience; remove one of them")
	}
}

func (v Validator) audienceClaim(path, list string) {
	v.Claims(path+".audience_claim", list)
	if paths, err := ClaimPaths(list); err == nil && len(paths) == 0 {
		v.Add(path+".audience_claim", "names no claim; leave it out for aud")
	}
}

// ClaimPaths reads a list of claim paths, separated by commas.
func ClaimPaths(list string) ([]core.ClaimPath, error) {
	paths := []core.ClaimPath{} // not nil: the authenticators would read that as their default
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		path, err := core.ParseClaimPath(text)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Item is the path of a member of a list.
func Item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// Leeways are those with which the times of credentials are read, by their settings. A
// section that is nil has none.
func Leeways(j *JWT, i *Introspection) map[string]setting.Seconds {
	leeways := map[string]setting.Seconds{}
	if j != nil {
		leeways["jwt.leeway"] = j.Leeway
	}
	if i != nil {
		leeways["introspection.leeway"] = i.Leeway
	}
	return leeways
}
