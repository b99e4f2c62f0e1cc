// Package browser looks at pages in a Chromium without a screen, by the
// DevTools protocol over a pipe: the browser is a judge of pages that we write,
// so nothing but the standard library stands between.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/resflash/resflash/integration/testtool"
)

// A Page is a tab with a page in it.
type Page struct {
	t       testing.TB
	to      *os.File
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan message
	loaded  chan struct{}
	talk    []string // what the console has shown
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	Session string `json:"sessionId,omitempty"`
}

// patience is how long the browser may take for anything.
const patience = time.Minute

// Open starts a browser with a file of the host, which ends with the test.
func Open(t testing.TB, file string) *Page {
	t.Helper()
	name := ""
	for _, known := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(known); err == nil {
			name = path
			break
		}
	}
	if name == "" {
		testtool.Missing(t, "no Chromium is installed (make tools installs chromium-headless-shell)")
	}
	// The browser reads from its descriptor 3 and writes to 4.
	theirs, to, err := os.Pipe()
	must(t, err)
	from, answers, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(name, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, answers}
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	must(t, cmd.Start())
	theirs.Close()
	answers.Close()
	p := &Page{t: t, to: to, waiting: map[int]chan message{}, loaded: make(chan struct{}, 16)}
	done := make(chan struct{})
	go func() { defer close(done); p.listen(from) }()
	t.Cleanup(func() {
		to.Close()
		time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		from.Close()
		<-done
	})
	var target struct{ TargetID string }
	p.Call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.Call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Accessibility"} {
		p.Call(domain+".enable", nil, nil)
	}
	p.Call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	select {
	case <-p.loaded:
	case <-time.After(patience):
		t.Fatal("the page is not loaded")
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen takes in answers and events, which end in a zero byte each.
func (p *Page) listen(from *os.File) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		p.mu.Lock()
		switch m.Method {
		case "":
			if c := p.waiting[m.ID]; c != nil {
				c <- m
				delete(p.waiting, m.ID)
			}
		case "Page.loadEventFired":
			p.loaded <- struct{}{}
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			p.talk = append(p.talk, string(m.Params))
		}
		p.mu.Unlock()
	}
}

// Call calls a method of the protocol.
func (p *Page) Call(method string, params, result any) {
	p.t.Helper()
	raw, err := json.Marshal(params)
	must(p.t, err)
	if params == nil {
		raw = json.RawMessage("{}")
	}
	answer := make(chan message, 1)
	p.mu.Lock()
	p.next++
	m := message{ID: p.next, Method: method, Params: raw, Session: p.session}
	p.waiting[m.ID] = answer
	p.mu.Unlock()
	text, err := json.Marshal(m)
	must(p.t, err)
	_, err = p.to.Write(append(text, 0))
	must(p.t, err)
	select {
	case got := <-answer:
		if got.Error != nil {
			p.t.Fatalf("%s: %s", method, got.Error.Message)
		}
		if result != nil {
			must(p.t, json.Unmarshal(got.Result, result))
		}
	case <-time.After(patience):
		p.t.Fatalf("%s: no answer", method)
	}
}

// Eval evaluates a JavaScript expression in the page.
func (p *Page) Eval(expression string, result any) {
	p.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.Call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &got)
	if e := got.ExceptionDetails; e != nil {
		p.t.Fatalf("%s: %s", e.Text, e.Exception.Description)
	}
	if result != nil {
		must(p.t, json.Unmarshal(got.Result.Value, result))
	}
}

// Press presses and releases a key.
func (p *Page) Press(key string) {
	p.t.Helper()
	code := map[string]int{"Tab": 9, "Enter": 13, " ": 32}[key]
	text := map[string]string{"Enter": "\r", " ": " "}[key]
	down := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": code}
	if text != "" {
		down["text"] = text
	}
	p.Call("Input.dispatchKeyEvent", down, nil)
	p.Call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}, nil)
}

// Look chooses the width of the window, the color scheme ("light", "dark") and
// the medium ("screen", "print").
func (p *Page) Look(width int, scheme, medium string) {
	p.t.Helper()
	p.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.Call("Emulation.setEmulatedMedia", map[string]any{"media": medium, "features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Picture takes a picture of the whole page, as PNG.
func (p *Page) Picture(file string) {
	p.t.Helper()
	var shot struct{ Data string }
	p.Call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	must(p.t, err)
	must(p.t, os.WriteFile(file, data, 0o644))
}

// Talk is what the console has shown: messages, errors, what was refused.
func (p *Page) Talk() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.talk...)
}
