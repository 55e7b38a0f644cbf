package scaling

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of the model into docs/scaling.md")

const page = "../../docs/scaling.md"

// assumed is the fleet of docs/scaling.md.
var assumed = fleet{
	rate: 1000, each: 0.5, sessions: 0.45, tokens: 0.45, apiTokens: 0.09, invalid: 0.01,
	ttl: 30, apiTTL: 10, rolesTTL: 30, revocations: 1, roleChanges: 0.1, versions: 4.0 / 3600, tableSize: 100_000,
}

// settings are the inputs by their names in GATEHOUSE_SCALING.
func (f *fleet) settings() map[string]*float64 {
	return map[string]*float64{
		"nodes": &f.nodes, "rate": &f.rate, "each": &f.each, "sessions": &f.sessions, "tokens": &f.tokens, "api_tokens": &f.apiTokens, "invalid": &f.invalid,
		"ttl": &f.ttl, "api_ttl": &f.apiTTL, "roles_ttl": &f.rolesTTL, "revocations": &f.revocations, "role_changes": &f.roleChanges, "versions": &f.versions, "table_size": &f.tableSize,
	}
}

// given reads GATEHOUSE_SCALING, such as "nodes=40 rate=25", over defaults.
func given(t *testing.T, into map[string]*float64) {
	t.Helper()
	for _, field := range strings.Fields(os.Getenv("GATEHOUSE_SCALING")) {
		name, text, _ := strings.Cut(field, "=")
		n, err := strconv.ParseFloat(text, 64)
		if into[name] == nil || err != nil {
			t.Fatalf("GATEHOUSE_SCALING: %q; want NAME=NUMBER", field)
		}
		*into[name] = n
	}
}

// number is short: three digits that count.
func number(n float64) string {
	if n == 0 {
		return "0"
	}
	if n < 10 {
		return strconv.FormatFloat(n, 'g', 2, 64)
	}
	digits := math.Pow(10, math.Floor(math.Log10(n))-1)
	text := fmt.Sprint(int(math.Round(n/digits) * digits))
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func pair(up, down int) string {
	if up == 0 && down == 0 {
		return ""
	}
	return fmt.Sprintf("%d / %d", up, down)
}

func some(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// costsTable is what each event costs.
func costsTable() string {
	var text strings.Builder
	text.WriteString("| event | commands to Redis: sent / executed | bytes to / from Redis | Redis, µs | statements to PostgreSQL | bytes to / from it | calls to the provider | bytes to / from it |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range []cost{
		remembered, tokenFirst, tokenOther, sessionFirst, sessionOther, stranger, invalidFirst, invalidAgain, invalidOther,
		apiTokenMiss, lastUses, rolesMiss, rolesChange, tableVersion,
		revocationByRedis, revocationFromRedis, revocationByTable, revocationFromTable, idleMinute, start, keptRevocation,
	} {
		micros := ""
		if c.micros > 0 {
			micros = fmt.Sprint(c.micros)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", c.event, pair(total(c.sent), c.executed()), pair(c.redis.up, c.redis.down), micros,
			some(c.statements), pair(c.postgres.up, c.postgres.down), some(c.calls), pair(c.provider.up, c.provider.down))
	}
	return text.String()
}

// fleetTable is what fleets ask of each system.
func fleetTable(fleets ...fleet) string {
	var text strings.Builder
	text.WriteString("| system | what |")
	for _, f := range fleets {
		fmt.Fprintf(&text, " %s nodes |", number(f.nodes))
	}
	text.WriteString("\n|---|---|" + strings.Repeat("---|", len(fleets)) + "\n")
	megabits := func(bytes float64) float64 { return bytes * 8 / 1e6 }
	for _, row := range []struct {
		system, what string
		of           func(fleet, demand) float64
	}{
		{"nodes", "requests per second", func(f fleet, _ demand) float64 { return f.nodes * f.rate }},
		{"nodes", "requests whose credential the node does not remember, %", func(_ fleet, d demand) float64 { return 100 * d.unremembered }},
		{"nodes", "credentials that one node remembers: `cache.max_entries`, for each section", fleet.remembers},
		{"Kratos", "calls per second (`whoami`)", func(_ fleet, d demand) float64 { return d.kratos }},
		{"Kratos", "Mbit/s to it", func(_ fleet, d demand) float64 { return megabits(d.kratosUp) }},
		{"Kratos", "Mbit/s from it", func(_ fleet, d demand) float64 { return megabits(d.kratosDown) }},
		{"Hydra", "calls per second (introspection)", func(_ fleet, d demand) float64 { return d.hydra }},
		{"Hydra", "Mbit/s to it", func(_ fleet, d demand) float64 { return megabits(d.hydraUp) }},
		{"Hydra", "Mbit/s from it", func(_ fleet, d demand) float64 { return megabits(d.hydraDown) }},
		{"Kratos and Hydra", "calls per second without Redis", func(_ fleet, d demand) float64 { return d.alone }},
		{"Kratos and Hydra", "calls in the first second after all nodes forgot what they knew", fleet.peak},
		{"Redis", "commands sent per second", func(_ fleet, d demand) float64 { return d.sent }},
		{"Redis", "commands executed per second, those of scripts included", func(_ fleet, d demand) float64 { return d.executed }},
		{"Redis", "Mbit/s to it", func(_ fleet, d demand) float64 { return megabits(d.redisUp) }},
		{"Redis", "Mbit/s from it", func(_ fleet, d demand) float64 { return megabits(d.redisDown) }},
		{"Redis", "processors", func(_ fleet, d demand) float64 { return d.redisProcessors }},
		{"Redis", "memory for credentials, MB", func(_ fleet, d demand) float64 { return d.redisMemory / 1e6 }},
		{"Redis", "connections while nothing happens", func(f fleet, _ demand) float64 { return 2 * f.nodes }},
		{"Redis", "connections at most (`keepalive_pool_size` 16, and 4 for revocations)", func(f fleet, _ demand) float64 { return redisConnections * f.nodes }},
		{"PostgreSQL", "statements per second", func(_ fleet, d demand) float64 { return d.statements }},
		{"PostgreSQL", "of them for `subject_roles`", func(f fleet, _ demand) float64 { return f.alone(f.sessions+f.tokens, f.rolesTTL) }},
		{"PostgreSQL", "of them for API tokens", func(f fleet, _ demand) float64 { return 2 * f.alone(f.apiTokens, f.apiTokenLife()) }},
		{"PostgreSQL", "of them while nothing happens", func(f fleet, _ demand) float64 { return f.nodes / 60 * float64(idleMinute.statements) }},
		{"PostgreSQL", "Mbit/s to it", func(_ fleet, d demand) float64 { return megabits(d.postgresUp) }},
		{"PostgreSQL", "Mbit/s from it", func(_ fleet, d demand) float64 { return megabits(d.postgresDown) }},
		{"PostgreSQL", "Mbit from it at once, for one pushed table", func(f fleet, _ demand) float64 {
			return megabits(f.nodes * (f.tableSize + float64(tableVersion.postgres.down)))
		}},
		{"PostgreSQL", "connections while nothing happens", func(f fleet, _ demand) float64 { return float64(start.postgresConnections) * f.nodes }},
		{"PostgreSQL", "connections at most (`pool_size` 8, and one that listens)", func(f fleet, _ demand) float64 { return postgresConnections * f.nodes }},
	} {
		fmt.Fprintf(&text, "| %s | %s |", row.system, row.what)
		for _, f := range fleets {
			fmt.Fprintf(&text, " %s |", number(row.of(f, f.demand())))
		}
		text.WriteString("\n")
	}
	return text.String()
}

func (f fleet) of(nodes float64) fleet {
	f.nodes = nodes
	return f
}

// remembers is how many credentials of the larger share a node meets within their time.
func (f fleet) remembers(demand) float64 {
	return f.unlike() * max(f.sessions, f.tokens)
}

// peak is how many credentials come within a second.
func (f fleet) peak(demand) float64 {
	return (f.sessions + f.tokens) * f.rate * f.nodes / f.each * (1 - math.Exp(-f.each))
}

// TestDocumentationHasTheTablesOfTheModel writes them with -update.
func TestDocumentationHasTheTablesOfTheModel(t *testing.T) {
	was, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(was)
	for name, table := range map[string]string{"costs": costsTable(), "fleets": fleetTable(assumed.of(10), assumed.of(100), assumed.of(1000))} {
		begin, end := "<!-- "+name+": written by the test TestDocumentationHasTheTablesOfTheModel -->\n", "<!-- end of "+name+" -->"
		before, rest, found := strings.Cut(text, begin)
		_, after, ended := strings.Cut(rest, end)
		if !found || !ended {
			t.Fatalf("docs/scaling.md has no %s", begin)
		}
		text = before + begin + "\n" + table + "\n" + end + after
	}
	if text == string(was) {
		return
	}
	if !*update {
		t.Fatal("docs/scaling.md is not that of the model; run make docs")
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFleetOfYourOwn prints what a fleet asks for whose figures GATEHOUSE_SCALING has.
func TestFleetOfYourOwn(t *testing.T) {
	f := assumed.of(100)
	given(t, f.settings())
	t.Logf("%+v\n%s", f, fleetTable(f))
}

// What the page has a reader run is there, and so are the names that it has them set.
func TestDocumentedCommandsAreThoseOfTheTests(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	files, _ := filepath.Glob("../*/*_test.go")
	for _, name := range files {
		more, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, more...)
	}
	commands := regexp.MustCompile(`(?m)^(GATEHOUSE_[A-Z]+)?.*go test .*-run '?([A-Za-z|]+)`).FindAllStringSubmatch(string(text), -1)
	if len(commands) < 4 {
		t.Errorf("%d commands", len(commands))
	}
	for _, c := range commands {
		for name := range strings.SplitSeq(c[2], "|") {
			if !regexp.MustCompile(`func Test\w*` + name).Match(tests) {
				t.Errorf("no test is run by -run %s", name)
			}
		}
		if c[1] != "" && !strings.Contains(string(tests), `"`+c[1]+`"`) {
			t.Errorf("no test reads %s", c[1])
		}
	}
	var f fleet
	p := simulation{}
	for _, m := range regexp.MustCompile(`GATEHOUSE_SCALING="([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		for field := range strings.FieldsSeq(m[1]) {
			name, _, _ := strings.Cut(field, "=")
			if f.settings()[name] == nil && p.settings()[name] == nil {
				t.Errorf("GATEHOUSE_SCALING has no %s", name)
			}
		}
	}
	if !slices.ContainsFunc(commands, func(c []string) bool { return c[1] == "GATEHOUSE_SCALING" }) {
		t.Error("no command has a reader enter their own figures")
	}
}
