//! The HTML report: it is well-formed, self-contained and accessible, and agrees with the JSON report.

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use candle_core::{DType, Device};
use insta::assert_snapshot;
use program::{home, rbees_in, stderr, stdout, wrong_theta};
use rbees_check::judge::{self, Subject};
use rbees_check::model::{Attention, Llama};
use rbees_check::plants::{self, Correct};
use rbees_check::report::{html, json};
use rbees_check::{checkpoints, models};
use roxmltree::{Document, Node, ParsingOptions};
use rstest::rstest;

/// The HTML page and the JSON report of a passing run.
static PASSING: LazyLock<(String, json::Report)> =
    LazyLock::new(|| paged(home().path(), &["1", "3", "6", "7", "8", "--model", "tiny-llama2"]));

/// The same of a failing run, on a single prompt and a batch padded on the left.
static FAILING: LazyLock<(String, json::Report)> = LazyLock::new(|| {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    let cases = ["--case", "short", "--case", "batch-left"];
    let args = ["0", "1", "1B", "6", "9", "--model", "wrong", "--references", "tiny-llama"];
    paged(folder.path(), &[&args[..], &cases[..]].concat())
});

fn paged(folder: &Path, args: &[&str]) -> (String, json::Report) {
    let args = [&["run"], args, &["--report", "html=r.html", "--report", "json=r.json"]].concat();
    let output = rbees_in(folder, &home(), &args).output().unwrap();
    let page = fs::read_to_string(folder.join("r.html")).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (page, json::Report::read(&folder.join("r.json")).unwrap())
}

/// Parses the page as XML. Panics if it is not well-formed.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

fn all<'a>(node: Node<'a, 'a>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.descendants().filter(move |node| node.has_tag_name(("http://www.w3.org/1999/xhtml", tag)))
}

/// All text below a node, with runs of whitespace collapsed.
fn text(node: Node<'_, '_>) -> String {
    let all: String = node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect();
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The section with this heading.
fn section<'a>(document: &'a Document<'a>, heading: &str) -> Node<'a, 'a> {
    let mut sections = all(document.root(), "section");
    sections.find(|section| all(*section, "h2").any(|h2| text(h2).starts_with(heading))).unwrap()
}

/// For each row of a coloured table: its header, and the class and text of each cell.
fn cells<'a>(table: Node<'a, 'a>) -> Vec<(String, Vec<(&'a str, String)>)> {
    let body = all(table, "tbody").next().unwrap();
    let row = |tr: Node<'a, 'a>| {
        let cells = all(tr, "td").map(|td| (td.attribute("class").unwrap(), text(td)));
        (text(all(tr, "th").next().unwrap()), cells.collect())
    };
    all(body, "tr").map(row).collect()
}

fn past_budget(class: &str) -> bool {
    matches!(class, "s5" | "s6" | "s7")
}

/// The outline of a page: headings, captions, suspects, commands and the first column of each table. Numbers
/// that differ between machines are left out.
fn outline(document: &Document<'_>) -> String {
    let mut lines = String::new();
    for node in document.descendants().filter(Node::is_element) {
        let class = node.attribute("class").unwrap_or_default();
        let inside = |tag: &str| {
            node.ancestors().skip(1).find(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", tag)))
        };
        // Which of the passing sites is worst depends on the machine.
        let nearest = inside("section").is_some_and(|section| text(section).starts_with("The site closest"));
        if nearest || node.tag_name().name() == "p" && inside("details").is_some() {
            continue;
        }
        let line = match node.tag_name().name() {
            "p" if class == "maker" => continue,
            "h1" => format!("# {}", text(node)),
            "h2" => format!("\n## {}", text(node)),
            "h3" => format!("### {}", text(node)),
            "caption" => format!("table: {}", text(node)),
            "figcaption" => format!("chart: {}", text(node)),
            "th" if node.attribute("scope") != Some("col") => format!("   {}", text(node)),
            "td" if node.parent().is_some_and(|tr| tr.attribute("class").is_none()) && class.is_empty() => {
                format!("      {}", text(node))
            }
            "p" if class != "lead" => text(node),
            "pre" => format!("$ {}", text(node)),
            _ => continue,
        };
        lines += &format!("{line}\n");
    }
    masked(&lines)
}

/// Replaces percentages, hashes, the version and the number of threads by placeholders.
fn masked(text: &str) -> String {
    let word = |word: &str| match word.strip_suffix('%').or(word.strip_suffix("%,")) {
        _ if word == format!("{},", env!("CARGO_PKG_VERSION")) => "VERSION,".into(),
        Some(number) if number.chars().all(|c| c.is_ascii_digit() || "<.".contains(c)) => "..%".to_owned(),
        _ if word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit()) => "HASH".to_owned(),
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        indent + &line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
    };
    let threads =
        |line: &str| line.split_once(" VERSION, ").map(|(head, _)| format!("{head} VERSION, THREADS"));
    text.lines().map(line).map(|line| threads(&line).unwrap_or(line) + "\n").collect()
}

#[test]
fn the_outline_of_a_passing_page_matches_its_snapshot() {
    assert_snapshot!("passing", outline(&parsed(&PASSING.0)));
}

#[test]
fn the_outline_of_a_failing_page_matches_its_snapshot() {
    assert_snapshot!("failing", outline(&parsed(&FAILING.0)));
}

#[rstest]
#[case::passing(&PASSING)]
#[case::failing(&FAILING)]
fn a_page_shows_the_checkpoint_statuses_and_hashes_of_the_json_report(
    #[case] (page, report): &(String, json::Report),
) {
    let document = parsed(page);
    let rows: Vec<(String, String)> = all(section(&document, "Checkpoints"), "tbody")
        .map(|body| (text(all(body, "th").next().unwrap()), text(all(body, "b").next().unwrap())))
        .collect();
    let word = |standing| match standing {
        json::Standing::Passed => "PASS",
        json::Standing::Failed => "FAIL",
        json::Standing::Own => "OWN",
        json::Standing::Skipped => "SKIP",
        json::Standing::Expected => "XFAIL",
        json::Standing::NotJudged => "INCONCLUSIVE",
    };
    let expected: Vec<(String, String)> =
        report.checkpoints.iter().map(|c| (format!("{} {}", c.id, c.name), word(c.status).into())).collect();
    assert_eq!(rows, expected);
    let hashes: BTreeSet<&str> =
        document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    assert!(hashes.contains(report.model.weights_sha256.as_deref().unwrap()));
    report.references.cases.iter().for_each(|case| assert!(hashes.contains(case.sites_sha256.as_str())));
}

#[test]
fn a_wrong_theta_is_coloured_past_the_budget_at_every_position_except_0() {
    let document = parsed(&FAILING.0);
    let tables: Vec<_> = all(section(&document, "The first wrong site"), "table").collect();
    assert_eq!(tables.len(), 1, "the first case has one row");
    for (head, cells) in cells(tables[0]) {
        assert!(head.starts_with("head "), "{head}");
        let past: Vec<bool> = cells.iter().map(|(class, _)| past_budget(class)).collect();
        assert_eq!(past, [&[false][..], &[true; 12][..]].concat(), "{head}: {cells:?}");
    }
    let charts: Vec<String> = all_svg(section(&document, "Error by position")).map(text).collect();
    assert_eq!(charts.len(), 2);
}

#[test]
fn only_failing_sites_are_coloured_as_past_the_budget() {
    let document = parsed(&FAILING.0);
    let table = all(section(&document, "Every site"), "table").next().unwrap();
    let wrong: Vec<String> = cells(table)
        .into_iter()
        .filter(|(_, cells)| cells.iter().any(|(class, _)| past_budget(class)))
        .map(|(site, _)| site)
        .collect();
    assert_eq!(wrong, ["self_attn.q_rope", "self_attn.k_rope", "block output"]);
    let document = parsed(&PASSING.0);
    let classes =
        document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "td")));
    assert!(classes.filter_map(|node| node.attribute("class")).all(|class| !past_budget(class)));
}

#[test]
fn a_wrong_head_map_colours_only_the_heads_it_changes() {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let plant = plants::find("head-map").unwrap();
    let planted = (plant.make)(&Correct { model: &model, llama: &llama }).unwrap();
    let mut subject =
        Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &[Attention::Plain]).unwrap();
    subject.ports = vec![planted.port];
    let outcome = judge::run(&mut subject, checkpoints::find("3").unwrap()).unwrap();
    let checkpoints = vec![json::Checkpoint::of(&outcome)];
    let report = json::Report { summary: json::Summary::of(&checkpoints), checkpoints, ..PASSING.1.clone() };
    let run =
        html::PageInput { report: &report, outcomes: &[outcome], command: "rbees-check run 3", flags: "" };
    let page = html::page(&run).unwrap();
    let document = parsed(&page);
    let suspects = section(&document, "Suspects");
    assert_eq!(text(all(suspects, "h3").next().unwrap()), "head-map");
    let table = all(section(&document, "The first wrong site"), "table").next().unwrap();
    let wrong: Vec<String> = cells(table)
        .into_iter()
        .filter(|(_, cells)| cells.iter().any(|(class, _)| past_budget(class)))
        .map(|(head, _)| head)
        .collect();
    // Query heads 0 to 2 use key head 0. The mistake, h mod 2, is correct for heads 0, 2, 3 and 5.
    assert_eq!(wrong, ["head 1", "head 4"]);
}

fn all_svg<'a>(node: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    node.descendants().filter(|node| node.tag_name().name() == "svg" && node.attribute("role") == Some("img"))
}

#[rstest]
#[case::passing(&PASSING)]
#[case::failing(&FAILING)]
fn a_page_is_self_contained_and_has_no_scripts_or_links(#[case] (page, _): &(String, json::Report)) {
    let document = parsed(page);
    for node in document.descendants().filter(Node::is_element) {
        let tag = node.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "base", "form", "a"].contains(&tag),
            "<{tag}>"
        );
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && !["src", "href", "srcset"].contains(&name), "{tag} {name}");
        }
    }
    let style = text(all(document.root(), "style").next().unwrap());
    assert!(!style.contains("url(") && !style.contains("@import"), "{style}");
}

#[rstest]
#[case::passing(&PASSING)]
#[case::failing(&FAILING)]
fn a_page_has_accessible_headings_tables_and_charts(#[case] (page, _): &(String, json::Report)) {
    let document = parsed(page);
    let root = document.root();
    assert_eq!(root.first_element_child().unwrap().attribute("lang"), Some("en"));
    let levels: Vec<u8> = document
        .descendants()
        .filter_map(|node| node.tag_name().name().strip_prefix('h')?.parse().ok())
        .collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert!(all(root, "table").all(|table| all(table, "caption").count() == 1));
    assert!(all(root, "th").all(|th| th.attribute("scope").is_some()));
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "duplicate ids");
    let labels = document.descendants().filter_map(|node| node.attribute("aria-labelledby"));
    assert!(labels.flat_map(str::split_whitespace).all(|id| ids.contains(&id)));
    assert!(all_svg(root).count() > 3);
    for svg in all_svg(root) {
        let has =
            |tag: &str| svg.children().any(|child| child.tag_name().name() == tag && !text(child).is_empty());
        assert!(has("title") && has("desc"), "a chart without a title or a description");
    }
    let svgs = document.descendants().filter(|node| node.tag_name().name() == "svg");
    assert!(
        svgs.into_iter().all(|svg| svg.attribute("role").is_some() || svg.attribute("aria-hidden").is_some())
    );
}

#[test]
fn names_from_files_are_escaped_in_a_page() {
    let name = "<img src=x onerror=alert(1)>&\"'{{ 7*7 }}\u{202e}\u{1b}[31m";
    let folder = home();
    let case = folder.path().join("case");
    fs::create_dir(&case).unwrap();
    let single = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/single");
    for file in ["noise.npz", "reference.npz"] {
        fs::copy(single.join(file), case.join(file)).unwrap();
    }
    let manifest = fs::read(single.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["case"] = "</title></style><script>alert(1)</script>".into();
    manifest["provenance"]["]]><b>key</b>"] = "<!-- \u{0}".into();
    fs::write(case.join("manifest.json"), manifest.to_string()).unwrap();
    wrong_theta(&folder.path().join(name));
    let (page, _) = paged(folder.path(), &["1B", "--model", name, "--case", "case"]);
    let document = parsed(&page);
    for tag in ["img", "script", "b"] {
        let inside = all(document.root(), tag).filter(|node| text(*node).contains("key") || tag != "b");
        assert_eq!(inside.count(), 0, "<{tag}>");
    }
    let words = text(all(document.root(), "body").next().unwrap());
    assert!(words.contains("<img src=x onerror=alert(1)>&\"'{{ 7*7 }}\u{fffd}\u{fffd}[31m"), "{words}");
    assert!(words.contains("</title></style><script>alert(1)</script>"), "{words}");
    assert!(words.contains("]]><b>key</b><!-- \u{fffd}"), "{words}");
}

#[test]
fn a_page_on_stdout_is_the_only_output_there() {
    let folder = home();
    let args = ["run", "1", "--case", "single", "--report", "html=-"];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    let page = stdout(&output);
    assert!(text(all(parsed(&page).root(), "h1").next().unwrap()).ends_with("passes"), "{page}");
    assert!(stderr(&output).ends_with("checkpoints: 1 passed, 0 failed, 0 skipped\n"));
}

/// The CSS colour variables of the light and the dark palette.
fn palettes() -> [std::collections::BTreeMap<String, [f64; 3]>; 2] {
    let css = fs::read_to_string("src/report/html/page.css").unwrap();
    let (light, rest) = css.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let dark = &rest[..rest.find("}\n}").unwrap()];
    [light, dark].map(|css| {
        let colours = css.split(';').filter_map(|line| {
            let (name, value) = line.rsplit_once("--")?.1.split_once(": #")?;
            let channel = |i: usize| u8::from_str_radix(&value[2 * i..2 * i + 2], 16).unwrap();
            Some((name.to_owned(), [0, 1, 2].map(|i| f64::from(channel(i)) / 255.0)))
        });
        colours.collect()
    })
}

#[test]
fn text_contrast_is_at_least_4_5_in_the_light_and_the_dark_palette() {
    let [light, dark] = palettes();
    assert_eq!(light.keys().collect::<Vec<_>>(), dark.keys().collect::<Vec<_>>());
    // Relative luminance and contrast as WCAG 2 defines them. 4.5 is its AA threshold for text.
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    for palette in [light, dark] {
        let luminance = |name: &str| {
            let [r, g, b] = palette[name].map(linear);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let texts = ["ink", "soft", "pass", "fail", "void", "skip", "known"].map(|text| (text, "paper"));
        let cells = [("ink", "s1"), ("ink", "s2"), ("ink", "s3"), ("on-s4", "s4"), ("on-s5", "s5")];
        let more = [("on-s6", "s6"), ("on-s7", "s7"), ("soft", "card"), ("ink", "card"), ("ink", "faint")];
        for (text, ground) in texts.into_iter().chain(cells).chain(more) {
            let (a, b) = (luminance(text), luminance(ground));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
        }
    }
}
