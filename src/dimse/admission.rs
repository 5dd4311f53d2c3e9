//! Who is let in: by AE title, address, certificate and user identity (PS3.7 §D.3.3.7); pure.

use std::net::IpAddr;

use dicom_ul::pdu::{AssociationRQ, UserIdentity, UserIdentityType, UserVariableItem};

use super::identity::Claim;
use crate::config::{AddressRange, PeerUser};
use crate::vocabulary::{AeTitle, Credential, Fingerprint};

/// A caller that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedPeer {
    /// Its AE title; `None`: any.
    pub ae_title: Option<AeTitle>,
    /// Where it may call from.
    pub network: AddressRange,
    /// The certificate that it shows; `None`: any, or none.
    pub certificate: Option<Fingerprint>,
    /// The user identity that it gives; `None`: any, or none.
    pub user: Option<PeerUser>,
}

/// Who calls, as the connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its address.
    pub address: IpAddr,
    /// The certificate that it showed.
    pub certificate: Option<Fingerprint>,
}

impl From<IpAddr> for Caller {
    /// One that shows no certificate.
    fn from(address: IpAddr) -> Self {
        Self { address, certificate: None }
    }
}

/// Whom of the peers a caller may be; `None`: nobody.
pub(super) fn admit<'a>(
    peers: &'a [AcceptedPeer],
    calling: &AeTitle,
    caller: &Caller,
) -> Option<Admission<'a>> {
    if peers.is_empty() {
        return Some(Admission::Free);
    }
    let fits = |p: &&AcceptedPeer| {
        p.ae_title.as_ref().is_none_or(|title| title == calling)
            && p.network.contains(caller.address)
            && p.certificate.is_none_or(|wanted| caller.certificate == Some(wanted))
    };
    let fitting: Vec<&AcceptedPeer> = peers.iter().filter(fits).collect();
    let users: Option<Vec<&PeerUser>> = fitting.iter().map(|p| p.user.as_ref()).collect();
    match users {
        Some(users) if users.is_empty() => None,
        Some(users) => Some(Admission::Users(users)),
        None => Some(Admission::Free),
    }
}

/// The name of the user identity in a request, as it says.
pub(super) fn user_name(request: &AssociationRQ) -> Option<String> {
    let identity = identity(request)?;
    let named = matches!(
        identity.identity_type(),
        UserIdentityType::Username | UserIdentityType::UsernamePassword
    );
    named.then(|| String::from_utf8_lossy(&identity.primary_field()).into_owned())
}

fn identity(request: &AssociationRQ) -> Option<&UserIdentity> {
    request.user_variables.iter().find_map(|item| match item {
        UserVariableItem::UserIdentityItem(identity) => Some(identity),
        _ => None,
    })
}

/// What a caller must give beside its title.
pub(super) enum Admission<'a> {
    /// Nothing.
    Free,
    /// The user identity of one of these.
    Users(Vec<&'a PeerUser>),
}

impl Admission<'_> {
    /// What is left to judge of a request, if anything; an error when its identity is none of ours.
    pub(super) fn of(&self, request: &AssociationRQ) -> Result<Option<Claim>, ()> {
        let Self::Users(users) = self else { return Ok(None) };
        let identity = identity(request).ok_or(())?;
        let text = |field: Vec<u8>| String::from_utf8(field).map_err(|_not_text| ());
        let name = text(identity.primary_field())?;
        let known = |user: &&&PeerUser| user.name == name;
        let passcode = match identity.identity_type() {
            UserIdentityType::Username => None,
            UserIdentityType::UsernamePassword => Some(text(identity.secondary_field())?),
            _ => return Err(()),
        };
        if users.iter().filter(known).any(|user| user.passcode.is_none()) {
            return Ok(None);
        }
        let passcode = passcode.ok_or(())?;
        let hashes = users.iter().filter(known).filter_map(|user| user.passcode.clone());
        let mut against: Vec<Credential> = hashes.collect();
        if against.is_empty() {
            // A name that nobody has takes as long.
            against.push(Credential::of_nobody());
        }
        Ok(Some(Claim { name, passcode, against }))
    }
}
