//! Data sets as streams: from the network task to a blocking receiver, through a few buffers
//! that go round.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Bytes of one buffer.
const BUFFER: usize = 128 * 1024;
/// Buffers between the network and the receiver.
const BUFFERS: usize = 4;

/// Why a data set does not come whole; what came of it must be thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The association ended within the data set.
    #[error("the association ended within the data set")]
    Cut,
    /// Larger than the node takes.
    #[error("the data set is larger than the {0} bytes that are taken")]
    TooLarge(u64),
}

enum Piece {
    Bytes { buffer: Vec<u8>, filled: usize },
    TooLarge(u64),
    End,
}

/// The receiver's end: gives a data set's bytes in order, on a blocking thread.
pub struct Fragments {
    pieces: mpsc::Receiver<Piece>,
    empty: mpsc::Sender<Vec<u8>>,
    current: Option<Vec<u8>>,
    ended: bool,
}

/// The network's end: takes a data set's bytes.
pub(super) struct Feed {
    pieces: Option<mpsc::Sender<Piece>>,
    empty: mpsc::Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    filled: usize,
    total: u64,
    limit: u64,
}

/// Both ends for a data set of at most `limit` bytes.
pub(super) fn channel(limit: u64) -> (Feed, Fragments) {
    let (pieces, received) = mpsc::channel(BUFFERS);
    let (empty, returned) = mpsc::channel(BUFFERS + 2);
    let feed = Feed {
        pieces: Some(pieces),
        empty: returned,
        buffer: vec![0; BUFFER],
        filled: 0,
        total: 0,
        limit,
    };
    (feed, Fragments { pieces: received, empty, current: None, ended: false })
}

impl Fragments {
    /// The next bytes, `None` at the end; blocks the thread.
    pub fn next_bytes(&mut self) -> Result<Option<&[u8]>, DataError> {
        if let Some(buffer) = self.current.take() {
            // The feed may be gone or have buffers enough.
            drop(self.empty.try_send(buffer));
        }
        if self.ended {
            return Ok(None);
        }
        match self.pieces.blocking_recv() {
            Some(Piece::Bytes { buffer, filled }) => {
                let buffer = self.current.insert(buffer);
                Ok(buffer.get(..filled))
            }
            Some(Piece::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Piece::TooLarge(limit)) => Err(DataError::TooLarge(limit)),
            None => Err(DataError::Cut),
        }
    }
}

impl Feed {
    /// One whose data go nowhere, for a request that is refused before its data set is there.
    pub(super) fn discarding(limit: u64) -> Self {
        let (mut feed, _) = channel(limit);
        feed.pieces = None;
        feed
    }

    /// Where the next bytes go; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many bytes were put into [`Feed::room`]. Gives how long the receiver made it wait.
    pub(super) async fn filled(&mut self, count: usize) -> Duration {
        self.filled += count;
        self.total += count as u64;
        if self.total > self.limit
            && let Some(pieces) = self.pieces.take()
        {
            // A receiver that is gone needs no telling.
            drop(pieces.send(Piece::TooLarge(self.limit)).await);
        }
        if self.filled < self.buffer.len() { Duration::ZERO } else { self.ship().await }
    }

    /// Whether so much came over the limit that the rest is not worth reading.
    pub(super) fn is_beyond(&self) -> bool {
        self.total > self.limit.saturating_mul(2)
    }

    /// Bytes that came.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    async fn ship(&mut self) -> Duration {
        let filled = std::mem::take(&mut self.filled);
        let Some(pieces) = &self.pieces else { return Duration::ZERO };
        let next = self.empty.try_recv().unwrap_or_else(|_| vec![0; BUFFER]);
        let buffer = std::mem::replace(&mut self.buffer, next);
        let since = Instant::now();
        if pieces.send(Piece::Bytes { buffer, filled }).await.is_err() {
            // The receiver has already answered; the rest is read and dropped.
            self.pieces = None;
        }
        since.elapsed()
    }

    /// The data set is whole. A feed dropped without it tells the receiver that it was cut.
    pub(super) async fn finish(mut self) {
        if self.filled > 0 {
            self.ship().await;
        }
        if let Some(pieces) = self.pieces.take() {
            // A receiver that is gone has answered already.
            drop(pieces.send(Piece::End).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fed(bytes: usize, limit: u64, finish: bool) -> (usize, Option<DataError>) {
        let (mut feed, mut fragments) = channel(limit);
        let receiver = tokio::task::spawn_blocking(move || {
            let mut count = 0;
            loop {
                match fragments.next_bytes() {
                    Ok(Some(piece)) => count += piece.len(),
                    Ok(None) => return (count, None),
                    Err(error) => return (count, Some(error)),
                }
            }
        });
        let mut left = bytes;
        while left > 0 {
            let room = feed.room().len().min(left).min(10_000);
            feed.filled(room).await;
            left -= room;
        }
        if finish {
            feed.finish().await;
        } else {
            drop(feed);
        }
        receiver.await.unwrap()
    }

    #[tokio::test]
    async fn bytes_come_whole_or_not_at_all() {
        assert_eq!(fed(1_000_000, 1_000_000, true).await, (1_000_000, None));
        assert_eq!(fed(0, 10, true).await, (0, None));
        assert_eq!(fed(100, 10_000, false).await.1, Some(DataError::Cut));
        assert_eq!(fed(300_000, 200_000, true).await.1, Some(DataError::TooLarge(200_000)));
    }
}
