package pluginserver

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// oldestMinor is the first 3.x release of Kong that denies a request when the
// plugin server cannot be reached.
const oldestMinor = 8

// metaFile is where Kong's official packages have its version.
const metaFile = "/usr/local/share/lua/5.1/kong/meta.lua"

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
		if hasResolverSettings(data) {
			return nil
		}
		return fmt.Errorf("the Kong that wrote %s is older than 3.%d%s", e.envFile, oldestMinor, whyTooOld)
	}
	return e.installedTooOld()
}

// installedTooOld is the same for a Kong that is about to start: .kong_env may
// then still be an earlier version's, and to believe it would stand in the way
// of an upgrade.
func (e kongEvidence) installedTooOld() error {
	if e.envVersion != "" {
		return checkVersion(e.envVersion, "KONG_VERSION")
	}
	if data, err := os.ReadFile(e.metaFile); err == nil {
		return checkVersion(metaVersion(data), e.metaFile)
	}
	return nil
}

const whyTooOld = ", which lets requests through whenever a plugin server fails: use Kong 3.8 or newer"

var versionPattern = regexp.MustCompile(`^(\d{1,4})\.(\d{1,4})`)

// checkVersion accepts a version that it cannot read.
func checkVersion(version, source string) error {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major > 3 || major == 3 && minor >= oldestMinor {
		return nil
	}
	return fmt.Errorf("this is Kong %d.%d according to %s%s", major, minor, source, whyTooOld)
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

// hasResolverSettings looks for settings that Kong has had since 3.8. The file
// lists every setting with its value, one on a line.
func hasResolverSettings(kongEnv []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(kongEnv))
	lines.Buffer(nil, len(kongEnv)+1)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte("resolver_")) || bytes.HasPrefix(lines.Bytes(), []byte("new_dns_client")) {
			return true
		}
	}
	return false
}
