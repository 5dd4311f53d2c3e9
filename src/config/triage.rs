//! Rules and routes: their conditions are compiled by `triage`.

use std::collections::BTreeSet;

use super::Receives;
use super::error::Place;
use super::file::Settings;
use super::keys::{self, Table};
use super::value::{Checker, Keys, texts};
use crate::vocabulary::Priority;

/// `[[rule]]`
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name; unique.
    pub name: String,
    /// When it fires.
    pub when: When,
    /// The priority that it gives.
    pub priority: Priority,
}

/// `[[route]]`
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name; unique.
    pub name: String,
    /// When it sends.
    pub when: When,
    /// The destinations by name.
    pub to: Vec<String>,
    /// What it sends.
    pub send: Vec<Receives>,
}

/// A condition as it was written.
#[derive(Debug, Clone)]
pub struct When {
    /// An expression of CEL.
    pub text: String,
    place: Place,
}

impl When {
    /// Where its character `at` stands, from 1; for 0, or where that is not on the same line, where
    /// the condition begins.
    pub fn place_at(&self, at: usize) -> Place {
        match &self.place {
            Place::File { path, line, column } if at > 0 && !self.text.contains('\n') => {
                Place::File { path: path.clone(), line: *line, column: column + at }
            }
            place => place.clone(),
        }
    }
}

impl Checker<'_> {
    pub(super) fn rules(&mut self, settings: &Settings) -> Vec<Rule> {
        const PRIORITIES: [(&str, Priority); 3] = [
            ("stat", Priority::Stat),
            ("urgent", Priority::Urgent),
            ("routine", Priority::Routine),
        ];
        self.each(settings, &keys::RULE, |checker, keys| {
            let (name, when) = (checker.text(keys, "name"), checker.when(keys));
            let priority = checker.word(keys, "priority", &PRIORITIES);
            let name = name.unwrap_or_default();
            Some(Rule { name, when: when?, priority: priority.unwrap_or(Priority::Routine) })
        })
    }

    pub(super) fn routes(&mut self, settings: &Settings) -> Vec<Route> {
        let entries = settings.arrays.get("destination").map_or(&[][..], Vec::as_slice);
        let named = entries.iter().filter_map(|entry| entry.keys.get("name")?.value.as_str());
        let destinations: Vec<(&str, String)> = named.map(|name| (name, name.to_owned())).collect();
        self.each(settings, &keys::ROUTE, |checker, keys| {
            let (name, when) = (checker.text(keys, "name"), checker.when(keys));
            let to = checker.targets(keys, &destinations).unwrap_or_default();
            let send = checker.sent(keys, "send").unwrap_or_default();
            Some(Route { name: name.unwrap_or_default(), when: when?, to, send })
        })
    }

    fn targets(&mut self, keys: &Keys<'_>, destinations: &[(&str, String)]) -> Option<Vec<String>> {
        if texts(&self.required(keys, "to")?.value).is_empty() {
            self.complain(keys, "to", "no destination is named", "name one");
            return None;
        }
        if destinations.is_empty() {
            let why = "there is no [[destination]] with a name";
            self.complain(keys, "to", why, "add a [[destination]], and write its name here");
            return None;
        }
        self.words(keys, "to", destinations)
    }

    /// Every entry of an array of tables, each with a name of its own. One that is wrong stays, as
    /// long as it has a condition: that is compiled all the same, and its errors told with the rest.
    fn each<T>(
        &mut self,
        settings: &Settings,
        table: &'static Table,
        mut read: impl FnMut(&mut Self, &Keys<'_>) -> Option<T>,
    ) -> Vec<T> {
        let entries = settings.arrays.get(table.name).map_or(&[][..], Vec::as_slice);
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for entry in entries {
            let keys = Keys::of_entry(table, entry);
            let name = keys.written.get("name").and_then(|s| s.value.as_str()).unwrap_or_default();
            if !seen.insert(name.to_owned()) && !name.is_empty() {
                let why = format!("{name:?} names a {} already", table.name);
                self.complain(&keys, "name", &why, "give each a name of its own");
            }
            all.extend(read(self, &keys));
        }
        all
    }

    fn when(&mut self, keys: &Keys<'_>) -> Option<When> {
        let setting = self.required(keys, "when")?;
        Some(When { text: setting.value.as_str()?.to_owned(), place: setting.place })
    }

    /// What a destination or a route sends.
    pub(super) fn sent(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Vec<Receives>> {
        let allowed = Receives::ALL.map(|what| (what.name(), what));
        let sent = self.words(keys, key, &allowed)?;
        if sent.is_empty() {
            self.complain(keys, key, "nothing would be sent", "write [\"report\"]");
            return None;
        }
        Some(sent)
    }
}
