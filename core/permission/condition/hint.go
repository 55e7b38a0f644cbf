package condition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"gatehouse/core/permission/report"
)

// celProblems words the errors of CEL. What looks like another language is one error
// that says what to write; CEL's own would be about what it read instead.
func celProblems(issues *cel.Issues, text string) []Problem {
	var problems []Problem
	for _, e := range issues.Errors() {
		if strings.HasPrefix(e.Message, "Syntax error") || strings.HasPrefix(e.Message, "reserved identifier") {
			if p, found := foreign(text); found {
				return []Problem{p}
			}
		}
		message, _, _ := strings.Cut(e.Message, "\n")
		message, _, _ = strings.Cut(message, " expecting {") // a list of every token there is
		message = strings.TrimSuffix(message, " (in container '')")
		problems = append(problems, Problem{e.Location.Line() - 1, e.Location.Column(), "not a valid condition: " + undeclared(message)})
	}
	return problems
}

// foreign finds what other languages write for an operator of CEL.
func foreign(text string) (p Problem, found bool) {
	plain := withoutTexts(text)
	first := len(text)
	for _, o := range looksLike {
		for _, at := range o.regex.FindAllStringSubmatchIndex(plain, -1) {
			if at[2] < first {
				first = at[2]
				line, column := position(text, at[2])
				p = Problem{line, column, fmt.Sprintf("not a valid condition: %s is no operator of CEL; write %s", report.Quote(text[at[2]:at[3]]), o.write)}
			}
		}
	}
	return p, first < len(text)
}

// operator is one of another language; the first group of its regex is its text.
type operator struct {
	regex *regexp.Regexp
	write string
}

// infix is an operator that is a word between two values.
func infix(words string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)[\w)\]'"]\s*\b(` + words + `)\b\s*['"\w\[!(-]`)
}

var looksLike = []operator{
	{regexp.MustCompile(`(?:^|[^=!<>~])(===|=)(?:[^=~>]|$)`), "== to compare"},
	{regexp.MustCompile(`(!==)`), "!="},
	{regexp.MustCompile(`(<>)`), "!="},
	{regexp.MustCompile(`([=!]~)`), "claims.name.matches('^...$')"},
	{regexp.MustCompile(`(?:^|[^&])(&)(?:[^&]|$)`), "&& for and"},
	{regexp.MustCompile(`(?:^|[^|])(\|)(?:[^|]|$)`), "|| for or"},
	{infix(`and`), "&&"},
	{infix(`or`), "||"},
	{regexp.MustCompile(`(?i)(?:^|[(&|! ])(not)[ (]`), "! for not, as in !(claims.name == 'x')"},
	{infix(`eq|is|equals`), "=="},
	{infix(`ne|neq`), "!="},
	{infix(`contains|includes|has`), "claims.name.contains('x') for a text, or 'x' in claims.names for a list"},
	{infix(`matches|like|regex`), "claims.name.matches('^...$')"},
	{infix(`startsWith|starts_with`), "claims.name.startsWith('x')"},
	{infix(`endsWith|ends_with`), "claims.name.endsWith('x')"},
	{regexp.MustCompile(`(\bin[ ]*\()`), "in ['a', 'b'] for one of several"},
	{regexp.MustCompile(`(\$\{|\{\{|\$)`), "names as they are, such as claims.name, and no templates"},
	{regexp.MustCompile(`([\x{2018}\x{2019}\x{201c}\x{201d}])`), "straight quotes"},
	{regexp.MustCompile(`(?:^|[(&| ])(if)\b`), "CONDITION ? A : B, or only the condition"},
}

// withoutTexts replaces the texts of an expression by letters, with all places kept.
func withoutTexts(text string) string {
	plain := []byte(text)
	for i := 0; i < len(plain); i++ {
		quote := plain[i]
		if quote != '\'' && quote != '"' {
			continue
		}
		for i++; i < len(plain) && plain[i] != quote; i++ {
			if plain[i] == '\\' && i+1 < len(plain) {
				plain[i] = 'x'
				i++
			}
			plain[i] = 'x'
		}
	}
	return string(plain)
}

// position is a place in a text, as CEL counts: lines and characters from 0.
func position(text string, at int) (line, column int) {
	before := text[:at]
	line = strings.Count(before, "\n")
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

var unknownName = regexp.MustCompile(`^undeclared reference to '([^']+)'`)

// undeclared says by which variable something is read that CEL does not know.
func undeclared(message string) string {
	parts := unknownName.FindStringSubmatch(message)
	if parts == nil {
		return message
	}
	name := parts[1]
	for _, m := range meant {
		if slices.Contains(strings.Fields(m.names), strings.ToLower(name)) {
			return fmt.Sprintf("%s; %s", parts[0], m.write)
		}
	}
	if isClaim(name) {
		return fmt.Sprintf("%s; write claims.%s", parts[0], name)
	}
	if strings.Contains(message, "did you mean") {
		return message
	}
	return fmt.Sprintf("%s%s; a condition reads %s, and a text stands in quotes", parts[0], report.DidYouMean(name, variables), strings.Join(variables, ", "))
}

// isClaim names the claims that mean the same for every kind of credential.
func isClaim(name string) bool {
	return slices.Contains([]string{"sub", "iss", "aud", "kind", "client_id", "scope", "roles", "permissions", "aal", "auth_time", "exp", "email", "tenant", "azp", "scp", "groups"}, name)
}

// meant are names of other languages and policies, in lower case.
var meant = []struct{ names, write string }{
	{"request req http context ctx input attributes", "write method, host, peer, headers['x-name'], query.name or path.group for a part of the request, and claims.name for the caller"},
	{"user subject principal identity token jwt auth claim credential session account caller consumer profile userinfo id_token access_token", "the caller is claims.sub, and what the credential states is claims.name"},
	{"ip remote_addr client_ip remote source source_ip client remote_ip clientip", "write peer for the address that is connected"},
	{"uri url path_info request_uri params pathparams path_params", "write path.group for a named group of the path regex"},
	{"verb http_method request_method", "write method"},
	{"hostname domain authority server_name", "write host"},
	{"header http_headers", "write headers['x-name']"},
	{"args arg parameters queryparams query_params querystring", "write query.name"},
	{"len length count", "write size(claims.name)"},
	{"hasprefix starts_with beginswith", "write claims.name.startsWith('x')"},
	{"hassuffix ends_with", "write claims.name.endsWith('x')"},
	{"includes", "write 'x' in claims.names for a list, or claims.name.contains('x') for a text"},
	{"match test regex regexmatch rlike", "write claims.name.matches('^...$')"},
	{"any some", "write claims.names.exists(n, n == 'x')"},
	{"every", "write claims.names.all(n, n == 'x')"},
	{"not", "write ! for not, as in !(claims.name == 'x')"},
	{"nil none undefined", "write null, or has(claims.name) to ask whether a claim is there"},
	{"true false", "write true or false in lower case"},
	{"now time date", "a condition has no clock; the age of a sign-in is max_age under require"},
}

// shape refuses what asks a list for a part of its text, or a text for a member: both
// fail on every request, which reads as a caller without the claim.
func (r *reader) shape(e ast.Expr, c ast.CallExpr) {
	named := func(e ast.Expr, claim string) bool {
		variable, name, ok := readByName(e)
		return ok && variable == claimsVar && name == claim
	}
	texts := []string{"contains", "startsWith", "endsWith", "matches"}
	switch {
	case c.IsMemberFunction() && slices.Contains(texts, c.FunctionName()) && named(c.Target(), "roles"):
		r.refuse(e, "claims.roles is a list, which has no %s(); write 'NAME' in claims.roles", c.FunctionName())
	case c.FunctionName() == operators.In && named(c.Args()[1], "scope"):
		r.refuse(e, "claims.scope is one text, which has no members; demand scopes by any_scope or all_scopes under require")
	}
}
