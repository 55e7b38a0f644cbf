package pluginserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// oldestMinor is the first 3.x release of Kong that denies a request when the
// plugin server cannot be reached. The changelog of Kong Enterprise has its mend of
// failures of plugin servers that were silently ignored in 3.14.0.0.
const (
	oldestMinor           = 8
	oldestEnterpriseMinor = 14
)

// metaFile is where Kong's official packages have its version. Those of Kong
// Enterprise have the same file, and others of their own beside it.
const (
	metaFile       = "/usr/local/share/lua/5.1/kong/meta.lua"
	enterpriseMeta = "enterprise_edition/meta.lua"
)

// kongEvidence is where this process may learn what Kong it runs under.
type kongEvidence struct {
	envFile    string // <prefix>/.kong_env
	envVersion string // KONG_VERSION
	metaFile   string
}

func newKongEvidence(prefix string) kongEvidence {
	return kongEvidence{
		envFile:    filepath.Join(prefix, ".kong_env"),
		envVersion: os.Getenv("KONG_VERSION"),
		metaFile:   metaFile,
	}
}

// tooOld returns an error if a running Kong is older than the oldest one that
// is supported, nil if it is not or if that cannot be known. Kong has written
// .kong_env before it starts a plugin server, so that counts first.
func (e kongEvidence) tooOld() error {
	if data, err := os.ReadFile(e.envFile); err == nil && len(data) > 0 {
		switch {
		case !hasSetting(data, "resolver_", "new_dns_client"):
			return fmt.Errorf("the Kong that wrote %s is older than 3.%d%s", e.envFile, oldestMinor, whyTooOld)
		case !hasSetting(data, "enforce_rbac"): // a setting of Kong Enterprise alone
			return nil
		}
	}
	return e.installedTooOld()
}

// newestMinor is the newest 3.x of which the loop was read that makes a plugin's calls.
const newestMinor = 10

// callsInOrder reports whether this is known to be a Kong that makes the calls of a
// plugin one after the other, and none after one that failed: the open-source Kong from
// 3.8 to 3.10 (Rpc:call and call_pdk in kong/runloop/plugin_servers, pb_rpc.lua).
func (e kongEvidence) callsInOrder() bool {
	env, _ := os.ReadFile(e.envFile)
	meta, _ := os.ReadFile(e.metaFile)
	switch {
	case e.tooOld() != nil || e.hasEnterpriseFiles() || hasSetting(env, "enforce_rbac"):
		return false
	case len(meta) == 0:
		return len(env) > 0 // which a Kong older than 3.8 has not written
	}
	return checkVersion(metaVersion(meta), e.metaFile, false) == nil && metaVersion(meta) != "" && !newer(metaVersion(meta))
}

// newer reports whether a version is newer than the newest one that was read.
func newer(version string) bool {
	m := versionPattern.FindStringSubmatch(version)
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > 3 || major == 3 && minor > newestMinor
}

// installedTooOld is the same for a Kong that is about to start: .kong_env may
// then still be an earlier version's, and to believe it would stand in the way
// of an upgrade.
func (e kongEvidence) installedTooOld() error {
	if e.envVersion != "" {
		return checkVersion(e.envVersion, "KONG_VERSION", e.hasEnterpriseFiles())
	}
	if data, err := os.ReadFile(e.metaFile); err == nil {
		return checkVersion(metaVersion(data), e.metaFile, e.hasEnterpriseFiles())
	}
	return nil
}

func (e kongEvidence) hasEnterpriseFiles() bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(e.metaFile), enterpriseMeta))
	return err == nil
}

const (
	whyTooOld           = ", which lets requests through whenever a plugin server fails: use Kong 3.8 or newer"
	whyEnterpriseTooOld = ", which ignores some failures of plugin servers: use Kong Enterprise 3.14 or newer, or the open-source Kong 3.8 or newer"
)

// versionPattern also finds the fourth number, which only Kong Enterprise has.
var versionPattern = regexp.MustCompile(`^(\d{1,4})\.(\d{1,4})(?:\.\d+(\.\d+)?)?`)

// checkVersion accepts a version that it cannot read.
func checkVersion(version, source string, enterprise bool) error {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	older := func(than int) bool { return major < 3 || major == 3 && minor < than }
	switch {
	case older(oldestMinor):
		return fmt.Errorf("this is Kong %d.%d according to %s%s", major, minor, source, whyTooOld)
	case older(oldestEnterpriseMinor) && (enterprise || m[3] != ""):
		return fmt.Errorf("this is Kong Enterprise %d.%d according to %s%s", major, minor, source, whyEnterpriseTooOld)
	}
	return nil
}

var (
	metaMajor = regexp.MustCompile(`\bmajor\s*=\s*(\d+)`)
	metaMinor = regexp.MustCompile(`\bminor\s*=\s*(\d+)`)
)

func metaVersion(lua []byte) string {
	major, minor := metaMajor.FindSubmatch(lua), metaMinor.FindSubmatch(lua)
	if major == nil || minor == nil {
		return ""
	}
	return string(major[1]) + "." + string(minor[1])
}

// hasSetting looks for settings whose name begins with one of the prefixes; those of
// the DNS resolver are in Kong since 3.8. The file lists every setting with its
// value, one on a line.
func hasSetting(kongEnv []byte, prefixes ...string) bool {
	for line := range bytes.Lines(kongEnv) {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return bytes.HasPrefix(line, []byte(prefix)) }) {
			return true
		}
	}
	return false
}
