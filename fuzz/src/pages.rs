//! The worklist: whatever a client writes to its port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;
use thorascribe::config::{Config, Environment};
use thorascribe::observe::metrics::Metrics;
use thorascribe::report::NodeIdentity;
use thorascribe::spool::{Spool, SpoolSettings};
use thorascribe::vocabulary::ByteSize;
use thorascribe::worklist::{self, Access, WorklistState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;

thread_local! {
    static NODE: Node = Node::new();
}

struct Node {
    runtime: Runtime,
    /// Without users, and with one.
    states: [WorklistState; 2],
    _folder: TempDir,
}

/// `u` has the password `p`; the parameters of the hash are the least there are.
const USER: &str = "[[user]]\nname = \"u\"\nrole = \"radiologist\"\ndisplay_name = \"U\"\n\
    hash = \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$eBnCQUtsi0bfEvKpAmDnRA\"\n";

impl Node {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let settings = SpoolSettings {
            path: folder.path().join("spool"),
            min_free: ByteSize(0),
            quiet: Duration::from_secs(1),
            deadline: Duration::from_secs(1),
            after_delivery: Duration::from_secs(1),
            max_attempts: 1,
        };
        let spool = Spool::open(settings).expect("a spool");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let file = folder.path().join("users.toml");
        std::fs::write(&file, USER).expect("a configuration");
        let environment = Environment::empty().with_spool(folder.path());
        let config = Config::load_from(Some(&file), &environment).expect("users");
        let users = watch::Sender::new(config.users.clone()).subscribe();
        let state = |access: Access| {
            let recipients = watch::Sender::new(Vec::new()).subscribe();
            let node = NodeIdentity::new(&config.node.ae_title);
            let state =
                WorklistState::new(spool.clone(), Metrics::new(), recipients, node, || true);
            state.with_access(access)
        };
        let states = [state(Access::local()), state(Access::new(&config, users))];
        Self { runtime, states, _folder: folder }
    }

    async fn ask(&self, state: &WorklistState, request: &[u8]) -> Vec<u8> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
        let (mut from, mut to) = tokio::io::split(near);
        let client = async move {
            // The node may hang up before it has read everything.
            if to.write_all(request).await.is_ok() {
                drop(to.shutdown().await);
            }
            let mut answer = Vec::new();
            drop(from.read_to_end(&mut answer).await);
            answer
        };
        let (answer, ()) = tokio::join!(client, worklist::answer(state, peer, far));
        answer
    }
}

/// A byte that says whether there are users, then what a client on this machine writes.
pub fn pages(bytes: &[u8]) {
    let Some((users, request)) = bytes.split_first() else { return };
    NODE.with(|node| {
        let state = &node.states[usize::from(users & 1)];
        let answer = node.runtime.block_on(node.ask(state, request));
        if let Some(line) = answer.split(|b| *b == b'\r').next().filter(|line| !line.is_empty()) {
            let status = line.strip_prefix(b"HTTP/1.1 ").or(line.strip_prefix(b"HTTP/1.0 "));
            let status = status.and_then(|rest| rest.first()).expect("a status line");
            assert!(
                *status != b'5',
                "a client made the node fail: {}",
                String::from_utf8_lossy(&answer)
            );
        }
    });
}
