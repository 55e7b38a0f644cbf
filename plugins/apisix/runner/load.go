package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// LoggableError is an error of ParseConf whose text names no value of the
// config that an operator keeps secret. It is logged as it is. From any other
// error the values of the config are cut out before it is logged.
type LoggableError interface {
	error
	// Loggable marks the type and does nothing.
	Loggable()
}

// load loads all plugins of a route. If one does not load, the route denies
// everything: APISIX has no response for "this config is wrong", and going on
// without the plugin would open the route.
func (s *server) load(msg prepareConf) *routeConf {
	plugins, err := s.loadPlugins(msg.conf)
	if err != nil {
		s.opts.log.Error("plugins: config does not load, every request of the route is denied", "route", msg.key, "cause", err)
		return &routeConf{denied: true}
	}
	s.opts.log.Debug("plugins: config loaded", "route", msg.key)
	return &routeConf{plugins: plugins, route: routeOf(msg.key)}
}

// routeOf reads the id of a route from the key of its configuration, "route#ID#plugin#time".
func routeOf(key string) string {
	parts := strings.Split(key, "#")
	if len(parts) < 4 || parts[0] != "route" {
		return ""
	}
	return parts[1]
}

// maxPlugins bounds the entries of one route's conf.
const maxPlugins = 64

func (s *server) loadPlugins(conf []textEntry) ([]loadedPlugin, error) {
	if len(conf) == 0 {
		return nil, errors.New("conf is missing or empty: list the plugins to run")
	}
	if len(conf) > maxPlugins {
		return nil, fmt.Errorf("conf has more than %d entries", maxPlugins)
	}
	var loaded []loadedPlugin
	var problems []error
	for i, entry := range conf {
		p, err := s.loadPlugin(entry)
		if err != nil {
			problems = append(problems, fmt.Errorf("conf[%d]: %w", i, err))
		}
		loaded = append(loaded, p)
	}
	return loaded, errors.Join(problems...)
}

func (s *server) loadPlugin(entry textEntry) (loadedPlugin, error) {
	p, ok := s.plugins[entry.name]
	if !ok {
		return loadedPlugin{}, fmt.Errorf("no plugin is called %.128q: this runner has %s", entry.name, strings.Join(s.names, ", "))
	}
	conf, err := parseConf(p, entry.value)
	if err != nil {
		return loadedPlugin{}, fmt.Errorf("plugin %s: %w", entry.name, err)
	}
	return loadedPlugin{p, entry.name, conf}, nil
}

// parseConf survives a panic of ParseConf.
func parseConf(p Plugin, value string) (conf any, err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			err = errors.New("ParseConf panicked: " + withoutValues(fmt.Sprint(thrown), value) + ": " + panicOrigin())
		}
	}()
	conf, err = p.ParseConf([]byte(value))
	var loggable LoggableError
	if err != nil && !errors.As(err, &loggable) {
		err = errors.New(withoutValues(err.Error(), value))
	}
	return conf, err
}

// shortestValue is the length from which a word of a config can be a secret.
const shortestValue = 4

// withoutValues removes from text what is a value in conf: parsers like to
// quote what they do not understand.
func withoutValues(text, conf string) string {
	values := valuesOf(conf)
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, value := range values {
		if len(value) >= shortestValue {
			text = strings.ReplaceAll(text, value, "[removed]")
		}
	}
	return text
}

// valuesOf lists what a JSON document holds beside its keys, whole and word by
// word; what is not JSON is taken word by word.
func valuesOf(conf string) []string {
	values := append(words(conf), conf)
	var document any
	if json.Unmarshal([]byte(conf), &document) != nil {
		return values
	}
	values = []string{conf}
	var collect func(any)
	collect = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			for _, member := range n {
				collect(member)
			}
		case []any:
			for _, element := range n {
				collect(element)
			}
		case string:
			values = append(append(values, n), words(n)...)
		default:
			values = append(values, fmt.Sprint(n))
		}
	}
	collect(document)
	return values
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(`"'{}[]():,;=&?<>@/`+"`", r)
	})
}
