package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/browser"
	"github.com/resflash/resflash/integration/testimage"
)

// hostileName is a name of a file that would be a program, if it were not
// escaped.
const hostileName = `"><script>console.log("run")</script><img src=x onerror=alert(1)>&amp;'`

// The HTML report is looked at by a browser: it needs nothing else and runs
// nothing, can be read in light and dark, in a narrow window and on paper, and
// is reached with the keyboard; its map is to scale.
func TestHTMLReport(t *testing.T) {
	dir := t.TempDir()
	img, page := filepath.Join(dir, "demo.img"), filepath.Join(dir, "demo.html")
	require.NoError(t, testimage.Resflash(img, testimage.Options{SizeMB: 256, Seed: 5, FillE: true, Edit: func(volume string, tree testimage.Tree) {
		if volume == "d" {
			for i := range 20 {
				tree.Text("srv/"+strings.Repeat("x", i)+".world", 0o666, "x")
			}
			tree.Text("srv/"+strings.ReplaceAll(hostileName, "/", "\\"), 0o666, "x")
		}
	}}))
	resflash(t, "audit", "--fail-on", "never", "--write", "html="+page, img)
	report := auditJSON(t, img)[0]

	p := browser.Open(t, page)
	p.Look(1280, "light", "screen")
	var has struct {
		Scripts, Images, Links int
		Lang, Title            string
		Text                   string
	}
	p.Eval(`({scripts: document.scripts.length, images: document.images.length, links: document.querySelectorAll('link:not([href^="data:"]), [src]').length,
		lang: document.documentElement.lang, title: document.title, text: document.body.innerText})`, &has)
	assert.Zero(t, has.Scripts)
	assert.Zero(t, has.Images)
	assert.Zero(t, has.Links, "nothing is fetched")
	assert.Equal(t, "en", has.Lang)
	assert.Equal(t, "Audit of demo.img", has.Title)
	for _, f := range report.Findings {
		assert.Contains(t, has.Text, f.Message)
	}

	t.Run("the map is to scale", func(t *testing.T) {
		var bars []struct{ Left, Width, Used float64 }
		p.Eval(`(() => { const map = document.querySelector("svg.map").getBoundingClientRect(); return [...document.querySelectorAll("svg.map g")].map(g => {
			const v = g.querySelector(".volume").getBoundingClientRect(), u = g.querySelector(".used")?.getBoundingClientRect();
			return {left: (v.left - map.left) / map.width, width: v.width / map.width, used: u ? u.width / map.width : -1}}) })()`, &bars)
		require.Len(t, bars, len(report.Volumes))
		for i, v := range report.Volumes {
			share := func(n int64) float64 { return float64(n) / float64(report.Size) }
			assert.InDelta(t, share(v.Start), bars[i].Left, 0.0015, v.ID)
			assert.InDelta(t, share(v.Size), bars[i].Width, 0.0015, v.ID)
			assert.InDelta(t, share(*v.Used), bars[i].Used, 0.0015, v.ID)
		}
	})

	t.Run("the outline", func(t *testing.T) {
		var outline struct {
			Levels    []int
			Landmarks []string
			Orphans   []string
		}
		p.Eval(`({levels: [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map(h => +h.tagName[1]),
			landmarks: ["header", "main", "footer", "nav"].filter(n => document.querySelector(n)),
			orphans: [...document.querySelectorAll("a[href^='#'], [aria-labelledby]")].map(e => e.getAttribute("aria-labelledby") || e.getAttribute("href").slice(1)).filter(id => !document.getElementById(id))})`, &outline)
		require.NotEmpty(t, outline.Levels)
		assert.Equal(t, 1, outline.Levels[0])
		for i, l := range outline.Levels[1:] {
			assert.LessOrEqual(t, l, outline.Levels[i]+1, "no level is left out")
			assert.Greater(t, l, 1, "one title")
		}
		assert.Equal(t, []string{"header", "main", "footer", "nav"}, outline.Landmarks)
		assert.Empty(t, outline.Orphans, "links lead somewhere")
	})

	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 360} {
			p.Look(width, scheme, "screen")
			if dir := os.Getenv("RESFLASH_PICTURES"); dir != "" {
				p.Picture(filepath.Join(dir, scheme+map[int]string{1280: "-wide", 360: "-narrow"}[width]+".png"))
			}
			var wide float64
			p.Eval(`document.documentElement.scrollWidth - innerWidth`, &wide)
			assert.LessOrEqual(t, wide, 0.0, "%s, %d: the page fits", scheme, width)
		}
		p.Look(1280, scheme, "screen")
		var faint []string
		p.Eval(contrast, &faint)
		assert.Empty(t, faint, "%s: text stands out, by the rule of WCAG 2, AA", scheme)
	}

	t.Run("the keyboard", func(t *testing.T) {
		p.Look(1280, "light", "screen")
		var all int
		p.Eval(`(window.seen = new Set(), document.activeElement.blur(), document.querySelectorAll("a[href], summary, [tabindex='0']").length)`, &all)
		var first string
		p.Press("Tab")
		p.Eval(`document.activeElement.className`, &first)
		assert.Equal(t, "skip", first, "the first thing is a way past the head")
		var visible bool
		p.Eval(`(r => r.left >= 0 && r.top >= 0 && getComputedStyle(document.activeElement).outlineStyle != "none")(document.activeElement.getBoundingClientRect())`, &visible)
		assert.True(t, visible, "what has the focus is seen")
		p.Press("Enter")
		var at string
		p.Eval(`document.activeElement.id`, &at)
		assert.Equal(t, "main", at)
		p.Eval(`document.activeElement.blur(), getSelection().removeAllRanges(), location.hash = ""`, nil)
		folded := 0
		for range all + 10 {
			p.Press("Tab")
			var tag string
			p.Eval(`(seen.add(document.activeElement), document.activeElement.tagName)`, &tag)
			if tag == "SUMMARY" {
				var was, is bool
				p.Eval(`document.activeElement.parentElement.open`, &was)
				p.Press("Enter")
				p.Eval(`document.activeElement.parentElement.open`, &is)
				assert.NotEqual(t, was, is, "it is opened with the keyboard")
				if folded++; is {
					p.Eval(`document.activeElement.parentElement.open = false`, nil)
				}
			}
		}
		var missed []string
		p.Eval(`[...document.querySelectorAll("a[href], summary, [tabindex='0']")].filter(e => !seen.has(e) && e.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}) && !e.closest("details:not([open]) > :not(summary)")).map(e => e.outerHTML)`, &missed)
		assert.Empty(t, missed)
		assert.NotZero(t, folded)
	})

	t.Run("on paper", func(t *testing.T) {
		p.Look(800, "dark", "print")
		var faint []string
		p.Eval(contrast, &faint)
		assert.Empty(t, faint, "also if the screen is dark")
		var paper struct {
			Ground string
			Hidden []string
		}
		p.Eval(`({ground: getComputedStyle(document.body).backgroundColor,
			hidden: [...document.querySelectorAll("details li, details td")].filter(e => e.getBoundingClientRect().height == 0).map(e => e.innerText)})`, &paper)
		assert.Equal(t, "rgb(255, 255, 255)", paper.Ground, "paper is white, whatever the screen is")
		assert.Empty(t, paper.Hidden, "what is folded up is printed")
		if dir := os.Getenv("RESFLASH_PICTURES"); dir != "" {
			p.Picture(filepath.Join(dir, "print.png"))
		}
	})

	assert.Empty(t, p.Talk(), "the console is silent")
}

// contrast lists the texts whose color is too near to what is behind them.
const contrast = `(() => {
	const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
	const rgba = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const light = ([r, g, b]) => { const f = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const faint = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || e.closest("title, style, svg") || !e.checkVisibility()) continue;
		let behind = e, ground = [255, 255, 255, 0];
		for (; behind && ground[3] == 0; behind = behind.parentElement) ground = rgba(getComputedStyle(behind).backgroundColor);
		if (ground[3] == 0) ground = [255, 255, 255, 255];
		const a = light(rgba(getComputedStyle(e).color)), b = light(ground), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faint.push(ratio.toFixed(2) + " " + e.className + ": " + texts.currentNode.data.trim().slice(0, 60));
	}
	return [...new Set(faint)];
})()`
