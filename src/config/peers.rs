//! The other nodes: who receives, and who may send.

use std::collections::BTreeMap;

use super::error::Place;
use super::file::{Settings, not_available};
use super::keys;
use super::value::{AE_TITLE, Checker, Keys, RANGE};
use super::{Destination, Peer, SrClassSetting};

impl Checker<'_> {
    pub(super) fn destinations(&mut self, settings: &Settings) -> Option<Vec<Destination>> {
        let entries = settings.arrays.get("destination").map_or(&[][..], Vec::as_slice);
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let (mut all, mut whole) = (Vec::new(), true);
        for entry in entries {
            let keys = Keys::of_entry(&keys::DESTINATION, entry);
            let destination = self.destination(&keys);
            let name = keys.written.get("name").and_then(|s| s.value.as_str()).unwrap_or_default();
            if let Some(first) = seen.insert(name.to_owned(), entry.place.clone())
                && !name.is_empty()
            {
                let why = format!("{name:?} names a destination already, at {first}");
                self.complain(&keys, "name", &why, "give each destination a name of its own");
            }
            match destination {
                Some(destination) => all.push(destination),
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    fn destination(&mut self, keys: &Keys<'_>) -> Option<Destination> {
        let name = self.name(keys);
        let ae_title = self.parsed(keys, "ae_title", AE_TITLE);
        let host = self.host(keys);
        let port = self.count(keys, "port", 1, 65_535);
        let receives = self.sent(keys, "receives");
        let classes = [
            ("enhanced", SrClassSetting::Enhanced),
            ("basic", SrClassSetting::Basic),
            ("comprehensive", SrClassSetting::Comprehensive),
        ];
        let sr_classes = self.words(keys, "sr_classes", &classes);
        if sr_classes.as_ref().is_some_and(Vec::is_empty) {
            self.complain(
                keys,
                "sr_classes",
                "no class is left to send",
                "write [\"enhanced\", \"basic\"]",
            );
        }
        for planned in ["tls", "commitment"] {
            if self.flag(keys, planned) == Some(true) {
                let place = keys.place_of(planned);
                let path = keys.path(planned);
                self.problems.push(not_available(place, &path, &format!("{planned} = true")));
            }
        }
        Some(Destination {
            name: name?,
            ae_title: ae_title?,
            host: host?,
            port: u16::try_from(port?).ok()?,
            receives: receives?,
            sr_classes: sr_classes?,
        })
    }

    fn name(&mut self, keys: &Keys<'_>) -> Option<String> {
        let name = self.text(keys, "name")?;
        let good = !name.trim().is_empty()
            && name.chars().count() <= 64
            && !name.chars().any(char::is_control);
        if !good {
            let why = format!(
                "{name:?} is no name: 1 to 64 characters, none of them a control character"
            );
            self.complain(keys, "name", &why, "write a short name, for example \"pacs\"");
        }
        good.then_some(name)
    }

    fn host(&mut self, keys: &Keys<'_>) -> Option<String> {
        let host = self.text(keys, "host")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let one_colon = host.matches(':').count() == 1;
        let good = !host.is_empty() && host.chars().all(allowed) && !one_colon;
        if !good {
            let why = format!("{host:?} is no host name or IP address");
            let remedy = if one_colon {
                "write the port into the key port"
            } else {
                "write a name or an address, for example \"pacs.example.org\" or \"10.0.0.5\""
            };
            self.complain(keys, "host", &why, remedy);
        }
        good.then_some(host)
    }

    pub(super) fn peers(&mut self, settings: &Settings) -> Option<Vec<Peer>> {
        let entries = settings.arrays.get("peer").map_or(&[][..], Vec::as_slice);
        let peers: Vec<Option<Peer>> = entries
            .iter()
            .map(|entry| {
                let keys = Keys::of_entry(&keys::PEER, entry);
                let ae_title = self.parsed(&keys, "ae_title", AE_TITLE);
                let address = self.parsed(&keys, "address", RANGE);
                Some(Peer { ae_title: ae_title?, address: address? })
            })
            .collect();
        peers.into_iter().collect()
    }
}
