//! Pages for people in a real browser: they are seen in light and dark, fit a phone, sort by their headers, fetch nothing,
//! and what comes from a log never becomes markup (R37). Where there is no Chromium, this is skipped and said.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

use oom_forensics::generate::{Plan, bytes};
use tempfile::TempDir;

const WIDE: u32 = 1280;
const PHONE: u32 = 390;

/// What a test says about itself that a page must not believe.
const EVIL: &str = "tests/test_a.py::test[</td></table></script><script>document.title='owned'</script>\
                    <img/src=x/onerror=document.title='owned'>]";

/// Asks the page what a person would see, and writes it where the dump shows it, outside of a frame that it may be in.
const PROBE: &str = r#"<script>
const table = [...document.querySelectorAll("table.sortable")].find((table) => table.tBodies[0].rows.length > 3);
const numbers = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
const headers = [...table.tHead.rows[0].cells];
const column = headers.findIndex((header) => header.classList.contains("number"));
const button = headers[column].querySelector("button");
const seen = { inner: innerWidth, page: document.documentElement.scrollWidth, title: document.title };
seen.wide = [...document.querySelectorAll("main *")].filter((element) =>
  element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, svg")).length;
seen.button = button.tagName + button.tabIndex;
seen.focusable = [...document.querySelectorAll(".scroll")].every((box) => box.tabIndex === 0);
button.click();
seen.first = headers[column].getAttribute("aria-sort");
seen.falls = numbers().every((value, at, all) => at === 0 || all[at - 1] >= value);
button.click();
seen.second = headers[column].getAttribute("aria-sort");
seen.rises = numbers().every((value, at, all) => at === 0 || all[at - 1] <= value);
headers[column === 0 ? 1 : 0].querySelector("button").click();
seen.only = table.querySelectorAll("th[aria-sort]").length;
const said = top.document.createElement("pre");
said.id = "probe";
said.textContent = JSON.stringify(seen);
top.document.body.append(said);
</script>"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Dark = 0,
    Light = 1,
}

/// A browser without a window, and a directory for its profile and for pages.
struct Browser {
    program: PathBuf,
    dir: TempDir,
}

impl Browser {
    /// `None` where there is none, which is said.
    fn found() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let asked_for = env::var_os("CHROMIUM").filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = || {
            let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
            let places = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
            places.into_iter().find(|place| place.is_file())
        };
        let found = asked_for.or_else(on_path);
        if found.is_none() {
            eprintln!("no Chromium: skipped");
        }
        Some(Self { program: found?, dir: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, page: &Path, scheme: Scheme, size: (u32, u32), what: &str) -> Output {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(format!("--blink-settings=preferredColorScheme={}", scheme as u8));
        command.arg(format!("--window-size={},{}", size.0, size.1));
        let output = command.arg(what).arg(format!("file://{}", page.display())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What the page has become after its scripts ran.
    fn dom(&self, page: &Path, width: u32) -> String {
        let output = self.run(page, Scheme::Light, (width, 900), "--dump-dom");
        String::from_utf8(output.stdout).unwrap()
    }

    fn picture(&self, page: &Path, width: u32, scheme: Scheme) -> Picture {
        let png = self.path("picture.png");
        let _ = fs::remove_file(&png);
        self.run(page, scheme, (width, 2400), &format!("--screenshot={}", png.display()));
        Picture::read(&png)
    }
}

/// What can be said of a picture without looking at it.
#[derive(Debug)]
struct Picture {
    width: u32,
    /// From 0, black, to 255.
    brightness: f64,
    /// The share of pixels that are not of the most frequent colour.
    drawn: f64,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let file = std::io::BufReader::new(fs::File::open(path).unwrap());
        let mut decoder = png::Decoder::new(file);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        let channels = frame.color_type.samples();
        let mut colours = std::collections::HashMap::new();
        let mut sum = 0;
        for pixel in pixels.chunks_exact(channels) {
            sum += pixel[..3].iter().map(|value| u64::from(*value)).sum::<u64>();
            *colours.entry([pixel[0], pixel[1], pixel[2]]).or_insert(0_u64) += 1;
        }
        let count = (pixels.len() / channels) as f64;
        let most = colours.values().max().copied().unwrap_or_default() as f64;
        Self { width: frame.width, brightness: sum as f64 / 3.0 / count, drawn: 1.0 - most / count }
    }
}

/// The page that a verb writes about a file.
fn written(browser: &Browser, name: &str, verb: &[&str], about: &Path, ends: ExitCode) -> PathBuf {
    let settings = browser.path("omnimind.toml");
    fs::write(&settings, "").unwrap();
    let page = browser.path(&format!("{name}.html"));
    let mut arguments: Vec<OsString> = ["omnimind", "--quiet", "--config"].map(Into::into).to_vec();
    arguments.push(settings.into());
    arguments.extend(verb.iter().map(Into::into));
    arguments.extend([about.into(), "--html".into(), page.clone().into()]);
    assert_eq!(omnimind_cli::run(arguments), ends);
    page
}

/// The page that `omnimind oom-report` writes about a log.
fn page_of(browser: &Browser, name: &str, log: &[u8]) -> PathBuf {
    let path = browser.path(&format!("{name}.log"));
    fs::write(&path, log).unwrap();
    written(browser, name, &["oom-report"], &path, ExitCode::SUCCESS)
}

/// The page that `omnimind test-groups` writes about a group of commands: some pass, one fails, one passes with the processor.
#[cfg(unix)]
fn page_of_groups(browser: &Browser) -> PathBuf {
    let runs_out = "echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity \
                    of 3.81 GiB of which 3.50 GiB is free.'; exit 1";
    let on_cpu = format!("test -z \"${{CUDA_VISIBLE_DEVICES-x}}\" || {{ {runs_out}; }}");
    let commands =
        [("one", "true"), ("two", "true"), (EVIL, runs_out), ("falls back", &on_cpu), ("five", "true")];
    let commands = commands.map(|(name, script)| {
        serde_json::json!({"name": name, "run": ["sh", "-c", script]}).to_string().replace("\":", "\"=")
    });
    let text = format!(
        "[[group]]\nname = 'commands'\nrunner = 'command'\nconcurrency = {{ parallel = 2 }}\n\
         on_out_of_memory = 'retry_on_cpu'\ncommand = [{}]\n",
        commands.join(", ")
    );
    let file = browser.path("test-groups.toml");
    fs::write(&file, text).unwrap();
    written(browser, "test-groups", &["test-groups", "--simulated", "--file"], &file, ExitCode::from(1))
}

fn long_log() -> Vec<u8> {
    let plan =
        Plan { tests: 900, ooms: 120, setup_errors: 60, wrong_models: 2, skipped: 5, ..Plan::default() };
    bytes(&plan).0
}

/// The page with a script of ours, and without the policy that would not let it run.
fn probed(browser: &Browser, page: &Path) -> PathBuf {
    let html = fs::read_to_string(page).unwrap();
    let (before, rest) = html.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let (_, after) = rest.split_once('>').unwrap();
    let (after, end) = after.rsplit_once("</body>").unwrap();
    let probed = browser.path("probed.html");
    fs::write(&probed, format!("{before}{after}{PROBE}</body>{end}")).unwrap();
    probed
}

/// The page in a frame of this width: windows are not made as narrow as phones.
fn framed(browser: &Browser, page: &Path, width: u32) -> PathBuf {
    let inside = fs::read_to_string(page).unwrap().replace('&', "&amp;").replace('"', "&quot;");
    let framed = browser.path("framed.html");
    let frame =
        format!("<iframe width=\"{width}\" height=\"900\" frameborder=\"0\" srcdoc=\"{inside}\"></iframe>");
    fs::write(&framed, format!("<!DOCTYPE html><body>{frame}</body>")).unwrap();
    framed
}

fn answers(dom: &str) -> serde_json::Value {
    let (_, said) = dom.split_once("<pre id=\"probe\">").unwrap_or_else(|| panic!("no probe: {dom}"));
    serde_json::from_str(said.split_once("</pre>").unwrap().0).unwrap()
}

/// Looks at a page in both colours and on both screens, and where `KEEP_PICTURES` names a directory keeps it there.
fn assert_seen_in_light_and_dark(browser: &Browser, page: &Path) {
    for width in [WIDE, PHONE] {
        let [light, dark] = [Scheme::Light, Scheme::Dark].map(|scheme| {
            let picture = browser.picture(page, width, scheme);
            if let Some(dir) = env::var_os("KEEP_PICTURES") {
                let name = format!("{}-{width}-{scheme:?}.png", page.file_stem().unwrap().display());
                fs::copy(browser.path("picture.png"), Path::new(&dir).join(name)).unwrap();
            }
            picture
        });
        for picture in [&light, &dark] {
            assert_eq!(picture.width, width);
            assert!(picture.drawn > 0.03, "nearly blank: {picture:?}");
        }
        assert!(light.brightness > 200.0 && dark.brightness < 80.0, "{light:?} {dark:?}");
    }
}

fn assert_works(browser: &Browser, page: &Path) {
    let html = fs::read_to_string(page).unwrap();
    for fetches in ["http://", "https://", "src=\"", "href=\"", "url(", "@import"] {
        assert!(!html.contains(fetches), "{fetches}");
    }
    // Under its own policy its script runs, and no other.
    let dom = browser.dom(page, WIDE);
    assert!(dom.contains("<button type=\"button\">"), "the script of the page did not run");
    let (start, end) = html.rsplit_once("</body>").unwrap();
    let strange = browser.path("strange.html");
    fs::write(&strange, format!("{start}{PROBE}</body>{end}")).unwrap();
    assert!(!browser.dom(&strange, WIDE).contains("<pre id=\"probe\">"), "a strange script ran");

    for width in [WIDE, PHONE] {
        let seen = answers(&browser.dom(&framed(browser, &probed(browser, page), width), WIDE));
        assert_eq!((&seen["inner"], &seen["page"]), (&width.into(), &width.into()), "no scrolling sideways");
        assert_eq!(seen["wide"], 0, "nothing stands out to the right");
        assert_eq!((&seen["button"], &seen["focusable"]), (&"BUTTON0".into(), &true.into()), "works by keys");
        assert_eq!((&seen["first"], &seen["falls"]), (&"descending".into(), &true.into()), "{seen}");
        assert_eq!((&seen["second"], &seen["rises"]), (&"ascending".into(), &true.into()), "{seen}");
        assert_eq!(seen["only"], 1, "one column at a time");
    }
}

#[test]
fn a_report_is_seen_in_light_and_dark_on_wide_and_narrow_screens() {
    let Some(browser) = Browser::found() else { return };
    let page = page_of(&browser, "oom-report", &long_log());
    assert_seen_in_light_and_dark(&browser, &page);
}

#[test]
fn a_report_fits_a_phone_sorts_by_its_headers_and_fetches_nothing() {
    let Some(browser) = Browser::found() else { return };
    let page = page_of(&browser, "works", &long_log());
    assert_works(&browser, &page);
}

#[cfg(unix)]
#[test]
fn a_page_about_groups_of_tests_is_seen_fits_sorts_and_takes_names_for_text() {
    let Some(browser) = Browser::found() else { return };
    let page = page_of_groups(&browser);
    let html = fs::read_to_string(&page).unwrap();
    for seen in ["a test failed", "went on with the CPU", "passed on CPU", "&lt;script&gt;document.title"] {
        assert!(html.contains(seen), "{seen}");
    }
    assert_seen_in_light_and_dark(&browser, &page);
    assert_works(&browser, &page);
    let title = "<title>Groups of tests under VRAM watch</title>";
    assert!(browser.dom(&probed(&browser, &page), WIDE).contains(title));
}

#[test]
fn what_a_log_says_never_runs_even_without_the_policy() {
    let Some(browser) = Browser::found() else { return };
    let out_of_memory = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of \
                         3.81 GiB of which 3.50 GiB is free. <script>document.title='owned'</script>";
    let said = |at| format!("{EVIL}{at} FAILED\nE   {out_of_memory}\nFAILED {EVIL}{at} - {out_of_memory}\n");
    let log: String = (0..9).map(said).collect();
    let page = page_of(&browser, "evil", log.as_bytes());
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("&lt;script&gt;document.title"), "{html}");
    let probed = probed(&browser, &page);
    // The check sees what it is to see.
    let broken = browser.path("broken.html");
    fs::write(&broken, fs::read_to_string(&probed).unwrap().replacen("<main>", &format!("<main>{EVIL}"), 1))
        .unwrap();
    assert!(browser.dom(&broken, WIDE).contains("<title>owned</title>"));
    assert!(browser.dom(&probed, WIDE).contains("<title>Out of GPU memory</title>"));
}
