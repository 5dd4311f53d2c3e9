//! How a stage learns that there may be work.

use std::time::Duration;

use tokio::sync::watch;

/// Other processes (`queue retry`) change the job store too, unseen by this one.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Waiters(watch::Sender<()>);

impl Default for Waiters {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Waiters {
    pub(super) fn wake(&self) {
        self.0.send_replace(());
    }

    pub(super) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// A stage's view on the changes of the spool. Take it before looking for work, and look again
/// whenever [`Changes::next`] returns.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Returns after a change in this process since the last call, else within half a second,
    /// since another process may have changed something, or something may have become due.
    pub async fn next(&mut self) {
        match tokio::time::timeout(POLL, self.0.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // The spool is gone: nothing will change any more.
            Ok(Err(_)) => tokio::time::sleep(POLL).await,
        }
    }
}
