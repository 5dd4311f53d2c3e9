//! Negotiation (PS3.8 §7.1, PS3.7 Annex D): request and offer in, answer out; pure.

use std::collections::BTreeMap;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserVariableItem,
};

use super::admission;
use super::identity::Claim;
use super::n_action::{STORAGE_COMMITMENT, SYNTAXES};
use super::pdu::{Abort, MAX_DATA, Rejection};
use super::{APPLICATION_CONTEXT, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::config::AlsoCalled;
use crate::vocabulary::{AeTitle, SopClass, SopKind, TransferSyntax};

pub(super) use super::admission::user_name;
pub use super::admission::{AcceptedPeer, Caller};
pub use super::refusal::Refusal;

/// Most contexts that fit an association: the odd numbers of a byte.
pub const MAX_CONTEXTS: usize = 128;
/// The least P-DATA length of a peer that can be worked with.
const LEAST_DATA: u32 = 128;

/// What an acceptor takes, and from whom.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The AE title that callers name.
    pub ae_title: AeTitle,
    /// What they may name instead.
    pub also_called: AlsoCalled,
    /// Who may call; empty: anyone.
    pub peers: Vec<AcceptedPeer>,
    /// Classes taken.
    pub classes: Vec<SopClass>,
    /// Transfer syntaxes taken, the preferred ones first.
    pub syntaxes: Vec<TransferSyntax>,
    /// The largest P-DATA taken, in bytes.
    pub max_pdu: u32,
    /// Whether reports on storage commitments are taken (PS3.4 §J.3.3).
    pub commitment: bool,
    /// The most presentation contexts of a request.
    pub max_contexts: usize,
}

/// One accepted presentation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its abstract syntax: a SOP class UID.
    pub class: String,
    /// The one syntax of its data sets.
    pub syntax: TransferSyntax,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Who asked.
    pub calling: AeTitle,
    /// Who was asked.
    pub called: AeTitle,
    /// By context ID.
    pub contexts: BTreeMap<u8, Context>,
    /// What the peer did not accept of a request of ours, and why; of a request of the peer's:
    /// nothing.
    pub refused: Vec<(ProposedContext, Refusal)>,
    /// The largest P-DATA to send, already clamped.
    pub send_max: u32,
    /// The peer's implementation version name or class UID; its own text.
    pub implementation: String,
}

/// What an acceptor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A-ASSOCIATE-AC.
    Accept(Box<AssociationAC>, Agreement),
    /// A-ASSOCIATE-AC, should the passcode be right.
    Judge(Box<AssociationAC>, Agreement, Claim),
    /// A-ASSOCIATE-RJ: the peer must give a user identity, and this one is none that is known.
    Unidentified,
    /// A-ASSOCIATE-RJ.
    Reject(Rejection),
    /// A-ABORT: the request breaks the protocol.
    Abort(Abort, &'static str),
}

impl Offer {
    /// Everything that the node knows, from anyone.
    pub fn everything(ae_title: AeTitle) -> Self {
        Self {
            ae_title,
            also_called: AlsoCalled::Titles(Vec::new()),
            peers: Vec::new(),
            classes: SopClass::ALL.to_vec(),
            syntaxes: TransferSyntax::ALL.to_vec(),
            max_pdu: MAX_DATA,
            commitment: false,
            max_contexts: MAX_CONTEXTS,
        }
    }

    fn is_called(&self, called: &AeTitle) -> bool {
        *called == self.ae_title
            || match &self.also_called {
                AlsoCalled::Anything => true,
                AlsoCalled::Titles(titles) => titles.contains(called),
            }
    }

    /// The answer to one proposed context, with our order of syntaxes.
    fn choose(
        &self,
        proposed: &PresentationContextProposed,
    ) -> Result<(&'static str, TransferSyntax), PresentationContextResultReason> {
        let of_peer = |uid: &String| TransferSyntax::from_uid(uid);
        if self.commitment && proposed.abstract_syntax == STORAGE_COMMITMENT {
            let offered: Vec<_> = proposed.transfer_syntaxes.iter().filter_map(of_peer).collect();
            let syntax = SYNTAXES.into_iter().find(|syntax| offered.contains(syntax));
            return syntax
                .map(|syntax| (STORAGE_COMMITMENT, syntax))
                .ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported);
        }
        let class = SopClass::from_uid(&proposed.abstract_syntax)
            .filter(|class| self.classes.contains(class))
            .ok_or(PresentationContextResultReason::AbstractSyntaxNotSupported)?;
        let offered: Vec<_> = proposed
            .transfer_syntaxes
            .iter()
            .filter_map(of_peer)
            .filter(|syntax| may_encapsulate(class) || !syntax.is_encapsulated())
            .collect();
        self.syntaxes
            .iter()
            .find(|syntax| offered.contains(syntax))
            .map(|syntax| (class.uid(), *syntax))
            .ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)
    }
}

/// Whether objects of the class hold pixel data.
const fn may_encapsulate(class: SopClass) -> bool {
    match class.kind() {
        SopKind::Verification | SopKind::Report => false,
        SopKind::Radiograph | SopKind::SecondaryCapture => true,
        SopKind::StoreOnly => {
            !matches!(class, SopClass::GrayscalePresentation | SopClass::KeyObjectSelection)
        }
    }
}

/// The answer to a request of `caller`.
pub fn answer(request: &AssociationRQ, caller: impl Into<Caller>, offer: &Offer) -> Answer {
    if request.protocol_version & 1 == 0 {
        return Answer::Reject(Rejection::PROTOCOL_VERSION);
    }
    if request.application_context_name != APPLICATION_CONTEXT {
        return Answer::Reject(Rejection::APPLICATION_CONTEXT);
    }
    let Some(called) = title(&request.called_ae_title).filter(|called| offer.is_called(called))
    else {
        return Answer::Reject(Rejection::CALLED_AE);
    };
    let caller = caller.into();
    let calling = title(&request.calling_ae_title);
    let admission =
        calling.as_ref().and_then(|calling| admission::admit(&offer.peers, calling, &caller));
    let (Some(calling), Some(admission)) = (calling, admission) else {
        return Answer::Reject(Rejection::CALLING_AE);
    };
    let Ok(claim) = admission.of(request) else { return Answer::Unidentified };
    if request.presentation_contexts.is_empty() {
        return Answer::Reject(Rejection::NO_REASON);
    }
    if request.presentation_contexts.len() > offer.max_contexts {
        return Answer::Reject(Rejection::TOO_MANY);
    }
    let Some(send_max) = send_max(&request.user_variables) else {
        return Answer::Abort(Abort::INVALID_PARAMETER, "maximum length too small");
    };
    let mut contexts = BTreeMap::new();
    let mut results: Vec<PresentationContextResult> = Vec::new();
    for proposed in &request.presentation_contexts {
        if proposed.id % 2 == 0 || results.iter().any(|r| r.id == proposed.id) {
            return Answer::Abort(Abort::INVALID_PARAMETER, "even or repeated context ID");
        }
        results.push(result(offer, proposed, &mut contexts));
    }
    let accept = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: answered_variables(request, &contexts, offer.max_pdu),
    };
    let implementation = implementation(&request.user_variables);
    let refused = Vec::new();
    let agreement = Agreement { calling, called, contexts, refused, send_max, implementation };
    match claim {
        None => Answer::Accept(Box::new(accept), agreement),
        Some(claim) => Answer::Judge(Box::new(accept), agreement, claim),
    }
}

fn title(text: &str) -> Option<AeTitle> {
    text.parse().ok()
}

fn result(
    offer: &Offer,
    proposed: &PresentationContextProposed,
    contexts: &mut BTreeMap<u8, Context>,
) -> PresentationContextResult {
    let (reason, syntax) = match offer.choose(proposed) {
        Ok((class, syntax)) => {
            contexts.insert(proposed.id, Context { class: class.to_owned(), syntax });
            (PresentationContextResultReason::Acceptance, syntax)
        }
        // Not significant in a refusal, but some peers parse it.
        Err(reason) => (reason, TransferSyntax::ImplicitLittle),
    };
    PresentationContextResult { id: proposed.id, reason, transfer_syntax: syntax.uid().to_owned() }
}

fn own_variables(max_pdu: u32) -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(max_pdu),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ]
}

/// Our items, the roles of accepted classes (a requestor is SCU here, but SCP where it reports on a
/// storage commitment), and the nod to
/// a user identity that wants one (type 0x59, PS3.7 §D.3.3.7.2). No item answers asynchronous
/// operations or extended negotiation: their defaults hold.
fn answered_variables(
    request: &AssociationRQ,
    contexts: &BTreeMap<u8, Context>,
    max_pdu: u32,
) -> Vec<UserVariableItem> {
    let mut items = own_variables(max_pdu);
    for item in &request.user_variables {
        match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(class, roles)
                if contexts.values().any(|c| c.class == class.trim_end_matches('\0')) =>
            {
                let reports = class.trim_end_matches('\0') == STORAGE_COMMITMENT;
                let roles =
                    RequestorRoles { scu: roles.scu && !reports, scp: roles.scp && reports };
                items.push(UserVariableItem::ScuScpRoleSelectionSubItem(class.clone(), roles));
            }
            UserVariableItem::UserIdentityItem(identity)
                if identity.positive_response_requested() =>
            {
                items.push(UserVariableItem::Unknown(0x59, vec![0, 0]));
            }
            _ => {}
        }
    }
    items
}

/// What to send at most: the peer's limit (0 or none: no limit) within ours; `None` when too small.
fn send_max(variables: &[UserVariableItem]) -> Option<u32> {
    let stated = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    match stated {
        None | Some(0) => Some(MAX_DATA),
        Some(length) if length < LEAST_DATA => None,
        Some(length) => Some(length.min(MAX_DATA)),
    }
}

fn implementation(variables: &[UserVariableItem]) -> String {
    let name = variables.iter().find_map(|item| match item {
        UserVariableItem::ImplementationVersionName(name) => Some(name.clone()),
        _ => None,
    });
    let class = || {
        variables.iter().find_map(|item| match item {
            UserVariableItem::ImplementationClassUID(uid) => Some(uid.clone()),
            _ => None,
        })
    };
    name.or_else(class).unwrap_or_default()
}

/// A context that a requestor proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedContext {
    /// The SOP class UID.
    pub abstract_syntax: String,
    /// The syntaxes; the acceptor picks one of them.
    pub transfer_syntaxes: Vec<TransferSyntax>,
}

/// The request for these contexts; the first [`MAX_CONTEXTS`] of them.
pub fn request(calling: &AeTitle, called: &AeTitle, proposed: &[ProposedContext]) -> AssociationRQ {
    let contexts =
        (1..=u8::MAX).step_by(2).zip(proposed).map(|(id, context)| PresentationContextProposed {
            id,
            abstract_syntax: context.abstract_syntax.clone(),
            transfer_syntaxes: context
                .transfer_syntaxes
                .iter()
                .map(|syntax| syntax.uid().to_owned())
                .collect(),
        });
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling.as_str().to_owned(),
        called_ae_title: called.as_str().to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: contexts.collect(),
        user_variables: own_variables(MAX_DATA),
    }
}

/// What an acceptance of [`request`] agrees on; an error when it accepts what was not proposed.
pub fn agreement(
    calling: &AeTitle,
    called: &AeTitle,
    proposed: &[ProposedContext],
    accept: &AssociationAC,
) -> Result<Agreement, &'static str> {
    let send_max = send_max(&accept.user_variables).ok_or("maximum length too small")?;
    let (mut contexts, mut refused) = (BTreeMap::new(), Vec::new());
    for result in &accept.presentation_contexts {
        let index = usize::from(result.id.saturating_sub(1) / 2);
        let asked = proposed.get(index).filter(|_| result.id % 2 == 1 && index < MAX_CONTEXTS);
        if result.reason != PresentationContextResultReason::Acceptance {
            let reason = Refusal::of(&result.reason);
            refused.extend(asked.map(|asked| (asked.clone(), reason)));
            continue;
        }
        let asked = asked.ok_or("accepted a context that was not proposed")?;
        let syntax = TransferSyntax::from_uid(&result.transfer_syntax)
            .filter(|syntax| asked.transfer_syntaxes.contains(syntax))
            .ok_or("accepted a transfer syntax that was not proposed")?;
        let context = Context { class: asked.abstract_syntax.clone(), syntax };
        if contexts.insert(result.id, context).is_some() {
            return Err("accepted a context twice");
        }
    }
    let implementation = implementation(&accept.user_variables);
    Ok(Agreement {
        calling: calling.clone(),
        called: called.clone(),
        contexts,
        refused,
        send_max,
        implementation,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use dicom_ul::pdu::{UserIdentity, UserIdentityType as Kind};

    use super::*;
    use crate::config::PeerUser;
    use crate::vocabulary::{Credential, Fingerprint};

    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";

    fn offer() -> Offer {
        Offer::everything("NODE".parse().unwrap())
    }

    fn asking(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
        let calling = "MODALITY".parse().unwrap();
        let mut asked = request(&calling, &"NODE".parse().unwrap(), &[]);
        asked.presentation_contexts = contexts
            .iter()
            .map(|(id, class, syntaxes)| PresentationContextProposed {
                id: *id,
                abstract_syntax: (*class).to_owned(),
                transfer_syntaxes: syntaxes.iter().map(|s| (*s).to_owned()).collect(),
            })
            .collect();
        asked
    }

    fn answered(asked: &AssociationRQ, offer: &Offer) -> Answer {
        answer(asked, "10.1.2.3".parse::<IpAddr>().unwrap(), offer)
    }

    #[test]
    fn our_order_of_syntaxes_counts_and_the_unknown_is_refused() {
        let asked = asking(&[
            (1, CR, &["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]),
            (3, CR, &["1.2.840.10008.1.2.4.100"]),
            (5, "1.2.840.10008.5.1.4.1.1.2", &["1.2.840.10008.1.2"]),
            (7, "1.2.840.10008.1.1", &["1.2.840.10008.1.2.4.50"]),
        ]);
        let Answer::Accept(accept, agreed) = answered(&asked, &offer()) else { panic!() };
        let reasons: Vec<u8> =
            accept.presentation_contexts.iter().map(|c| c.reason.clone() as u8).collect();
        assert_eq!(reasons, [0, 4, 3, 4]);
        assert_eq!(agreed.contexts.len(), 1);
        assert_eq!(agreed.contexts[&1].syntax, TransferSyntax::ExplicitLittle);
    }

    #[test]
    fn what_must_not_pass_is_refused_with_its_reason() {
        let good = || asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
        let with = |change: &dyn Fn(&mut AssociationRQ)| {
            let mut asked = good();
            change(&mut asked);
            answered(&asked, &offer())
        };
        assert!(matches!(with(&|r| r.protocol_version = 3), Answer::Accept(..)));
        assert_eq!(with(&|r| r.protocol_version = 2), Answer::Reject(Rejection::PROTOCOL_VERSION));
        assert_eq!(
            with(&|r| r.application_context_name.push('9')),
            Answer::Reject(Rejection::APPLICATION_CONTEXT)
        );
        assert_eq!(
            with(&|r| r.called_ae_title = "node".into()),
            Answer::Reject(Rejection::CALLED_AE)
        );
        assert_eq!(
            with(&|r| r.calling_ae_title = "../\u{0}x".into()),
            Answer::Reject(Rejection::CALLING_AE)
        );
        assert_eq!(
            with(&|r| r.presentation_contexts.clear()),
            Answer::Reject(Rejection::NO_REASON)
        );
        for id in [0, 2, 254] {
            let even = asking(&[(id, CR, &["1.2.840.10008.1.2"])]);
            assert!(matches!(answered(&even, &offer()), Answer::Abort(..)), "{id}");
        }
        let twice = asking(&[(1, CR, &["1.2.840.10008.1.2"]), (1, CR, &["1.2.840.10008.1.2"])]);
        assert!(matches!(answered(&twice, &offer()), Answer::Abort(..)));
    }

    #[test]
    fn a_peer_is_its_title_and_its_network() {
        let asked = asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
        let peer = |title: &str, network: &str| AcceptedPeer {
            ae_title: (title != "*").then(|| title.parse().unwrap()),
            network: network.parse().unwrap(),
            certificate: None,
            user: None,
        };
        let mut offer = offer();
        offer.peers = vec![peer("OTHER", "0.0.0.0/0"), peer("MODALITY", "192.168.0.0/16")];
        assert_eq!(answered(&asked, &offer), Answer::Reject(Rejection::CALLING_AE));
        offer.peers.push(peer("MODALITY", "10.0.0.0/8"));
        assert!(matches!(answered(&asked, &offer), Answer::Accept(..)));
        offer.peers = vec![peer("*", "10.0.0.0/8")];
        assert!(matches!(answered(&asked, &offer), Answer::Accept(..)));
        let own = Fingerprint::of(b"its certificate");
        offer.peers[0].certificate = Some(own);
        assert_eq!(answered(&asked, &offer), Answer::Reject(Rejection::CALLING_AE));
        let showing = |certificate| {
            let caller = Caller { address: "10.1.2.3".parse().unwrap(), certificate };
            answer(&asked, caller, &offer)
        };
        assert!(matches!(showing(Some(own)), Answer::Accept(..)));
        let other = Some(Fingerprint::of(b"another"));
        assert_eq!(showing(other), Answer::Reject(Rejection::CALLING_AE));
    }

    #[test]
    fn other_called_titles_are_taken_where_they_are_listed() {
        let mut asked = asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
        asked.called_ae_title = "OLD_NODE".into();
        let mut offer = offer();
        assert_eq!(answered(&asked, &offer), Answer::Reject(Rejection::CALLED_AE));
        offer.also_called = AlsoCalled::Titles(vec!["OLD_NODE".parse().unwrap()]);
        assert!(matches!(answered(&asked, &offer), Answer::Accept(..)));
        asked.called_ae_title = "ANYTHING".into();
        assert_eq!(answered(&asked, &offer), Answer::Reject(Rejection::CALLED_AE));
        offer.also_called = AlsoCalled::Anything;
        assert!(matches!(answered(&asked, &offer), Answer::Accept(..)));
    }

    #[test]
    fn a_user_identity_is_held_against_the_peers_that_ask_for_one() {
        let mut offer = offer();
        let peer = |name: &str, passcode| AcceptedPeer {
            ae_title: None,
            network: "10.0.0.0/8".parse().unwrap(),
            certificate: None,
            user: Some(PeerUser { name: name.to_owned(), passcode }),
        };
        let hash = Credential::of("long enough").unwrap();
        offer.peers = vec![peer("open", None), peer("guarded", Some(hash.clone()))];
        let asking_as = |kind, name: &str, passcode: &str| {
            let mut asked = asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
            let (name, passcode) = (name.as_bytes().to_vec(), passcode.as_bytes().to_vec());
            let identity = UserIdentity::new(false, kind, name, passcode);
            asked.user_variables.push(UserVariableItem::UserIdentityItem(identity));
            answered(&asked, &offer)
        };
        let nameless = asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
        assert_eq!(answered(&nameless, &offer), Answer::Unidentified);
        assert!(matches!(asking_as(Kind::Username, "open", ""), Answer::Accept(..)));
        assert_eq!(asking_as(Kind::Username, "guarded", ""), Answer::Unidentified);
        assert_eq!(asking_as(Kind::Jwt, "open", ""), Answer::Unidentified);
        let judged = |name| match asking_as(Kind::UsernamePassword, name, "long enough") {
            Answer::Judge(.., claim) => claim.against,
            other => panic!("{other:?}"),
        };
        assert_eq!(judged("guarded"), [hash]);
        assert_eq!(judged("nobody"), [Credential::of_nobody()]);
    }

    #[test]
    fn the_peers_maximum_is_clamped() {
        for (stated, wanted) in [
            (0, Some(MAX_DATA)),
            (5, None),
            (127, None),
            (4096, Some(4096)),
            (u32::MAX, Some(MAX_DATA)),
        ] {
            assert_eq!(send_max(&[UserVariableItem::MaxLength(stated)]), wanted, "{stated}");
        }
    }

    #[test]
    fn roles_are_scu_an_identity_is_nodded_at_and_nothing_answers_the_unknown() {
        let mut asked = asking(&[(1, CR, &["1.2.840.10008.1.2"])]);
        let both = RequestorRoles { scu: true, scp: true };
        asked.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(CR.into(), both));
        asked
            .user_variables
            .push(UserVariableItem::SopClassExtendedNegotiationSubItem(CR.into(), vec![1]));
        asked.user_variables.push(UserVariableItem::Unknown(0x53, vec![0, 5, 0, 5]));
        let identity = |wants| {
            let kind = Kind::UsernamePassword;
            UserVariableItem::UserIdentityItem(UserIdentity::new(wants, kind, vec![1], vec![2]))
        };
        asked.user_variables.extend([identity(false), identity(true)]);
        let Answer::Accept(accept, _) = answered(&asked, &offer()) else { panic!() };
        let scu = RequestorRoles { scu: true, scp: false };
        assert_eq!(
            accept.user_variables[3..],
            [
                UserVariableItem::ScuScpRoleSelectionSubItem(CR.into(), scu),
                UserVariableItem::Unknown(0x59, vec![0, 0])
            ]
        );
    }

    #[test]
    fn a_destination_that_reports_on_a_commitment_is_the_provider() {
        let mut asked = asking(&[(1, STORAGE_COMMITMENT, &["1.2.840.10008.1.2"])]);
        let both = RequestorRoles { scu: true, scp: true };
        let item =
            |roles| UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.into(), roles);
        asked.user_variables.push(item(both));
        let mut offer = offer();
        let Answer::Accept(_, agreed) = answered(&asked, &offer) else { panic!() };
        assert!(agreed.contexts.is_empty(), "nobody was asked to commit");
        offer.commitment = true;
        let Answer::Accept(accept, agreed) = answered(&asked, &offer) else { panic!() };
        assert_eq!(agreed.contexts[&1].class, STORAGE_COMMITMENT);
        let scp = RequestorRoles { scu: false, scp: true };
        assert_eq!(accept.user_variables[3..], [item(scp)]);
    }

    #[test]
    fn an_acceptance_of_what_was_not_proposed_is_an_error() {
        let proposed = [ProposedContext {
            abstract_syntax: CR.into(),
            transfer_syntaxes: vec![TransferSyntax::JpegLossless],
        }];
        let (calling, called) = ("A".parse().unwrap(), "B".parse().unwrap());
        let accept = |id, syntax: TransferSyntax| AssociationAC {
            protocol_version: 1,
            calling_ae_title: "A".into(),
            called_ae_title: "B".into(),
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: vec![PresentationContextResult {
                id,
                reason: PresentationContextResultReason::Acceptance,
                transfer_syntax: syntax.uid().into(),
            }],
            user_variables: vec![],
        };
        let agreed = |accept| agreement(&calling, &called, &proposed, &accept);
        assert!(agreed(accept(1, TransferSyntax::JpegLossless)).is_ok());
        assert!(agreed(accept(1, TransferSyntax::ExplicitLittle)).is_err());
        for id in [0, 2, 3, 255] {
            assert!(agreed(accept(id, TransferSyntax::JpegLossless)).is_err(), "{id}");
        }
    }
}
