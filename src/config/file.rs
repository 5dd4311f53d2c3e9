//! What the file says, with the place of every value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::environment::{self, Environment};
use super::error::{ConfigErrors, Place, Problem};
use super::keys::{self, Key, Kind, Table};
use super::locate;

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// One table of an array of tables.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) place: Place,
    /// Its keys, without defaults.
    pub(super) keys: BTreeMap<String, Setting>,
    /// Keys whose value is of another type: a problem already, not missing.
    pub(super) wrong: Vec<&'static str>,
}

/// Everything that was written, by file or variable; of the right TOML type, not yet checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// By path, for example `node.bind`.
    pub(super) keys: BTreeMap<String, Setting>,
    /// By the array's name, in the order of the file.
    pub(super) arrays: BTreeMap<&'static str, Vec<Entry>>,
}

/// Reads the file, if there is one, and the environment; what is wrong goes into `problems`.
///
/// # Errors
/// A file that cannot be read, or is no TOML.
pub(super) fn gather(
    named: Option<&Path>,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Result<Settings, ConfigErrors> {
    let mut settings = Settings::default();
    if let Some(path) = locate::file(named, environment)? {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let mut reader = Reader { path: &path, text: &text, problems, settings: &mut settings };
        reader.document()?;
        settings.file = Some(path);
    }
    environment::apply(environment, &mut settings, problems);
    Ok(settings)
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigErrors {
    let remedy = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "put the file there, or name another by --config or THORASCRIBE_CONFIG"
        }
        std::io::ErrorKind::PermissionDenied => "let the user of this program read the file",
        std::io::ErrorKind::InvalidData => "save the file as UTF-8",
        _ => "check the path",
    };
    ConfigErrors::one(Problem {
        place: Place::WholeFile(path.to_owned()),
        key: String::new(),
        message: format!("cannot read the configuration: {error}"),
        remedy: remedy.to_owned(),
    })
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    settings: &'a mut Settings,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), ConfigErrors> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        let syntax = |error: &toml::de::Error| Problem {
            place: self.place(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("not valid TOML: {}", error.message()),
            remedy: "strings, sizes and durations stand in quotes; see conf/thorascribe.toml"
                .to_owned(),
        };
        if let Some(errors) = ConfigErrors::of(errors.iter().map(syntax).collect()) {
            return Err(errors);
        }
        for (name, value) in in_order(document.get_ref()) {
            let (place, name) = (self.place(name.span().start), name.get_ref().as_ref());
            if let Some(table) = keys::TABLES.iter().find(|table| table.name == name) {
                self.table(table, value, place);
            } else if let Some(array) = keys::ARRAYS.iter().find(|table| table.name == name) {
                self.array(array, value, place);
            } else {
                self.unknown_table(name, value.get_ref(), place);
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, value: &Spanned<DeValue<'_>>, place: Place) {
        let DeValue::Table(entries) = value.get_ref() else {
            return self.wrong_shape(table.name, value, place, &format!("[{}]", table.name));
        };
        for (path, setting) in self.entries(table, entries).0 {
            self.settings.keys.insert(format!("{}.{path}", table.name), setting);
        }
    }

    fn array(&mut self, table: &Table, value: &Spanned<DeValue<'_>>, place: Place) {
        let brackets = format!("[[{}]]", table.name);
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_shape(table.name, value, place, &brackets);
        };
        for item in items {
            let place = self.place(item.span().start);
            match item.get_ref() {
                DeValue::Table(entries) => {
                    let (keys, wrong) = self.entries(table, entries);
                    let keys = keys.into_iter().collect();
                    let known = keys::ARRAYS.iter().find(|known| known.name == table.name);
                    let name = known.map_or("", |known| known.name);
                    self.settings.arrays.entry(name).or_default().push(Entry {
                        place,
                        keys,
                        wrong,
                    });
                }
                _ => self.wrong_shape(table.name, item, place, &brackets),
            }
        }
    }

    /// The known keys of a table whose values are of the right type, and those whose values are
    /// not; the latter, and all unknown ones, are problems.
    fn entries(
        &mut self,
        table: &Table,
        entries: &DeTable<'_>,
    ) -> (Vec<(String, Setting)>, Vec<&'static str>) {
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for (name, value) in in_order(entries) {
            let path = format!("{}.{}", table.name, name.get_ref());
            let Some(key) = table.key(name.get_ref()) else {
                self.unknown_key(table, name.get_ref(), self.place(name.span().start));
                continue;
            };
            let place = self.place(value.span().start);
            if let Some(value) = owned(value.get_ref(), key.kind) {
                good.push((key.name.to_owned(), Setting { value, place }));
            } else {
                wrong.push(key.name);
                self.wrong_type(key, path, value, place);
            }
        }
        (good, wrong)
    }

    fn wrong_type(&mut self, key: &Key, path: String, value: &Spanned<DeValue<'_>>, place: Place) {
        let message = format!(
            "{} is {}, not {}",
            self.excerpt(value),
            article(value.get_ref().type_str()),
            key.kind.name()
        );
        let remedy = key.default.map_or_else(
            || format!("write {}", key.kind.name()),
            |default| format!("write {}, for example {default}", key.kind.name()),
        );
        self.problems.push(Problem { place, key: path, message, remedy });
    }

    fn unknown_key(&mut self, table: &Table, name: &str, place: Place) {
        let known: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
        let elsewhere = || keys::paths().find(|(_, key)| key.name == name);
        let remedy = if let Some(meant) = keys::nearest(name, known.iter().copied()) {
            format!("write {meant}")
        } else if let Some((other, key)) = elsewhere() {
            format!("{} belongs in [{}]", key.name, other.name)
        } else {
            "remove it".to_owned()
        };
        self.problems.push(Problem {
            place,
            key: format!("{}.{name}", table.name),
            message: format!("unknown key; [{}] knows {}", table.name, known.join(", ")),
            remedy,
        });
    }

    fn unknown_table(&mut self, name: &str, value: &DeValue<'_>, place: Place) {
        let tables = keys::TABLES.iter().map(|table| (table.name, format!("[{}]", table.name)));
        let arrays = keys::ARRAYS.iter().map(|table| (table.name, format!("[[{}]]", table.name)));
        let known: Vec<(&str, String)> = tables.chain(arrays).collect();
        let list: Vec<&str> = known.iter().map(|(_, brackets)| brackets.as_str()).collect();
        let is_table = matches!(value, DeValue::Table(_) | DeValue::Array(_));
        let home = (!is_table).then(|| keys::paths().find(|(_, key)| key.name == name)).flatten();
        let nearest = keys::nearest(name, known.iter().map(|(name, _)| *name));
        let meant = known.iter().find(|(name, _)| Some(*name) == nearest);
        let remedy = match (home, meant) {
            (Some((table, key)), _) => format!("put {} under [{}]", key.name, table.name),
            (None, Some((_, brackets))) => format!("write {brackets}"),
            (None, None) => "remove it".to_owned(),
        };
        self.problems.push(Problem {
            place,
            key: name.to_owned(),
            message: format!("unknown {}; known are {}", word(is_table), list.join(", ")),
            remedy,
        });
    }

    fn wrong_shape(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        place: Place,
        brackets: &str,
    ) {
        let found = article(value.get_ref().type_str());
        self.problems.push(Problem {
            place,
            key: name.to_owned(),
            message: format!("this is {found}, where {brackets} is meant"),
            remedy: format!("write {brackets} on a line of its own, and its keys below"),
        });
    }

    /// The text of a value, cut for an error.
    fn excerpt(&self, value: &Spanned<DeValue<'_>>) -> String {
        let text = self.text.get(value.span()).unwrap_or_default();
        let mut short: String = text.chars().take(40).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place::File { path: self.path.to_owned(), line, column }
    }
}

/// A table's entries in the order of the file.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn word(is_table: bool) -> &'static str {
    if is_table { "table" } else { "key" }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// The value as the key wants it; `None` when it is of another type.
fn owned(value: &DeValue<'_>, kind: Kind) -> Option<Value> {
    let integer = |value: &DeValue<'_>| {
        let integer = value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Value::Integer)
    };
    let text = |value: &DeValue<'_>| Some(Value::String(value.as_str()?.to_owned()));
    match kind {
        Kind::Text => text(value),
        Kind::Integer => integer(value),
        Kind::IntegerOrText => integer(value).or_else(|| text(value)),
        Kind::Flag => value.as_bool().map(Value::Boolean),
        Kind::Texts => {
            let items = value.as_array()?.iter().map(|item| text(item.get_ref()));
            items.collect::<Option<Vec<_>>>().map(Value::Array)
        }
    }
}
