//! A gate between the node and a PACS, which the tests open and close.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

/// What the gate does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Everything passes.
    Open,
    /// Connections are closed at once.
    Closed,
    /// The association is made, then the node's objects pass but no answer to them comes back.
    Unanswered,
}

#[derive(Debug)]
struct Shared {
    mode: AtomicU8,
    target: AtomicU16,
    withheld: AtomicUsize,
}

/// A listener that passes bytes on to a port of the loopback.
#[derive(Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
    port: u16,
}

impl Gate {
    /// A gate before `target`.
    pub(crate) fn before(target: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            mode: AtomicU8::new(mode as u8),
            target: AtomicU16::new(target),
            withheld: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&shared);
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                pass(&of_thread, stream);
            }
        });
        Self { shared, port }
    }

    /// Where the node sends to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens from now on, in open connections too.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Leads connections to another port from now on.
    pub(crate) fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Counts the answers withheld so far.
    pub(crate) fn withheld(&self) -> impl Fn() -> usize + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.withheld.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }
}

fn pass(shared: &Arc<Shared>, node: TcpStream) {
    if shared.is(Mode::Closed) {
        return;
    }
    let Ok(pacs) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else {
        return;
    };
    let (from_node, to_pacs) = (node.try_clone().unwrap(), pacs.try_clone().unwrap());
    std::thread::spawn(move || copy(from_node, to_pacs, |_| true));
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(pacs, node, |pdu_type| {
            // P-DATA from the PACS is an answer to an object (PS3.8 §9.3.1).
            let held = pdu_type == 0x04 && shared.is(Mode::Unanswered);
            if held {
                shared.withheld.fetch_add(1, Ordering::SeqCst);
            }
            while shared.is(Mode::Unanswered) && held {
                std::thread::sleep(Duration::from_millis(10));
            }
            !held
        });
    });
}

/// Copies PDUs until one side ends; `passes` decides by the PDU's type.
fn copy(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(u8) -> bool) {
    let mut header = [0; 6];
    while from.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        let mut body = vec![0; length as usize];
        if from.read_exact(&mut body).is_err() || !passes(header[0]) {
            break;
        }
        if to.write_all(&header).and_then(|()| to.write_all(&body)).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
