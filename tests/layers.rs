//! Holds the code to its architecture: who may use whom, and what has exactly one place.
//!
//! It reads the source as text. The groups are those of `src/lib.rs`, in its order; a new module finds its rules by
//! being put into one.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "it reads this project's own files, and what breaks it must show"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use livy_gateway::denial::Denial;

#[test]
fn no_module_uses_one_of_a_group_above_it() {
    let groups = groups();
    let mut wrong = Vec::new();
    for file in product_files() {
        let Some(own) = groups.get(file.module.as_str()) else {
            continue;
        };
        for (line, used) in uses(&file.code) {
            let used_group = groups.get(used.as_str()).unwrap_or_else(|| {
                panic!(
                    "{}:{line} uses crate::{used}, which lib.rs does not name",
                    file.path
                )
            });
            if used_group > own {
                wrong.push(format!(
                    "{}:{line} (group {own}) uses {used} (group {used_group})",
                    file.path
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_file_belongs_to_a_module_of_a_group() {
    let groups = groups();
    let strays: Vec<_> = product_files()
        .into_iter()
        .filter(|file| !groups.contains_key(file.module.as_str()))
        .map(|file| file.path)
        .collect();
    assert_eq!(
        strays,
        ["src/lib.rs", "src/main.rs"],
        "only the roots stand outside"
    );
    assert_eq!(
        groups.values().collect::<BTreeSet<_>>().len(),
        6,
        "vocabulary, rules, configuration, adapters, story, composition: {groups:?}"
    );
}

#[test]
fn the_vocabulary_and_the_rules_never_wait_log_or_touch_the_world() {
    let groups = groups();
    let pure = |file: &File| groups.get(file.module.as_str()).is_some_and(|group| *group <= 2);
    let world = [
        ".await",
        "async fn",
        "async move",
        "tokio::",
        "tracing::",
        "std::fs",
        "std::thread",
        "std::env",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
    ];
    assert_eq!(
        found(pure, &world, &[]),
        Vec::<String>::new(),
        "groups 1 and 2 decide; whoever calls them reads, waits and tells"
    );
}

#[test]
fn only_livy_takes_paths_apart() {
    let elsewhere = |file: &File| file.module != "livy";
    let splits = [
        "split('/')",
        "split(\"/\")",
        "split(b'/')",
        "split_once('/')",
        "split_once(\"/\")",
        "rsplit_once('/')",
        "rsplit('/')",
        ", '/')",
        "split_terminator('/')",
        "split_inclusive('/')",
        "== b'/')",
        "percent_decode",
    ];
    let allowed = [("src/limits.rs", "split_once('/')", "a rate, such as 10/min")];
    assert_eq!(found(elsewhere, &splits, &allowed), Vec::<String>::new());
}

#[test]
fn only_livy_and_those_who_show_it_ask_a_request_for_its_path() {
    let elsewhere = |file: &File| file.module != "livy";
    let asks = ["uri().path()", "uri.path()", "path_and_query()"];
    let allowed = [
        (
            "src/admin.rs",
            "uri().path()",
            "the operators' listener compares it whole",
        ),
        (
            "src/gateway/report.rs",
            "uri.path()",
            "the log shows what was asked",
        ),
        ("src/authn/issuer.rs", "uri.path()", "an issuer's own, configured"),
        ("src/config/url.rs", "uri.path()", "Livy's own, configured"),
        (
            "src/jwks/fetch.rs",
            "path_and_query()",
            "an issuer's own, configured",
        ),
    ];
    assert_eq!(found(elsewhere, &asks, &allowed), Vec::<String>::new());
}

#[test]
fn only_rewrite_writes_for_whom_livy_shall_act() {
    let elsewhere = |file: &File| file.path != "src/rewrite.rs";
    let names = [
        "\"doAs\"",
        "\"proxyUser\"",
        "doAs=",
        "proxyUser=",
        "\\\"proxyUser\\\"",
    ];
    let allowed = [
        (
            "src/body_policy.rs",
            "\"doAs\"",
            "points from what no body has to what it has",
        ),
        ("src/cli.rs", "doAs=", "an example in the help"),
        ("src/livy/query.rs", "\"doAs\"", "reads a client's own"),
        ("src/livy/query.rs", "\"proxyUser\"", "reads a client's own"),
        (
            "src/livy/body.rs",
            "\"proxyUser\"",
            "reads a client's own, and puts in its place what it is given",
        ),
        ("src/livy/list.rs", "\"proxyUser\"", "reads what Livy lists"),
        (
            "src/config/raw/values.rs",
            "\"doAs\"",
            "refuses it as an extra field",
        ),
        (
            "src/config/raw/values.rs",
            "\"proxyUser\"",
            "refuses it as an extra field",
        ),
        ("src/config/raw.rs", "\"doAs\"", "a word of the configuration"),
        (
            "src/config/raw.rs",
            "\"proxyUser\"",
            "a word of the configuration",
        ),
        ("src/config/show.rs", "\"doAs\"", "a word of the configuration"),
        (
            "src/config/show.rs",
            "\"proxyUser\"",
            "a word of the configuration",
        ),
        (
            "src/denial.rs",
            "\"proxyUser\"",
            "a sample for the tests of the table",
        ),
    ];
    assert_eq!(found(elsewhere, &names, &allowed), Vec::<String>::new());
}

#[test]
fn only_the_metrics_module_holds_a_metrics_name() {
    let elsewhere = |file: &File| file.path != "src/telemetry/metrics.rs";
    assert_eq!(found(elsewhere, &["livy_gateway_"], &[]), Vec::<String>::new());
    let outside = |file: &File| elsewhere(file) && !file.path.starts_with("src/telemetry/metrics/");
    let records = ["metrics::counter!", "metrics::gauge!", "metrics::histogram!"];
    assert_eq!(found(outside, &records, &[]), Vec::<String>::new());
}

#[test]
fn only_the_clock_asks_for_the_time() {
    let elsewhere = |file: &File| file.path != "src/clock.rs";
    let asks = [
        "Instant::now",
        "SystemTime::now",
        "OffsetDateTime::now",
        "UtcDateTime::now",
        "Utc::now",
    ];
    assert_eq!(found(elsewhere, &asks, &[]), Vec::<String>::new());
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    // One table of everything that may be configured; it would be harder to read in two places.
    const LONGER: &[(&str, usize)] = &[("src/config/raw.rs", 700)];
    let limit = |path: &str| {
        LONGER
            .iter()
            .find(|(of, _)| *of == path)
            .map_or(600, |(_, lines)| *lines)
    };
    let mut long = Vec::new();
    for path in rust_files(&root().join("src"))
        .into_iter()
        .chain(rust_files(&root().join("tests")))
    {
        let (lines, path) = (read(&path).lines().count(), relative(&path));
        if lines > limit(&path) {
            long.push(format!("{path} has {lines} lines, at most {}", limit(&path)));
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn every_denial_has_its_heading_and_every_heading_its_denial() {
    let page = read(&root().join("docs/denials.md"));
    let headings: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.trim().trim_matches('`').to_owned())
        .collect();
    let named: BTreeSet<_> = headings.iter().cloned().collect();
    let codes: BTreeSet<_> = Denial::samples()
        .iter()
        .map(|denial| denial.answer().code.to_owned())
        .collect();
    let difference = |of: &BTreeSet<String>, without: &BTreeSet<String>| -> Vec<String> {
        of.difference(without).cloned().collect()
    };
    assert_eq!(
        (difference(&codes, &named), difference(&named, &codes)),
        (vec![], vec![]),
        "(codes without a heading, headings without a code)"
    );
    assert_eq!(headings.len(), named.len(), "no code is explained twice");
}

/// A file of the product, without its tests and comments.
struct File {
    path: String,
    /// The module of `src/lib.rs` that it belongs to.
    module: String,
    /// Line number and text.
    code: Vec<(usize, String)>,
}

/// Module to group, as the comments `// 1. …` and the `mod` lines of lib.rs say.
fn groups() -> BTreeMap<String, usize> {
    let mut groups = BTreeMap::new();
    let mut group = 0;
    for line in read(&root().join("src/lib.rs")).lines() {
        if let Some(number) = line.strip_prefix("// ").and_then(|rest| rest.split_once(". ")) {
            group = number.0.parse().expect("a group has a number");
        } else if let Some(module) = line
            .trim_start_matches("pub ")
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            assert!(group > 0, "{module} stands before the first group");
            groups.insert(module.to_owned(), group);
        }
    }
    groups
}

fn product_files() -> Vec<File> {
    let source = root().join("src");
    rust_files(&source)
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let below = path.strip_prefix(&source).expect("it lies there").to_owned();
            let first = below.components().next().expect("it has a name");
            File {
                module: first
                    .as_os_str()
                    .to_string_lossy()
                    .trim_end_matches(".rs")
                    .to_owned(),
                code: product_code(&read(&path)),
                path: relative(&path),
            }
        })
        .collect()
}

fn is_test(path: &Path) -> bool {
    let name = |part: &std::ffi::OsStr| matches!(part.to_str(), Some("tests" | "tests.rs" | "testing.rs"));
    path.strip_prefix(root()).expect("it lies there").iter().any(name)
}

/// Without comments, and without the tests at the bottom.
fn product_code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let follows_module = lines
            .peek()
            .is_some_and(|(_, next)| next.ends_with('{') && next.contains("mod "));
        if line == "#[cfg(test)]" && follows_module {
            // To the brace that closes it, which stands at the left edge.
            lines.by_ref().find(|(_, line)| *line == "}");
            continue;
        }
        if !line.trim_start().starts_with("//") {
            code.push((index + 1, line.to_owned()));
        }
    }
    code
}

/// What follows `crate::`, with its line. A group of imports, `crate::{a, b::c}`, is taken apart.
fn uses(code: &[(usize, String)]) -> Vec<(usize, String)> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut uses = Vec::new();
    for (line, text) in code {
        for (at, found) in text.match_indices("crate::") {
            // `fake_crate::` is another crate, `pub(in crate::x)` is no use that could point upwards.
            if text[..at].ends_with(is_word) {
                continue;
            }
            let rest = &text[at + found.len()..];
            assert!(
                !rest.starts_with(['{', '*']),
                "line {line}: write one `use crate::module` a line, so that this test can read it"
            );
            let name: String = rest.chars().take_while(|letter| is_word(*letter)).collect();
            uses.push((*line, name));
        }
    }
    uses
}

/// Where one of `needles` stands in a file that `applies`, but for what is allowed: file, needle, and the reason.
/// An allowance that nothing needs is told as well.
fn found(applies: impl Fn(&File) -> bool, needles: &[&str], allowed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut unused: BTreeSet<(&str, &str)> =
        allowed.iter().map(|(file, needle, _)| (*file, *needle)).collect();
    let mut found = Vec::new();
    for file in product_files().into_iter().filter(|file| applies(file)) {
        for (line, text) in &file.code {
            for needle in needles.iter().filter(|needle| text.contains(**needle)) {
                match allowed
                    .iter()
                    .find(|(of, what, _)| *of == file.path && what == needle)
                {
                    Some((of, what, _)) => {
                        unused.remove(&(*of, *what));
                    }
                    None => found.push(format!("{}:{line} has {needle}: {}", file.path, text.trim())),
                }
            }
        }
    }
    found.extend(
        unused
            .into_iter()
            .map(|(file, needle)| format!("{file} has no {needle} any more: drop its allowance")),
    );
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("it lies there")
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn rules_dashboard_and_operators_guide_name_the_same_metrics_and_alerts_as_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect(path);
    let metrics = read("src/telemetry/metrics.rs");
    let names: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1))
        .filter(|text| text.starts_with("livy_gateway_"))
        .collect();
    let mut shown = BTreeSet::new();
    for file in ["alerts.yml", "recording.yml", "dashboard.json"] {
        let text = read(&format!("deploy/observability/{file}"));
        // A recorded series has its metric's name in its own, between colons.
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_:".contains(letter));
        for word in words.filter(|word| word.starts_with("livy_gateway_") && !word.contains(':')) {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix).filter(|name| names.contains(name)))
                .unwrap_or(word);
            assert!(
                names.contains(name),
                "{file} asks for {name}, which nothing records"
            );
            shown.insert(name.to_owned());
        }
    }
    let guide = read("docs/operations.md");
    for name in &names {
        assert!(
            guide.contains(&format!("| `{name}` |")),
            "docs/operations.md does not explain {name}"
        );
    }
    let unseen: Vec<_> = names.iter().filter(|name| !shown.contains(**name)).collect();
    assert_eq!(
        unseen,
        Vec::<&&str>::new(),
        "neither a panel nor an alert asks for these"
    );
    let alerts = read("deploy/observability/alerts.yml");
    let alerts: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        assert!(
            guide.contains(&format!("\n### {alert}\n")),
            "docs/operations.md has no section {alert}"
        );
        let anchor = format!("docs/operations.md#{}\n", alert.to_lowercase());
        let all = read("deploy/observability/alerts.yml");
        assert!(all.contains(&anchor), "{alert} does not lead to its section");
    }
}
