//! Every deadline of an association.

use std::time::Duration;

/// How long each state of an association may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// From opening a TCP connection to its being open (as requestor).
    pub connect: Duration,
    /// From the open connection to the whole A-ASSOCIATE-RQ, or to its answer (as requestor).
    pub request: Duration,
    /// Between two messages.
    pub idle: Duration,
    /// From the first to the last byte of a command set, and from there to its data set.
    pub command: Duration,
    /// Between two arrivals of bytes of a data set.
    pub data: Duration,
    /// For one write.
    pub write: Duration,
    /// From a request sent to its response (as requestor).
    pub response: Duration,
    /// For the application to answer a request whose data are there.
    pub service: Duration,
    /// From A-RELEASE-RQ to A-RELEASE-RP (as requestor).
    pub release: Duration,
    /// After a rejection, an abort or a release, until the peer closes (ARTIM, PS3.8 §9.1.5).
    pub artim: Duration,
    /// For the whole association.
    pub association: Duration,
    /// What a data set must bring.
    pub floor: Floor,
}

/// The least rate of a data set: who brings less holds a slot for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Bytes that must come in each window.
    pub bytes: u64,
    /// The window.
    pub window: Duration,
}

impl Timers {
    /// The same deadline for every state in which the node waits for its peer; the release and
    /// ARTIM timers stay at or below 10 s.
    pub fn uniform(deadline: Duration) -> Self {
        let short = deadline.min(Duration::from_secs(10));
        Self {
            connect: deadline,
            request: deadline,
            idle: deadline,
            command: deadline,
            data: deadline,
            write: deadline,
            response: deadline * 2,
            service: deadline * 4,
            release: short,
            artim: short,
            association: Duration::from_hours(24),
            // One KiB a second.
            floor: Floor { bytes: deadline.as_secs().max(1) * 1024, window: deadline },
        }
    }
}

impl Default for Timers {
    /// 30 s.
    fn default() -> Self {
        Self::uniform(Duration::from_secs(30))
    }
}
