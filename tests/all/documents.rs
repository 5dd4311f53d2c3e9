//! What the documents say about the program is what the program does.

use std::path::Path;

use thorascribe::config::{Environment, show};
use thorascribe::vocabulary::{SopClass, TransferSyntax};

use super::support::node::program;
use super::support::objects::root;
use super::support::process::succeed;

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The first two cells of each row whose second is a UID, under a heading.
fn rows(text: &str, heading: &str) -> Vec<(String, String)> {
    let (_, section) = text.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split('|').map(|cell| cell.trim().to_owned());
        let (name, uid) = (cells.next()?, cells.next()?);
        uid.starts_with("1.2.840.").then_some((name, uid))
    };
    section.lines().filter_map(cells).collect()
}

#[test]
fn the_conformance_statement_lists_what_is_accepted_in_order() {
    let text = document("docs/CONFORMANCE.md");
    let classes: Vec<_> =
        SopClass::ALL.iter().map(|c| (c.name().to_owned(), c.uid().to_owned())).collect();
    assert_eq!(rows(&text, "## SOP classes"), classes);
    let syntaxes: Vec<_> =
        TransferSyntax::ALL.iter().map(|t| (t.name().to_owned(), t.uid().to_owned())).collect();
    assert_eq!(rows(&text, "## Transfer syntaxes"), syntaxes);
}

#[test]
fn every_command_of_the_help_is_in_the_readme() {
    let readme = document("README.md");
    let help = succeed(program(Path::new("/")).arg("--help"));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let mut seen = 0;
    for name in names.filter(|line| !line.starts_with(' ')).filter_map(|l| l.split(' ').next()) {
        seen += 1;
        assert!(
            name == "help" || readme.contains(&format!("`{name}")),
            "{name} is not in README.md"
        );
    }
    assert!(seen > 5, "{help}");
}

#[test]
fn the_readme_names_keys_and_defaults_as_they_are() {
    let readme = document("README.md");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let (_, values) =
        show(Some(empty.path()), &Environment::new([("HOME", "/home/someone")])).unwrap();
    let table = readme.split("| key | default | |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `[[")) {
        let mut cells = row.trim_matches('|').split(" | ");
        let (keys, defaults) = (cells.next().unwrap(), cells.next().unwrap());
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for key in quoted(keys) {
            let value = values.iter().find(|v| v.key == key).unwrap_or_else(|| panic!("{key}"));
            named += 1;
            let plain = value.value.trim_matches('"');
            // An empty value is described in words.
            assert!(plain.is_empty() || quoted(defaults).contains(&plain.to_owned()), "{row}");
        }
    }
    assert!(named >= 10, "{table}");
}

#[test]
fn every_file_that_the_readme_links_is_there() {
    for name in ["README.md", "docs/CONFORMANCE.md", "docs/RELIABILITY.md"] {
        let text = document(name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(root().join(link).exists(), "{name} links {link}");
        }
    }
}

#[test]
fn every_test_that_the_reliability_table_names_is_there() {
    let text = document("docs/RELIABILITY.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let rows = rows.filter(|line| *line != "| fault | behaviour | test |");
    let mut named = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, tests] = cells[..] else { panic!("not three cells: {row}") };
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            let file = if file.starts_with("src/") {
                file.to_owned()
            } else {
                format!("tests/all/{file}")
            };
            let source = document(&file);
            // In a property test the attribute does not stand right before the function.
            let (before, _) = source
                .split_once(&format!("fn {function}("))
                .unwrap_or_else(|| panic!("{file} has no {function}"));
            let attribute = before.rfind("#[test]").or_else(|| before.rfind("#[tokio::test"));
            let attribute = attribute.unwrap_or_else(|| panic!("{test} is no test"));
            let (_, between) = before.split_at(attribute);
            assert!(!between.contains("\nfn "), "{test} is no test");
            named += 1;
        }
    }
    assert!(named >= 40, "{named} tests are named");
}
