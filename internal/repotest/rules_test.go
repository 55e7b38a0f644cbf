package repotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

// modules are the folders of the product's module and of those of its
// development and tests, which the Makefile lists, too.
var modules = []string{".", "dev", "e2e", "deploy/deploytest", "deploy/monitoringtest", "packaging"}

// allPackages are the packages of all modules.
func allPackages(t *testing.T) (all []goPackage) {
	t.Helper()
	for _, module := range modules {
		all = append(all, packages(t, module)...)
	}
	return all
}

func packages(t *testing.T, module string) []goPackage {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	list.Dir = filepath.Join(root, module)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layer orders the product: an import may only point to a lower layer, or
// stay within its own where beside says so.
func layer(path string) (rank int, beside bool) {
	switch {
	case path == "gatehouse/core/httpsyntax", path == "gatehouse/core/claimpath", path == "gatehouse/core/actor":
		return -1, false
	case path == "gatehouse/core/form", path == "gatehouse/core/request":
		return 0, false
	case path == "gatehouse/core":
		return 1, false
	case path == "gatehouse/core/config":
		return 6, false
	case path == "gatehouse/core/config/tablesource", path == "gatehouse/core/config/audit", path == "gatehouse/core/config/asking":
		return 5, false
	case path == "gatehouse/core/config/answer", path == "gatehouse/core/config/alone", path == "gatehouse/core/config/otlp", path == "gatehouse/core/config/certificate", path == "gatehouse/core/config/certheader", path == "gatehouse/core/config/consumer", path == "gatehouse/core/config/decision", path == "gatehouse/core/config/fleet", path == "gatehouse/core/config/proof", path == "gatehouse/core/config/revoke", path == "gatehouse/core/config/signin", path == "gatehouse/core/config/spiffe", path == "gatehouse/core/config/tables", path == "gatehouse/core/config/token":
		return 4, false
	case path == "gatehouse/core/config/section":
		return 3, false
	case path == "gatehouse/core/config/enrichment":
		return 3, true
	case strings.HasPrefix(path, "gatehouse/core/"):
		return 2, true
	}
	return 7, true
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t, ".") {
		from, beside := layer(p.ImportPath)
		for _, path := range p.Imports {
			if !strings.HasPrefix(path, "gatehouse/") {
				if p.ImportPath == "gatehouse/core" && strings.Contains(path, ".") {
					t.Errorf("core imports %s; it may use the standard library only", path)
				}
				continue
			}
			if to, _ := layer(path); to > from || to == from && !beside {
				t.Errorf("%s imports %s, against the direction hosts -> core/config -> core/... -> core -> core/httpsyntax", p.ImportPath, path)
			}
			if path == "gatehouse/core/coretest" && !strings.HasSuffix(p.ImportPath, "test") { // of a helper for tests
				t.Errorf("%s imports coretest outside a test", p.ImportPath)
			}
		}
	}
}

// Packages under core may import each other only where it is listed here.
func TestCorePackagesKnowFewOthers(t *testing.T) {
	allowed := map[string][]string{
		"gatehouse/core/authn/apitoken":           {"gatehouse/core", "gatehouse/core/httpsyntax", "gatehouse/core/permission/pattern"},
		"gatehouse/core/authn/apitoken/api":       {"gatehouse/core", "gatehouse/core/authn/apitoken", "gatehouse/core/authn/apitoken/manage", "gatehouse/core/authn/attempts", "gatehouse/core/authn/claims", "gatehouse/core/fair", "gatehouse/core/revocation/receive"},
		"gatehouse/core/authn/apitoken/manage":    {"gatehouse/core/authn/apitoken", "gatehouse/core/revocation"},
		"gatehouse/core/authn/apitoken/tokenfile": {"gatehouse/core/authn/apitoken", "gatehouse/core/authn/apitoken/manage", "gatehouse/core/follow", "gatehouse/core/setting"},
		"gatehouse/core/fleet/apitokens":          {"gatehouse/core", "gatehouse/core/authn/apitoken", "gatehouse/core/authn/apitoken/manage", "gatehouse/core/fleet/postgres"},

		"gatehouse/core/authzen":                  {"gatehouse/core/authn/claims"},
		"gatehouse/core/authzen/target":           {"gatehouse/core", "gatehouse/core/authzen", "gatehouse/core/httpsyntax"},
		"gatehouse/core/authzen/decisionpoint":    {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authzen", "gatehouse/core/authzen/target", "gatehouse/core/claimpath", "gatehouse/core/fair", "gatehouse/core/fleet/subjects", "gatehouse/core/httpsyntax", "gatehouse/core/revocation/receive"},
		"gatehouse/core/authzen/pep":              {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/idp", "gatehouse/core/authzen", "gatehouse/core/cache", "gatehouse/core/fair", "gatehouse/core/httpsyntax", "gatehouse/core/keyedhash", "gatehouse/core/permission/ask"},
		"gatehouse/core/authn/spiffe":             {"gatehouse/core", "gatehouse/core/authn", "gatehouse/core/authn/certificate", "gatehouse/core/authn/claims", "gatehouse/core/authn/jws", "gatehouse/core/authn/jwt", "gatehouse/core/follow"},
		"gatehouse/core/authn/spiffe/spiffetest":  {"gatehouse/core/coretest"},
		"gatehouse/core/config/spiffe":            {"gatehouse/core", "gatehouse/core/authn", "gatehouse/core/authn/claims", "gatehouse/core/authn/jwt", "gatehouse/core/authn/spiffe", "gatehouse/core/config/section", "gatehouse/core/extract", "gatehouse/core/setting"},
		"gatehouse/core/actor":                    {},
		"gatehouse/core/authn":                    {"gatehouse/core", "gatehouse/core/actor", "gatehouse/core/permission/pattern"},
		"gatehouse/core/authn/attempts":           {"gatehouse/core", "gatehouse/core/authn", "gatehouse/core/fair", "gatehouse/core/keyedhash", "gatehouse/core/secondrun"},
		"gatehouse/core/secondrun":                {"gatehouse/core", "gatehouse/core/keyedhash"},
		"gatehouse/core/authn/claims":             {"gatehouse/core", "gatehouse/core/actor", "gatehouse/core/claimpath"},
		"gatehouse/core/authn/certificate":        {"gatehouse/core", "gatehouse/core/extract"},
		"gatehouse/core/authn/certificate/status": {"gatehouse/core"},
		"gatehouse/core/config/certificate":       {"gatehouse/core", "gatehouse/core/authn/certificate", "gatehouse/core/authn/certificate/status", "gatehouse/core/authn/claims", "gatehouse/core/config/section", "gatehouse/core/extract", "gatehouse/core/setting", "gatehouse/core/shared"},
		"gatehouse/core/authn/mtls":               {"gatehouse/core", "gatehouse/core/authn", "gatehouse/core/authn/claims"},
		"gatehouse/core/authn/idp":                {"gatehouse/core", "gatehouse/core/fair"},
		"gatehouse/core/authn/dpop":               {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/jws", "gatehouse/core/fleet/seal", "gatehouse/core/httpsyntax", "gatehouse/core/keyedhash", "gatehouse/core/secondrun"},
		"gatehouse/core/authn/dpop/uses":          {"gatehouse/core/keyedhash"},
		"gatehouse/core/fleet/proofs":             {"gatehouse/core/authn/dpop", "gatehouse/core/keyedhash"},
		"gatehouse/core/authn/jws":                {"gatehouse/core/authn/claims", "gatehouse/core/authn/jwt/strength"},
		"gatehouse/core/authn/clientauth":         {"gatehouse/core/authn/claims", "gatehouse/core/authn/discovery", "gatehouse/core/authn/idp"},
		"gatehouse/core/authn/discovery":          {"gatehouse/core/authn/claims", "gatehouse/core/authn/idp"},
		"gatehouse/core/config/client":            {"gatehouse/core/authn/clientauth", "gatehouse/core/authn/idp", "gatehouse/core/setting"},
		"gatehouse/core/authn/jwt":                {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/discovery", "gatehouse/core/authn/idp", "gatehouse/core/authn/jws"},
		"gatehouse/core/authn/session":            {"gatehouse/core", "gatehouse/core/httpsyntax", "gatehouse/core/authn/claims", "gatehouse/core/authn/idp"},
		"gatehouse/core/authn/introspection":      {"gatehouse/core", "gatehouse/core/httpsyntax", "gatehouse/core/authn/claims", "gatehouse/core/authn/clientauth", "gatehouse/core/authn/idp"},
		"gatehouse/core/config/foreign":           {"gatehouse/core/setting"},
		"gatehouse/core/clientcert":               {"gatehouse/core"},
		"gatehouse/core/config/hosts":             {"gatehouse/core", "gatehouse/core/setting"},
		"gatehouse/core/cache":                    {"gatehouse/core", "gatehouse/core/fair", "gatehouse/core/keyedhash"},
		"gatehouse/core/fair":                     {"gatehouse/core"},
		"gatehouse/core/keyedhash":                {},
		"gatehouse/core/follow":                   {},
		"gatehouse/core/browser":                  {"gatehouse/core", "gatehouse/core/follow", "gatehouse/core/form", "gatehouse/core/httpsyntax", "gatehouse/core/origin"},
		"gatehouse/core/crosssite":                {"gatehouse/core", "gatehouse/core/origin"},
		"gatehouse/core/origin":                   {"gatehouse/core/httpsyntax"},
		"gatehouse/core/revocation":               {"gatehouse/core", "gatehouse/core/statedir"},
		"gatehouse/core/fleet/attempts":           {"gatehouse/core/authn/attempts", "gatehouse/core/fleet/seal", "gatehouse/core/keyedhash"},
		"gatehouse/core/fleet/redis":              {},
		"gatehouse/core/fleet/seal":               {},
		"gatehouse/core/fleet/sharedcache":        {"gatehouse/core", "gatehouse/core/cache", "gatehouse/core/fleet/seal", "gatehouse/core/keyedhash"},
		"gatehouse/core/fleet/revocations":        {"gatehouse/core/fleet/redis", "gatehouse/core/fleet/seal", "gatehouse/core/revocation"},
		"gatehouse/core/fleet/subjects":           {"gatehouse/core", "gatehouse/core/cache", "gatehouse/core/fleet/postgres", "gatehouse/core/keyedhash"},
		"gatehouse/core/fleet/lastgood":           {"gatehouse/core/statedir"},
		"gatehouse/core/fleet/classic":            {"gatehouse/core/fleet/lastgood", "gatehouse/core/fleet/postgres", "gatehouse/core/permission/live", "gatehouse/core/permission/sqlimport", "gatehouse/core/permission/tablefile"},
		"gatehouse/core/fleet/bundle":             {"gatehouse/core/authn/claims", "gatehouse/core/authn/idp", "gatehouse/core/fleet/lastgood", "gatehouse/core/permission/live", "gatehouse/core/permission/strictyaml", "gatehouse/core/permission/tablefile"},
		"gatehouse/core/claimpath":                {},
		"gatehouse/core/httpsyntax":               {},
		"gatehouse/core/form":                     {"gatehouse/core/httpsyntax"},
		"gatehouse/core/request":                  {"gatehouse/core/httpsyntax"},
		"gatehouse/core/extract":                  {"gatehouse/core", "gatehouse/core/httpsyntax"},
		"gatehouse/core/identity":                 {"gatehouse/core", "gatehouse/core/claimpath", "gatehouse/core/extract", "gatehouse/core/httpsyntax"},
		"gatehouse/core/login":                    {"gatehouse/core", "gatehouse/core/form", "gatehouse/core/httpsyntax"},
		"gatehouse/core/metadata":                 {"gatehouse/core"},
		"gatehouse/core/account":                  {"gatehouse/core"},
		"gatehouse/core/audit":                    {"gatehouse/core", "gatehouse/core/account", "gatehouse/core/request"},
		"gatehouse/core/audit/kept":               {"gatehouse/core/account", "gatehouse/core/permission", "gatehouse/core/permission/tablefile", "gatehouse/core/statedir"},
		"gatehouse/core/audit/sink":               {},
		"gatehouse/core/observe":                  {"gatehouse/core", "gatehouse/core/audit"},
		"gatehouse/core/otlp":                     {},
		"gatehouse/core/otlp/records":             {"gatehouse/core/audit"},
		"gatehouse/core/shared":                   {},
		"gatehouse/core/setting":                  {"gatehouse/core/permission/report"},
		"gatehouse/core/coretest":                 {"gatehouse/core", "gatehouse/core/authn/idp"},

		"gatehouse/core/fleet/revocations/durable": {"gatehouse/core/fleet/postgres", "gatehouse/core/revocation"},
		"gatehouse/core/fleet/revocations/feeds":   {"gatehouse/core/fleet/revocations", "gatehouse/core/fleet/revocations/durable", "gatehouse/core/revocation"},

		// Tokens for services.
		"gatehouse/core/upstreamtoken":          {"gatehouse/core", "gatehouse/core/identity", "gatehouse/core/keyedhash", "gatehouse/core/permission/pattern"},
		"gatehouse/core/upstreamtoken/signing":  {"gatehouse/core/authn/claims", "gatehouse/core/authn/jwt/strength"},
		"gatehouse/core/upstreamtoken/mint":     {"gatehouse/core", "gatehouse/core/keyedhash", "gatehouse/core/upstreamtoken", "gatehouse/core/upstreamtoken/signing"},
		"gatehouse/core/gatewaytoken":           {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/jwt", "gatehouse/core/upstreamtoken/mint", "gatehouse/core/upstreamtoken/signing"},
		"gatehouse/core/gatewaytoken/exchange":  {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/jwt", "gatehouse/core/gatewaytoken", "gatehouse/core/httpsyntax", "gatehouse/core/upstreamtoken/mint"},
		"gatehouse/core/upstreamtoken/exchange": {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/clientauth", "gatehouse/core/authn/idp", "gatehouse/core/fair", "gatehouse/core/httpsyntax", "gatehouse/core/keyedhash", "gatehouse/core/upstreamtoken"},

		// Where events of revocation come from.
		"gatehouse/core/revocation/receive":             {"gatehouse/core", "gatehouse/core/authn/attempts", "gatehouse/core/cache", "gatehouse/core/fair", "gatehouse/core/httpsyntax", "gatehouse/core/revocation", "gatehouse/core/shared"},
		"gatehouse/core/revocation/receive/receivetest": {"gatehouse/core", "gatehouse/core/revocation", "gatehouse/core/revocation/receive"},
		"gatehouse/core/revocation/backchannel":         {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/jwt", "gatehouse/core/revocation", "gatehouse/core/revocation/receive"},
		"gatehouse/core/revocation/signals":             {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/jwt", "gatehouse/core/revocation", "gatehouse/core/revocation/receive"},
		"gatehouse/core/revocation/webhook":             {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/revocation", "gatehouse/core/revocation/receive"},

		// The database.
		"gatehouse/core/fleet/postgres":         {},
		"gatehouse/core/fleet/postgres/migrate": {"gatehouse/core/fleet/postgres/migrations"},
		"gatehouse/core/fleet/tables":           {"gatehouse/core/fleet/postgres", "gatehouse/core/permission", "gatehouse/core/permission/live", "gatehouse/core/permission/strictyaml", "gatehouse/core/permission/tablefile", "gatehouse/core/shared", "gatehouse/core/statedir"},
		"gatehouse/core/statedir":               {},

		// Browsers that sign in at the gate.
		"gatehouse/core/signin/enrich":      {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/idp", "gatehouse/core/cache", "gatehouse/core/keyedhash", "gatehouse/core/upstreamtoken/mint"},
		"gatehouse/core/signin/flow":        {"gatehouse/core", "gatehouse/core/extract", "gatehouse/core/fair", "gatehouse/core/fleet/seal", "gatehouse/core/form", "gatehouse/core/httpsyntax", "gatehouse/core/login", "gatehouse/core/signin/oidc", "gatehouse/core/signin/session"},
		"gatehouse/core/signin/oidc":        {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/authn/clientauth", "gatehouse/core/authn/idp", "gatehouse/core/authn/jwt", "gatehouse/core/signin/session"},
		"gatehouse/core/signin/session":     {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/extract", "gatehouse/core/fleet/seal", "gatehouse/core/httpsyntax", "gatehouse/core/keyedhash", "gatehouse/core/signin/enrich"},
		"gatehouse/core/signin/tokencookie": {"gatehouse/core", "gatehouse/core/authn/claims", "gatehouse/core/gatewaytoken", "gatehouse/core/signin/enrich", "gatehouse/core/signin/session", "gatehouse/core/upstreamtoken/mint"},
	}
	for _, p := range packages(t, ".") {
		rank, _ := layer(p.ImportPath)
		configures := rank > 2 && rank < 7
		if configures || !strings.HasPrefix(p.ImportPath, "gatehouse/core/") || (p.ImportPath == "gatehouse/core/permission" || strings.HasPrefix(p.ImportPath, "gatehouse/core/permission/")) {
			continue
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "gatehouse/") && !slices.Contains(allowed[p.ImportPath], path) && !strings.HasPrefix(path, p.ImportPath+"/") {
				t.Errorf("%s imports %s, which TestCorePackagesKnowFewOthers does not list", p.ImportPath, path)
			}
		}
	}
}

// permissionRooms are the packages of core/permission from the bottom. Each may
// import what is listed for it: packages of core, and rooms that stand above it
// in this list.
var permissionRooms = []struct{ name, imports string }{
	{"permission/report", ""},
	{"permission/names", ""},
	{"permission/automaton", ""},
	{"permission/idset", ""},
	{"permission/pattern", "permission/report"},
	{"permission/subject", "actor"},
	{"permission/pathindex", "permission/automaton permission/pattern"},
	{"permission/variant", "permission/pattern permission/report"},
	{"permission/formula", ""},
	{"permission/condition", "core httpsyntax permission/pattern permission/report permission/formula"},
	{"permission/ask", "core authzen permission/condition permission/pattern permission/report"},
	{"permission/require", "core authzen permission/ask permission/report permission/subject permission/condition"},
	{"permission/mcp", "core httpsyntax request permission/pattern permission/pathindex"},
	{"permission/model", "core permission/ask permission/subject permission/require permission/variant permission/report permission/names permission/pattern permission/pathindex permission/condition permission/mcp"},
	{"permission/roles", "permission/idset permission/model permission/report"},
	{"permission", "account core actor permission/ask permission/roles permission/subject permission/variant permission/require permission/report permission/names permission/pattern permission/pathindex permission/condition permission/idset permission/model permission/mcp"},
	{"permission/strictyaml", "permission/report"},
	{"permission/askfile", "authzen permission/ask permission/report permission/strictyaml"},
	{"permission/tablefile", "core actor permission/askfile permission/subject permission permission/require permission/report permission/names permission/pattern permission/condition permission/strictyaml permission/mcp permission/model"},
	{"permission/live", "account core follow permission permission/tablefile"},
	{"permission/inspect", "core permission permission/subject"},
	{"permission/callers", "core authzen permission/ask permission/pattern permission/subject permission/condition permission/formula permission/require"},
	{"permission/analysis", "core permission permission/variant permission/automaton permission/pattern permission/mcp"},
	{"permission/passing", "core permission permission/model permission/mcp permission/pattern permission/subject permission/condition permission/formula permission/require permission/automaton permission/callers permission/analysis"},
	{"permission/analysis/lint", "core permission permission/subject permission/variant permission/require permission/report permission/formula permission/automaton permission/callers permission/analysis permission/passing permission/mcp"},
	{"permission/analysis/diff", "core permission permission/subject permission/require permission/formula permission/automaton permission/callers permission/analysis permission/passing permission/model"},
	{"permission/prove", "core permission permission/report permission/formula permission/require permission/automaton permission/callers permission/analysis permission/passing"},
	{"permission/expectation", "core actor permission/prove permission/require permission/report permission/strictyaml permission/tablefile"},
	{"permission/draft", "permission permission/require permission/report permission/names permission/tablefile"},
	{"permission/openapi", "core permission/pattern permission/automaton permission/analysis permission/draft"},
	{"permission/sqlimport", "permission permission/draft"},
	{"permission/accesslog", "audit core httpsyntax permission/mcp request"},
	{"permission/replay", "audit core httpsyntax permission permission/ask permission/mcp permission/accesslog permission/inspect"},
	{"permission/tableedit", "permission permission/report permission/tablefile"},
	{"permission/tighten", "audit core permission permission/mcp permission/accesslog permission/analysis/diff permission/inspect permission/report permission/tableedit"},
}

// A room of core/permission that knew more than it needs would again be hard to
// enter: nothing below the table knows YAML, and only pathindex knows matching.
func TestArrowsOfPermissionPointDown(t *testing.T) {
	allowed := map[string][]string{}
	below := []string{"gatehouse/core", "gatehouse/core/account", "gatehouse/core/audit", "gatehouse/core/actor", "gatehouse/core/authzen", "gatehouse/core/httpsyntax", "gatehouse/core/request", "gatehouse/core/follow"}
	for _, room := range permissionRooms {
		path := "gatehouse/core/" + room.name
		allowed[path] = []string{}
		for _, name := range strings.Fields(room.imports) {
			to := strings.TrimSuffix("gatehouse/core/"+name, "/core")
			if !slices.Contains(below, to) {
				t.Errorf("%s may import %s, which does not stand below it", path, to)
			}
			allowed[path] = append(allowed[path], to)
		}
		below = append(below, path)
	}
	for _, p := range packages(t, ".") {
		if p.ImportPath != "gatehouse/core/permission" && !strings.HasPrefix(p.ImportPath, "gatehouse/core/permission/") {
			continue
		}
		list, known := allowed[p.ImportPath]
		if !known {
			t.Errorf("%s is no room of permissionRooms; give it its place there", p.ImportPath)
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "gatehouse/") && !slices.Contains(list, path) {
				t.Errorf("%s imports %s, which permissionRooms does not list", p.ImportPath, path)
			}
		}
		for _, trade := range []struct{ library, room string }{
			{"cel.dev/", "condition"}, {"go.yaml.in/", "strictyaml, askfile, tablefile, tableedit, expectation or openapi"}, {"github.com/jackc/pgx/", "sqlimport"},
		} {
			uses := slices.ContainsFunc(p.Imports, func(path string) bool { return strings.HasPrefix(path, trade.library) })
			if uses && !strings.Contains(trade.room, filepath.Base(p.ImportPath)) {
				t.Errorf("%s imports %s, which is the trade of %s", p.ImportPath, trade.library, trade.room)
			}
		}
	}
}

// roomLines is how many lines without tests a package of core may have before it
// is hard to enter; the one that is larger may not grow.
const roomLines = 1500

var largerRooms = map[string]int{"gatehouse/core": 1600}

func TestNoRoomOfCoreIsTooLarge(t *testing.T) {
	for _, p := range packages(t, ".") {
		if p.ImportPath != "gatehouse/core" && !strings.HasPrefix(p.ImportPath, "gatehouse/core/") {
			continue
		}
		lines, limit := 0, roomLines
		if larger, ok := largerRooms[p.ImportPath]; ok {
			limit = larger
		}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(text, []byte("\n"))
		}
		if lines > limit {
			t.Errorf("%s has %d lines, want %d at most; split it by what its parts know", p.ImportPath, lines, limit)
		}
	}
}

// The database is reached in one place, with its time limits and its breaker; what makes
// its schema is in no gateway's process.
func TestOnlyTheRoomsOfTheDatabaseKnowIt(t *testing.T) {
	for _, p := range packages(t, ".") {
		for _, path := range p.Imports {
			switch {
			case strings.HasPrefix(path, "github.com/pressly/goose/") && p.ImportPath != "gatehouse/core/fleet/postgres/migrate":
				t.Errorf("%s imports %s, which is the trade of core/fleet/postgres/migrate", p.ImportPath, path)
			case strings.HasPrefix(path, "github.com/jackc/pgx/") && !strings.HasPrefix(p.ImportPath, "gatehouse/core/fleet/") &&
				p.ImportPath != "gatehouse/core/permission/sqlimport" && !strings.HasPrefix(p.ImportPath, "gatehouse/internal/cli"):
				t.Errorf("%s imports %s, which is the trade of core/fleet", p.ImportPath, path)
			case path == "gatehouse/core/fleet/postgres/migrate" && !strings.HasPrefix(p.ImportPath, "gatehouse/internal/cli"):
				t.Errorf("%s imports %s, which only the command line does", p.ImportPath, path)
			}
		}
	}
}

// TestProductDependsOnNothingElseHere keeps the local gateways, the demo and what
// starts real servers, with their dependencies, out of the product's module.
func TestProductDependsOnNothingElseHere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "gatehouse/") || strings.HasPrefix(line, "replace") {
			t.Errorf("the product's go.mod has %q", strings.TrimSpace(line))
		}
	}
	if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
		t.Error("there is a go.work, with which the product is built with the versions of other modules")
	}
}

// TestMakefileListsTheModules keeps a module from being built and never tested.
func TestMakefileListsTheModules(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nMODULES := " + strings.Join(modules, " ") + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("the Makefile does not have the line%s", want)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range allPackages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestNothingRegistersItself(t *testing.T) {
	for _, p := range allPackages(t) {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has an init function; build explicitly instead", p.ImportPath, name)
				}
			}
		}
	}
}

// A path of somebody's machine in the repository is of use to nobody else.
var machinePath = regexp.MustCompile(`(^|[^\w.])/(root|work|home/\w+)/\w`)

func TestNoMachinePaths(t *testing.T) {
	list := exec.Command("git", "ls-files", "-z", "--", "*.go", "*.md", "*.yml", "*.yaml", "*.sh", "Makefile", "*.mod", "*.txtar", ".ci/run")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if name == "" || strings.HasSuffix(name, "rules_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if machinePath.MatchString(line) {
				t.Errorf("%s:%d names a path of one machine: %s", name, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// What decides requests logs through internal/logqueue: a write to the standard error
// waits for whoever reads it.
func TestNothingThatDecidesRequestsWritesToTheStandardErrorItself(t *testing.T) {
	direct := regexp.MustCompile(`\bos\.Std(err|out)\b|\bfmt\.Print|\bprintln?\(|\blog\.(Print|Fatal|Panic|Default|New)\b`)
	beforeServing := map[string]bool{
		"plugins/kong/main.go": true, "plugins/forwardauth/main.go": true, // hand over the files
		"plugins/apisix/command/command.go": true, // flags
		"internal/logqueue/queue.go":        true,
		"core/config/audit/build.go":        true, // hands the standard output to a queue of records, for which nobody waits
	}
	for _, p := range packages(t, ".") {
		part, _, _ := strings.Cut(strings.TrimPrefix(p.ImportPath, "gatehouse/"), "/")
		if part == "cmd" || p.ImportPath == "gatehouse/internal/cli" || strings.HasPrefix(p.ImportPath, "gatehouse/internal/cli/") {
			continue
		}
		for _, file := range p.GoFiles {
			path := filepath.Join(p.Dir, file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for n, line := range strings.Split(string(text), "\n") {
				code, _, _ := strings.Cut(line, "//")
				if direct.MatchString(code) && !beforeServing[strings.TrimPrefix(p.ImportPath, "gatehouse/")+"/"+file] && !strings.Contains(code, "log.New(logWriter{") {
					t.Errorf("%s:%d writes to the standard output or error: %s", path, n+1, strings.TrimSpace(code))
				}
			}
		}
	}
}
