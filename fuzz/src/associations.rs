//! What stands before any data set: PDUs, the state of an association, command sets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use thorascribe::dimse::Timers;
use thorascribe::dimse::command::{Command, MAX_COMMAND, Response, field};
use thorascribe::dimse::machine::{Action, Machine};
use thorascribe::dimse::negotiate::{self, Answer, Offer, ProposedContext};
use thorascribe::dimse::pdu::{self, Bounds, HEADER, Kind, Pdu};
use thorascribe::vocabulary::{AeTitle, SopClass, TransferSyntax};

const NODE: &str = "THORASCRIBE";

/// One association: a byte for the role, then what the peer writes until it hangs up.
pub fn associations(bytes: &[u8]) {
    let Some((role, mut rest)) = bytes.split_first() else { return };
    let (now, timers) = (Instant::now(), Timers::uniform(Duration::from_secs(30)));
    let mut side = Side {
        machine: match role & 1 {
            0 => Machine::acceptor(timers, now),
            _ => Machine::requestor(timers, now),
        },
        now,
        command: Vec::new(),
    };
    while let Some((head, tail)) = rest.split_first_chunk::<HEADER>() {
        let (kind, length) = match pdu::header(*head, &Bounds::default()) {
            Ok(read) => read,
            Err(error) => return ended(&side.machine.on_fault(&error)),
        };
        let (body, after) = tail.split_at(tail.len().min(length as usize));
        rest = after;
        let goes_on = match kind {
            Kind::Data => side.fragments(body),
            _ => side.whole(kind, body),
        };
        if goes_on.is_none() {
            return;
        }
    }
}

/// An end says why, and its last PDU can be written.
fn ended(action: &Action) {
    let Action::End(last, why) = action else { panic!("{action:?} ends nothing") };
    assert!(!why.to_string().is_empty());
    if let Some(last) = last {
        let written = pdu::encode(last).expect("an end can be written");
        assert!(written.len() >= HEADER);
    }
}

struct Side {
    machine: Machine,
    now: Instant,
    command: Vec<u8>,
}

impl Side {
    /// A PDU other than P-DATA; none when the association is over.
    fn whole(&mut self, kind: Kind, body: &[u8]) -> Option<()> {
        let pdu = match pdu::decode(kind, body, &Bounds::default()) {
            Ok(pdu) => pdu,
            Err(error) => {
                ended(&self.machine.on_fault(&error));
                return None;
            }
        };
        match self.machine.on_pdu(pdu, self.now) {
            Action::Decide(request) => {
                let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
                match negotiate::answer(&request, address, &Offer::everything(title())) {
                    Answer::Accept(accept, agreement) => {
                        let proposed: Vec<u8> =
                            request.presentation_contexts.iter().map(|c| c.id).collect();
                        assert!(agreement.contexts.keys().all(|id| proposed.contains(id)));
                        let written = pdu::encode(&Pdu::Accept(accept)).expect("an acceptance");
                        let read =
                            pdu::decode(Kind::Accept, &written[HEADER..], &Bounds::default());
                        assert!(matches!(read, Ok(Pdu::Accept(_))), "{read:?}");
                        self.machine.established(agreement, self.now);
                        Some(())
                    }
                    Answer::Judge(..) | Answer::Unidentified => {
                        panic!("no peer is configured, and one is to name its user")
                    }
                    Answer::Reject(rejection) => {
                        assert!(pdu::encode(&Pdu::Reject(rejection)).is_ok());
                        None
                    }
                    Answer::Abort(abort, why) => {
                        assert!(!why.is_empty() && pdu::encode(&Pdu::Abort(abort)).is_ok());
                        None
                    }
                }
            }
            Action::Accepted(accept) => {
                let proposed = proposed();
                let agreed = negotiate::agreement(&title(), &title(), &proposed, &accept).ok()?;
                assert!(agreed.contexts.len() <= proposed.len());
                self.machine.established(agreed, self.now);
                self.machine.requested(self.now);
                Some(())
            }
            Action::Send(pdu) => pdu::encode(&pdu).map(drop).ok(),
            end => {
                ended(&end);
                None
            }
        }
    }

    /// The fragments of a P-DATA PDU; none when the association is over.
    fn fragments(&mut self, mut body: &[u8]) -> Option<()> {
        if body.is_empty() {
            return self.machine.on_empty().map_or(Some(()), |end| {
                ended(&end);
                None
            });
        }
        while let Some((head, tail)) = body.split_first_chunk::<6>() {
            let room = u32::try_from(body.len()).unwrap_or(u32::MAX);
            let pdv = match pdu::pdv_header(*head, room) {
                Ok(pdv) => pdv,
                Err(error) => {
                    ended(&self.machine.on_fault(&error));
                    return None;
                }
            };
            let (fragment, after) = tail.split_at_checked(pdv.length as usize)?;
            body = after;
            match self.machine.on_pdv(&pdv, self.now) {
                Action::Collect => self.collect(fragment, pdv.last)?,
                Action::Deliver => {
                    let slow = self.machine.on_bytes(fragment.len(), self.now);
                    assert!(slow.is_none(), "no time has passed");
                    if pdv.last {
                        self.machine.data_done(self.now);
                        self.machine.message_done(self.now);
                    }
                }
                end => {
                    ended(&end);
                    return None;
                }
            }
        }
        Some(())
    }

    fn collect(&mut self, fragment: &[u8], last: bool) -> Option<()> {
        if self.command.len() + fragment.len() > MAX_COMMAND {
            return None;
        }
        self.command.extend_from_slice(fragment);
        if last {
            let set = std::mem::take(&mut self.command);
            let command = Command::parse(&set).ok()?;
            self.machine.command_done(command.has_data(), self.now);
            if !command.has_data() {
                self.machine.message_done(self.now);
            }
        }
        Some(())
    }
}

fn title() -> AeTitle {
    NODE.parse().expect("an AE title")
}

/// What the node proposes as a requestor.
fn proposed() -> Vec<ProposedContext> {
    let classes = [SopClass::EnhancedSr, SopClass::BasicTextSr];
    let context = |class: SopClass| ProposedContext {
        abstract_syntax: class.uid().to_owned(),
        transfer_syntaxes: vec![TransferSyntax::ExplicitLittle, TransferSyntax::ImplicitLittle],
    };
    classes.map(context).to_vec()
}

/// A command set. What is written anew from what was read says the same.
pub fn commands(bytes: &[u8]) {
    match Command::parse(bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(Command::Request(request)) => {
            // A cancellation has its number elsewhere; the node reads them only.
            if request.field != field::C_CANCEL {
                let again = Command::parse(&request.encode());
                assert_eq!(again, Ok(Command::Request(request)));
            }
        }
        Ok(Command::Response(response)) => {
            let Ok(Command::Response(again)) = Command::parse(&response.encode()) else {
                panic!("a response cannot be read again");
            };
            // A comment is cut to what the standard allows.
            assert_eq!(Response { comment: None, ..again }, Response { comment: None, ..response });
        }
    }
}
