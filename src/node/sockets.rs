//! Sockets that listen already when the node starts: a service manager has bound them.

use std::net::TcpListener;

/// The name of the socket for associations.
pub(super) const DICOM: &str = "dicom";
/// The name of the socket for associations over TLS; `tls.bind` says that there are any.
pub(super) const TLS: &str = "dicom-tls";
/// The name of the socket for the worklist page.
pub(super) const HTTP: &str = "http";

/// Why the sockets of a service manager cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// What was handed over does not hold together.
    #[error("the service manager's sockets cannot be taken")]
    Environment(#[source] std::io::Error),
    /// No TCP socket, or it does not listen.
    #[error(
        "the socket {name:?} cannot be used: {why}. Let its ListenStream be an address and a port, with Accept=no"
    )]
    Kind {
        /// As the service manager calls it.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing in the node is called so, or two sockets are.
    #[error(
        "the service manager hands over a socket called {0:?}: FileDescriptorName must be \
         \"dicom\", \"http\" or, with tls.bind, \"dicom-tls\", and each has one socket"
    )]
    Name(String),
}

/// Listening sockets by name.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, TcpListener)>);

impl Sockets {
    /// Those that were handed over.
    pub fn new(sockets: Vec<(String, TcpListener)>) -> Self {
        Self(sockets)
    }

    /// The first of that name, ready for the network runtime.
    pub(super) fn take(&mut self, name: &str) -> Option<TcpListener> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Fails when a socket is left that nothing will ever answer on.
    pub(super) fn none_left(self) -> Result<(), SocketsError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(SocketsError::Name(name)),
        }
    }
}
