// Package browsertest runs a real headless Chromium for tests.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// SkipVariable is the environment variable that, set to anything, skips the
// tests that need a browser. Without it a missing Chromium fails them.
const SkipVariable = "GATEHOUSE_SKIP_BROWSER"

const patience = 30 * time.Second // for one step, such as a page to come

// Browser is one tab of a Chromium with a fresh profile. Its methods fail the
// test when what they want is not there in time.
type Browser struct {
	t   testing.TB
	ctx context.Context
}

// New starts Chromium, which ends with the test. JavaScript is off in its pages.
func New(t testing.TB) *Browser {
	t.Helper()
	return start(t)
}

// NewAt is New for sites by HTTPS that are on another address: resolver is as of
// --host-resolver-rules, such as MAP app.test:443 127.0.0.1:8443. Certificates are not
// checked.
func NewAt(t testing.TB, resolver string) *Browser {
	t.Helper()
	return start(t, chromedp.Flag("host-resolver-rules", resolver), chromedp.Flag("ignore-certificate-errors", true))
}

func start(t testing.TB, more ...chromedp.ExecAllocatorOption) *Browser {
	t.Helper()
	if os.Getenv(SkipVariable) != "" {
		t.Skipf("%s is set: not running in a browser", SkipVariable)
	}
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(find(t)),
		chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-back-forward-cache", true), // a page that comes back is asked for again
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(900, 760),
	}, more...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	off := emulation.SetScriptExecutionDisabledParams{Value: true}
	if _, err := chromedp.Run(ctx, call(emulation.SetScriptExecutionDisabled, off)); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return &Browser{t: t, ctx: ctx}
}

// RunScripts switches JavaScript on, for pages of a test's own.
func (b *Browser) RunScripts() {
	b.t.Helper()
	do(b, "switch scripts on", call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{}))
}

// call is a protocol command as an action.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[R] {
	return func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	}
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("no Chromium on PATH: install the package chromium, or set %s=1 to do without", SkipVariable)
	return ""
}

// Open opens a page.
func (b *Browser) Open(rawURL string) {
	b.t.Helper()
	do(b, "open "+rawURL, chromedp.Navigate(rawURL))
}

// Back goes back by one page, as by the button.
func (b *Browser) Back() {
	b.t.Helper()
	do(b, "go back", chromedp.NavigateBack())
}

// Cookies are those that the browser sends to a URL, with the attributes that it keeps.
func (b *Browser) Cookies(rawURL string) []*network.Cookie {
	b.t.Helper()
	return do(b, "cookies of "+rawURL, call(network.GetCookies, network.GetCookiesParams{URLs: []string{rawURL}})).Cookies
}

// Fill writes a value into the input of that name, in place of what is there.
func (b *Browser) Fill(name, value string) {
	b.t.Helper()
	input := chromedp.CSS(fmt.Sprintf(`input[name=%q]`, name))
	do(b, "empty "+name, chromedp.Clear(input))
	do(b, "fill "+name, chromedp.SendKeys(input, value))
}

// Press presses the submit button of that name and value.
func (b *Browser) Press(name, value string) {
	b.t.Helper()
	b.Click(fmt.Sprintf(`button[name=%q][value=%q]`, name, value))
}

// Click clicks what a CSS selector finds.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	do(b, "click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Follow follows the link with that text.
func (b *Browser) Follow(link string) {
	b.t.Helper()
	do(b, "follow "+link, chromedp.Click(fmt.Sprintf(`//a[normalize-space()=%q]`, link)))
}

// WaitHeading waits until the page has that first heading.
func (b *Browser) WaitHeading(heading string) {
	b.t.Helper()
	do(b, "wait for the heading "+heading, chromedp.WaitVisible(fmt.Sprintf(`//h1[normalize-space()=%q]`, heading)))
}

// WaitText waits until some element has text that contains the part, of no more
// than one text node.
func (b *Browser) WaitText(part string) {
	b.t.Helper()
	do(b, "wait for the text "+part, chromedp.WaitVisible(fmt.Sprintf(`//*[text()[contains(normalize-space(),%q)]]`, part)))
}

// Text is the visible text of what a CSS selector finds, on one line.
func (b *Browser) Text(selector string) string {
	b.t.Helper()
	text := do(b, "read "+selector, chromedp.Text(chromedp.CSS(selector)))
	return strings.Join(strings.Fields(text), " ")
}

// Show lays the page out for a medium, such as screen or print, in a window of that
// size.
func (b *Browser) Show(medium string, width, height int64) {
	b.t.Helper()
	do(b, "size of the window", chromedp.EmulateViewport(width, height))
	do(b, "medium "+medium, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: medium}))
}

// Span is from where to where what a CSS selector finds reaches, in pixels from the
// left of the window.
func (b *Browser) Span(selector string) (left, right float64) {
	b.t.Helper()
	corners := do(b, "measure "+selector, chromedp.Dimensions(chromedp.CSS(selector))).Border
	return corners[0], corners[2] // of the upper left and the upper right corner
}

// Screenshot keeps the page as e2e/artifacts/NAME.png of the checkout.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	png := do(b, "screenshot "+name, chromedp.FullScreenshot(100))
	dir := artifacts(b.t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// do runs one step, and reports the page that is there when it fails.
func do[T any](b *Browser, what string, step chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, step)
	for err != nil && pageReplaced(err) {
		out, err = chromedp.Run(ctx, step)
	}
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.page())
	}
	return out
}

// pageReplaced reports that the page went away between a step's search in it and what
// the step was to do, which it did not.
func pageReplaced(err error) bool {
	return strings.Contains(err.Error(), "Could not find node with given id")
}

func (b *Browser) page() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	location, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	body, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		body = err.Error()
	}
	location, _, _ = strings.Cut(location, "?") // it may hold a challenge
	return "the page is " + location + ":\n" + body
}

func artifacts(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "go.mod")); err == nil {
			return filepath.Join(dir, "e2e", "artifacts")
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no checkout of the gatehouse repository around the working directory")
	return ""
}
