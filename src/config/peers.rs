//! The other nodes: who receives, and who may send.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use super::error::Place;
use super::file::Settings;
use super::keys;
use super::tls::Tls;
use super::value::{AE_TITLE, ANY, Allowed, Checker, FINGERPRINT, Keys, RANGE};
use super::{Destination, Peer, PeerUser, SrClassSetting};

impl Checker<'_> {
    pub(super) fn destinations(
        &mut self,
        settings: &Settings,
        tls: Option<&Tls>,
    ) -> Vec<Destination> {
        let entries = settings.arrays.get("destination").map_or(&[][..], Vec::as_slice);
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let mut all = Vec::new();
        for entry in entries {
            let keys = Keys::of_entry(&keys::DESTINATION, entry);
            let destination = self.destination(&keys, tls);
            let name = keys.written.get("name").and_then(|s| s.value.as_str()).unwrap_or_default();
            if let Some(first) = seen.insert(name.to_owned(), entry.place.clone())
                && !name.is_empty()
            {
                let why = format!("{name:?} names a destination already, at {first}");
                self.complain(&keys, "name", &why, "give each destination a name of its own");
            }
            all.extend(destination);
        }
        all
    }

    fn destination(&mut self, keys: &Keys<'_>, tls: Option<&Tls>) -> Option<Destination> {
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
        let tls = self.destination_tls(keys, tls);
        let commitment = self.flag(keys, "commitment");
        // Something stands in for what is wrong: its certificates are read all the same, and what is
        // wrong with them told with the rest.
        Some(Destination {
            name: name.unwrap_or_default(),
            ae_title: ae_title.or_else(|| ANY.parse().ok())?,
            host: host.unwrap_or_default(),
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            receives: receives.unwrap_or_default(),
            sr_classes: sr_classes.unwrap_or_default(),
            tls: tls?,
            commitment: commitment.unwrap_or_default(),
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

    pub(super) fn peers(&mut self, settings: &Settings, tls: Option<&Tls>) -> Option<Vec<Peer>> {
        let entries = settings.arrays.get("peer").map_or(&[][..], Vec::as_slice);
        let vouched = tls.is_none_or(|tls| tls.bind.is_some() && tls.client_ca.is_some());
        let peers: Vec<Option<Peer>> = entries
            .iter()
            .map(|entry| {
                let keys = Keys::of_entry(&keys::PEER, entry);
                let any = keys.written.get("ae_title").and_then(|s| s.value.as_str()) == Some(ANY);
                let title =
                    if any { None } else { Some(self.parsed(&keys, "ae_title", AE_TITLE)?) };
                let address = self.parsed(&keys, "address", RANGE);
                let certificate = self.optional(&keys, "certificate", FINGERPRINT)?;
                if certificate.is_some() && !vouched {
                    let why = "no caller can show a certificate";
                    let remedy = "set bind and client_ca under [tls]";
                    self.complain(&keys, "certificate", why, remedy);
                }
                let user = self.peer_user(&keys)?;
                Some(Peer { ae_title: title, address: address?, certificate, user })
            })
            .collect();
        peers.into_iter().collect()
    }

    /// `Some(None)` for an empty text.
    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    fn optional<T>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: Allowed,
    ) -> Option<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        if self.text(keys, key)?.is_empty() {
            return Some(None);
        }
        self.parsed(keys, key, allowed).map(Some)
    }

    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    fn peer_user(&mut self, keys: &Keys<'_>) -> Option<Option<PeerUser>> {
        let name = self.text(keys, "username")?;
        let hash = self.text(keys, "passcode_hash")?;
        if name.is_empty() {
            if !hash.is_empty() {
                let why = "a passcode belongs to a username, and there is none";
                self.complain(keys, "passcode_hash", why, "set username too");
            }
            return Some(None);
        }
        if hash.is_empty() {
            return Some(Some(PeerUser { name, passcode: None }));
        }
        // The text itself stays out of the message.
        let Ok(passcode) = hash.parse() else {
            let why = "this is no argon2 line such as $argon2id$v=19$m=19456,t=2,p=1$…";
            let remedy = "write what `thorascribe user hash` prints for the passcode";
            self.complain(keys, "passcode_hash", why, remedy);
            return None;
        };
        Some(Some(PeerUser { name, passcode: Some(passcode) }))
    }
}
